extension Packet {
    /// An IPv6 packet; extension headers are the caller's, as a number and the octets behind it.
    struct IPv6 {
        var trafficClass: UInt8 = 0
        var flowLabel: UInt32 = 0
        var hopLimit: UInt8 = 64
        var nextHeader: UInt8 = 59
        var source: UInt128
        var destination: UInt128
        /// Each as its number and its octets, whose first is overwritten by the next one's number.
        var extensions: [(number: UInt8, octets: [UInt8])] = []
        var payload: [UInt8] = []

        var octets: [UInt8] {
            let numbers = extensions.map(\.number) + [nextHeader]
            var chain: [UInt8] = []
            for (index, header) in extensions.enumerated() { chain += [numbers[index + 1]] + header.octets.dropFirst() }
            return bigEndian(UInt32(6) << 28 | UInt32(trafficClass) << 20 | flowLabel)
                + bigEndian(UInt16(chain.count + payload.count)) + [numbers[0], hopLimit] + bigEndian(source)
                + bigEndian(destination) + chain + payload
        }
    }

    /// A fragment header: `offset` in octets, a multiple of eight.
    static func fragment(offset: UInt16, more: Bool, identification: UInt32 = 7) -> (number: UInt8, octets: [UInt8]) {
        (44, [0, 0] + bigEndian(offset & 0xfff8 | (more ? 1 : 0)) + bigEndian(identification))
    }

    /// An ICMPv6 message with its checksum.
    static func icmp6(_ type: UInt8, _ code: UInt8 = 0, _ body: [UInt8], from source: UInt128, to destination: UInt128)
        -> [UInt8]
    {
        var message: [UInt8] = [type, code, 0, 0] + body
        let pseudo = bigEndian(source) + bigEndian(destination) + bigEndian(UInt32(message.count)) + [0, 0, 0, 58]
        message.replaceSubrange(2..<4, with: bigEndian(~onesComplementSum(pseudo + message)))
        return message
    }

    /// Whether an ICMPv6 message that fills a packet without extension headers has its checksum.
    static func isIntact6(_ packet: some RandomAccessCollection<UInt8>) -> Bool {
        let packet = Array(packet)
        let pseudo = packet[8..<40] + bigEndian(UInt32(packet.count - 40)) + [0, 0, 0, 58]
        return onesComplementSum(pseudo + packet[40...]) == 0xffff
    }

    /// A whole frame with a neighbour solicitation or advertisement; `option` is 1 or 2.
    static func discovery(
        _ type: UInt8, flags: UInt32 = 0, from source: UInt128, to destination: UInt128, target: UInt128,
        mac: UInt64?, option: UInt8, frameTo: UInt64, hopLimit: UInt8 = 255
    ) -> [UInt8] {
        let options: [UInt8] = mac.map { [option, 1] + bigEndian($0).suffix(6) } ?? []
        let message = icmp6(
            type, 0, bigEndian(flags) + bigEndian(target) + options, from: source, to: destination)
        return frame(
            to: frameTo, from: mac ?? 0x0200_0000_0002, type: 0x86dd,
            IPv6(
                hopLimit: hopLimit, nextHeader: 58, source: source, destination: destination, payload: message
            ).octets)
    }

    static func uint128(_ octets: some RandomAccessCollection<UInt8>, at offset: Int) -> UInt128 {
        octets.dropFirst(offset).prefix(16).reduce(0) { $0 << 8 | UInt128($1) }
    }
}

/// An IPv6 address as a number.
func v6(_ text: String) -> UInt128 { address(text).rawValue }
