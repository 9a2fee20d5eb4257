/// Octets of packets, written octet by octet so that `Wire` is judged and not asked.
enum Packet {
    /// An IPv4 packet; every field that matters to someone can be said.
    struct IPv4 {
        var typeOfService: UInt8 = 0
        var identification: UInt16 = 0
        var fragment: UInt16 = 0
        var timeToLive: UInt8 = 64
        var ipProtocol: UInt8 = 253
        var source: UInt32
        var destination: UInt32
        /// A multiple of four octets, at most 40.
        var options: [UInt8] = []
        var payload: [UInt8] = []

        var octets: [UInt8] {
            let length = 20 + options.count
            var header: [UInt8] = [0x40 | UInt8(length / 4), typeOfService]
            header += bigEndian(UInt16(length + payload.count)) + bigEndian(identification) + bigEndian(fragment)
            header += [timeToLive, ipProtocol, 0, 0] + bigEndian(source) + bigEndian(destination) + options
            header.replaceSubrange(10..<12, with: bigEndian(~onesComplementSum(header)))
            return header + payload
        }
    }

    static func frame(
        to destination: UInt64, from source: UInt64 = 0x0200_0000_0002, type: UInt16 = 0x0800, _ payload: [UInt8]
    )
        -> [UInt8]
    {
        bigEndian(destination).suffix(6) + bigEndian(source).suffix(6) + bigEndian(type) + payload
    }

    static func echoRequest(_ data: [UInt8]) -> [UInt8] {
        var message: [UInt8] = [8, 0, 0, 0, 0x12, 0x34, 0, 1] + data
        message.replaceSubrange(2..<4, with: bigEndian(~onesComplementSum(message)))
        return message
    }

    static func udp(from source: UInt16, to destination: UInt16, _ data: [UInt8]) -> [UInt8] {
        bigEndian(source) + bigEndian(destination) + bigEndian(UInt16(8 + data.count)) + [0, 0] + data
    }

    static func arp(
        operation: UInt16, senderMAC: UInt64, sender: UInt32, targetMAC: UInt64 = 0, target: UInt32
    ) -> [UInt8] {
        [0, 1, 8, 0, 6, 4] + bigEndian(operation) + bigEndian(senderMAC).suffix(6) + bigEndian(sender)
            + bigEndian(targetMAC).suffix(6) + bigEndian(target)
    }

    static func uint16(_ octets: some RandomAccessCollection<UInt8>, at offset: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: uint32([0, 0] + octets.dropFirst(offset).prefix(2), at: 0))
    }

    static func uint32(_ octets: some RandomAccessCollection<UInt8>, at offset: Int) -> UInt32 {
        octets.dropFirst(offset).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    static func uint64(_ octets: some RandomAccessCollection<UInt8>, at offset: Int) -> UInt64 {
        octets.dropFirst(offset).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}

/// RFC 1071 section 4.1, as plainly as it can be said.
func onesComplementSum(_ octets: some Collection<UInt8>) -> UInt16 {
    var sum = 0
    for (index, octet) in octets.enumerated() { sum += index % 2 == 0 ? Int(octet) << 8 : Int(octet) }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    return UInt16(sum)
}

func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
    stride(from: number.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> $0) }
}
