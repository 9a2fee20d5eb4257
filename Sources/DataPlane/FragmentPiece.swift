// What a fragment says of itself. RFC 791 section 3.1, RFC 8200 section 4.5.

import Wire

/// A fragment's place in its datagram.
struct FragmentPiece {
    /// What fragments of one datagram have in common.
    struct Key: Equatable, BitwiseCopyable {
        var source: UInt128 = 0
        var destination: UInt128 = 0
        var identification: UInt32 = 0
        /// Of IPv6, 0: its fragments may differ in what they say comes next, and only the first's word counts.
        var ipProtocol: UInt8 = 0
        /// 4 or 6.
        var family: UInt8 = 0
    }

    let key: Key
    /// Where its payload is in the packet.
    let start: Int
    /// Where it belongs in the datagram's payload, and how much it is, in octets.
    let offset: Int
    let length: Int
    /// Whether nothing follows.
    let isLast: Bool
    /// ECN bits.
    let mark: UInt8

    /// One behind its last octet, in the datagram's payload.
    var end: Int { offset + length }
    /// Whether there is more of its datagram.
    var isPart: Bool { offset > 0 || !isLast }
    /// Octets of the whole packet, at least, as far as this fragment knows.
    var wholeOctets: Int {
        start + end - (hasFragmentHeader ? IPv6Upper.fragmentHeaderOctets : 0)
    }
    /// Whether it is IPv6 with the header that makes it one.
    let hasFragmentHeader: Bool

    /// Reads a packet. Nil for one that is not well formed or whose place can't be: no payload, a part that is not the
    /// last and not a multiple of eight octets, an end beyond what a length field can say.
    init?(_ bytes: PacketBytes) {
        guard bytes.count > 0 else { return nil }
        if bytes.uint8(at: 0) >> 4 == 6 {
            guard let header = IPv6Header(bytes), header.isWellFormed, let upper = header.walk() else { return nil }
            self.init(header, upper)
        } else {
            guard let header = IPv4Header(bytes), header.isWellFormed else { return nil }
            self.init(header)
        }
        guard length > 0 || !isPart, isLast || length & 7 == 0 else { return nil }
        guard wholeOctets - (key.family == 6 ? IPv6Header.octets : 0) <= 0xffff else { return nil }
    }

    private init(_ header: IPv4Header) {
        key = Key(
            source: UInt128(header.source), destination: UInt128(header.destination),
            identification: UInt32(header.identification), ipProtocol: header.ipProtocol, family: 4)
        start = header.headerLength
        offset = Int(header.fragmentField & IPv4Header.Fragment.offsetMask) * 8
        length = header.totalLength - start
        isLast = header.fragmentField & IPv4Header.Fragment.moreFragments == 0
        mark = header.typeOfService & 3
        hasFragmentHeader = false
    }

    private init(_ header: IPv6Header, _ upper: IPv6Upper) {
        key = Key(
            source: header.source, destination: header.destination, identification: upper.identification, family: 6)
        hasFragmentHeader = upper.hasFragmentHeader
        start = hasFragmentHeader ? upper.fragmentHeaderOffset + IPv6Upper.fragmentHeaderOctets : upper.offset
        offset = upper.fragmentOffset
        length = header.totalLength - start
        isLast = !upper.moreFragments
        mark = header.trafficClass & 3
    }
}
