/// The blocks of a pcapng file (draft-ietf-opsawg-pcapng), in the processor's byte order: what libpcap reads and does
/// not write. A file is a section header, its interfaces, and packets; blocks are put one behind the other.
public enum CaptureBlocks {
    /// Which way a packet went by its interface.
    public enum Way: UInt32, Sendable {
        /// Came in; left.
        case inbound = 1, outbound
    }

    /// The block that a file begins with. `program` is kept as what wrote it.
    public static func section(program: String) -> [UInt8] {
        var body = octets(UInt32(0x1a2b_3c4d)) + octets(UInt16(1)) + octets(UInt16(0)) + octets(Int64(-1))
        append(option: 4, Array(program.utf8), to: &body)
        return block(0x0a0d_0d0a, body, hasOptions: true)
    }

    /// An interface; the first one after the section is number 0. Its packets' times are nanoseconds.
    public static func interface(
        _ linkType: CaptureLinkType, name: String, description: String, snapOctets: Int
    ) -> [UInt8] {
        var body = octets(UInt16(linkType == .ethernet ? 1 : 101)) + octets(UInt16(0))
        body += octets(UInt32(clamping: snapOctets))
        append(option: 2, Array(name.utf8), to: &body)
        append(option: 3, Array(description.utf8), to: &body)
        append(option: 9, [9], to: &body)
        return block(1, body, hasOptions: true)
    }

    /// A packet of an interface. `originalCount` is its length where `packet` is less than all of it; comments beyond
    /// 65535 octets are cut.
    public static func packet(
        interface: Int, timestampNanoseconds: UInt64, _ packet: [UInt8], originalCount: Int, way: Way?, comment: String?
    ) -> [UInt8] {
        var body = octets(UInt32(interface))
        body += octets(UInt32(truncatingIfNeeded: timestampNanoseconds >> 32))
        body += octets(UInt32(truncatingIfNeeded: timestampNanoseconds))
        body += octets(UInt32(packet.count)) + octets(UInt32(clamping: max(packet.count, originalCount)))
        body += packet
        pad(&body)
        if let comment { append(option: 1, Array(comment.utf8), to: &body) }
        if let way { append(option: 2, octets(way.rawValue), to: &body) }
        return block(6, body, hasOptions: comment != nil || way != nil)
    }

    private static func block(_ type: UInt32, _ body: [UInt8], hasOptions: Bool) -> [UInt8] {
        let body = hasOptions ? body + [0, 0, 0, 0] : body
        let length = octets(UInt32(body.count + 12))
        return octets(type) + length + body + length
    }

    private static func append(option: UInt16, _ value: [UInt8], to body: inout [UInt8]) {
        let value = value.prefix(65535)
        body += octets(option) + octets(UInt16(value.count)) + value
        pad(&body)
    }

    private static func pad(_ body: inout [UInt8]) {
        while body.count % 4 != 0 { body.append(0) }
    }

    private static func octets(_ number: some FixedWidthInteger) -> [UInt8] {
        (0..<number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }
}
