// Cuts a packet that is larger than a link's MTU. RFC 791 section 3.2 (IPv4), section 3.1 on options (which go into
// every fragment); RFC 8200 section 4.5 (IPv6, which only the source may do: to outer packets of ours).

import Wire

/// The fragments of a packet: how many, how long, and each written where the caller wants it. Allocates nothing.
struct Fragmenter {
    private let packet: PacketBytes
    private let isIPv6: Bool
    // Where the payload that is cut begins.
    private let payloadStart: Int
    // Headers of the first fragment and of the others; IPv6's fragment header included.
    private let firstHeader: Int
    private let laterHeader: Int
    // Payload of the first fragment and of the others but the last: multiples of eight.
    private let firstPiece: Int
    private let laterPiece: Int
    // Of a packet that is a fragment itself: where it belongs, and whether more follows it.
    private let baseOffset: Int
    private let isLast: Bool
    // Of IPv6.
    private let identification: UInt32
    private let nextHeaderOffset: Int
    /// Fragments there are: at least 2, at most 8192.
    let count: Int

    /// Nil for a packet that is not well formed, that fits into `mtuOctets`, that has more headers than do, of IPv4 for
    /// one that is a fragment whose place can't be, and of IPv6 for one that is a fragment.
    ///
    /// Whether it may be cut is the caller's to know. IPv4 fragments keep the packet's identification, which must be
    /// its own (RFC 6864), and its flags; IPv6's get `identification`.
    init?(_ bytes: PacketBytes, mtuOctets: Int, identification: UInt32 = 0) {
        guard bytes.count > 0 else { return nil }
        let field: UInt16
        isIPv6 = bytes.uint8(at: 0) >> 4 == 6
        self.identification = identification
        if isIPv6 {
            guard let header = IPv6Header(bytes), header.isWellFormed, let upper = header.walk(),
                !upper.hasFragmentHeader
            else { return nil }
            packet = bytes.prefix(header.totalLength)
            payloadStart = upper.insertionOffset
            nextHeaderOffset = upper.insertionNextHeaderOffset
            firstHeader = payloadStart + IPv6Upper.fragmentHeaderOctets
            laterHeader = firstHeader
            field = 0
        } else {
            guard let header = IPv4Header(bytes), header.isWellFormed else { return nil }
            packet = bytes.prefix(header.totalLength)
            payloadStart = header.headerLength
            nextHeaderOffset = 0
            firstHeader = payloadStart
            laterHeader = Fragmenter.laterHeaderOctets(packet, headerOctets: payloadStart)
            field = header.fragmentField
        }
        baseOffset = Int(field & IPv4Header.Fragment.offsetMask) * 8
        isLast = field & IPv4Header.Fragment.moreFragments == 0
        let payload = packet.count - payloadStart
        guard packet.count > mtuOctets, mtuOctets >= firstHeader + 8, baseOffset + payload <= 0xffff,
            isLast || payload & 7 == 0
        else { return nil }
        firstPiece = (mtuOctets - firstHeader) & ~7
        laterPiece = (mtuOctets - laterHeader) & ~7
        // At least 1: what does not fit into the MTU is more than the first piece, by the rounding at least.
        count = 1 + (payload - firstPiece + laterPiece - 1) / laterPiece
    }

    /// Where fragment `index` begins in the packet's payload, and the octets of its payload and of its headers. Traps
    /// for an index that is none.
    func plan(_ index: Int) -> (offset: Int, payload: Int, header: Int) {
        precondition(index >= 0 && index < count)
        guard index > 0 else { return (0, firstPiece, firstHeader) }
        let offset = firstPiece + (index - 1) * laterPiece
        return (offset, min(laterPiece, packet.count - payloadStart - offset), laterHeader)
    }

    /// Writes fragment `index`, all of it, to the start of `bytes`, which has room for it and is not the packet's own.
    /// - Returns: Its octets: at most the MTU.
    @discardableResult
    func write(_ index: Int, into bytes: PacketBytes) -> Int {
        let plan = plan(index)
        let fragment = bytes.prefix(plan.header + plan.payload)
        fragment.copy(packet.dropFirst(payloadStart + plan.offset), count: plan.payload, to: plan.header)
        let place = UInt16(truncatingIfNeeded: baseOffset + plan.offset)
        let hasMore = index < count - 1 || !isLast
        if isIPv6 {
            fragment.copy(packet, count: payloadStart, to: 0)
            fragment.store(
                UInt16(truncatingIfNeeded: fragment.count - IPv6Header.octets), at: IPv6Header.Offset.payloadLength)
            fragment.store(UInt16(packet.uint8(at: nextHeaderOffset)) << 8, at: payloadStart)
            fragment.store(place | (hasMore ? 1 : 0), at: payloadStart + 2)
            fragment.store(identification, at: payloadStart + 4)
            fragment.store(IPProtocol.fragment, at: nextHeaderOffset)
        } else {
            writeIPv4Header(fragment, headerOctets: plan.header, isFirst: index == 0)
            let kept = packet.uint16(at: IPv4Header.Offset.fragment) & ~0x3fff
            let more = hasMore ? IPv4Header.Fragment.moreFragments : 0
            fragment.store(UInt16(truncatingIfNeeded: fragment.count), at: IPv4Header.Offset.totalLength)
            fragment.store(kept | more | place >> 3, at: IPv4Header.Offset.fragment)
            fragment.store(UInt16(0), at: IPv4Header.Offset.checksum)
            fragment.store(word: ~InternetChecksum.sum(fragment.prefix(plan.header)), at: IPv4Header.Offset.checksum)
        }
        return fragment.count
    }

    private func writeIPv4Header(_ fragment: PacketBytes, headerOctets: Int, isFirst: Bool) {
        fragment.copy(packet, count: isFirst ? payloadStart : IPv4Header.minimumOctets, to: 0)
        guard !isFirst else { return }
        fragment.store(0x40 | UInt8(headerOctets / 4), at: 0)
        let end = Fragmenter.eachCopiedOption(packet, headerOctets: payloadStart) { option, length, place in
            fragment.copy(packet.dropFirst(option), count: length, to: place)
        }
        // RFC 791 section 3.1: padded with ends of options.
        for offset in end..<headerOctets { fragment.store(UInt8(0), at: offset) }
    }

    private static func laterHeaderOctets(_ packet: PacketBytes, headerOctets: Int) -> Int {
        (eachCopiedOption(packet, headerOctets: headerOctets) { _, _, _ in } + 3) & ~3
    }

    /// Where each option is that goes into every fragment (its first bit says so), how long it is and where it goes in
    /// a later fragment's header. The packet is well formed. Returns where the last of them ends there.
    @inline(__always)
    private static func eachCopiedOption(
        _ packet: PacketBytes, headerOctets: Int, _ body: (_ option: Int, _ length: Int, _ place: Int) -> Void
    ) -> Int {
        var offset = IPv4Header.minimumOctets, place = IPv4Header.minimumOctets
        while offset < headerOctets {
            let kind = packet.uint8(at: offset)
            if kind == 0 { break }
            let length = kind == 1 ? 1 : Int(packet.uint8(at: offset + 1))
            if kind & 0x80 != 0 {
                body(offset, length, place)
                place += length
            }
            offset += length
        }
        return place
    }
}
