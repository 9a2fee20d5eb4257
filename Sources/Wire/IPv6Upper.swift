// What lies behind an IPv6 header. RFC 8200 section 4, RFC 7112 (the chain is in the first fragment), RFC 5095 (type 0
// routing headers), RFC 4303 section 3.1.1 (where ESP goes in transport mode), RFC 4301 section 4.4.1.1: hop-by-hop,
// routing, fragment and destination options are skipped on the way to the protocol that selectors look at; AH and ESP
// are not.
//
//   IPv6 | hop-by-hop | dst options | routing | (ESP or AH goes here) | dst options | TCP, UDP, ICMPv6, ESP, AH, …
//                       only if routing follows
//
// The fragment header stands behind routing and in front of where ESP goes.

/// Where an IPv6 packet's upper-layer header is, and what was passed on the way there. Offsets count in octets from the
/// first of the IPv6 header.
@frozen
public struct IPv6Upper: BitwiseCopyable, Sendable, Equatable {
    /// Most extension headers that are followed: RFC 8200 section 4.1 names six that a packet may have.
    public static let extensionLimit = 8
    /// Octets of a fragment header.
    public static let fragmentHeaderOctets = 8

    /// The upper-layer protocol. Of a later fragment: what its fragment header says comes next, unseen.
    public var upperProtocol: UInt8
    /// Whether a routing header of type 0 was passed, deprecated because it makes traffic go in circles (RFC 5095).
    public var hasRoutingType0: Bool
    /// Where the upper-layer header is; of a later fragment, its piece of the payload.
    public var offset: Int
    /// Where the octet is that names `upperProtocol`.
    public var nextHeaderOffset: Int
    /// Where ESP or AH go in transport mode: what comes from here on is protected.
    public var insertionOffset: Int
    /// Where the octet is that names what comes at `insertionOffset`.
    public var insertionNextHeaderOffset: Int
    /// Where the fragment header is; 0 when there is none.
    public var fragmentHeaderOffset: Int
    /// Where the octet is that names the fragment header; 0 when there is none.
    public var fragmentNextHeaderOffset: Int
    /// The fragment header's offset field and flags: the offset in octets in the upper 13 bits, "more" the lowest bit.
    public var fragmentField: UInt16
    /// The datagram that a fragment belongs to; 0 when there is no fragment header.
    public var identification: UInt32

    /// What a packet without extension headers has.
    @inlinable
    @inline(__always)
    public init(upperProtocol: UInt8) {
        self.upperProtocol = upperProtocol
        hasRoutingType0 = false
        offset = IPv6Header.octets
        nextHeaderOffset = IPv6Header.Offset.nextHeader
        insertionOffset = IPv6Header.octets
        insertionNextHeaderOffset = IPv6Header.Offset.nextHeader
        fragmentHeaderOffset = 0
        fragmentNextHeaderOffset = 0
        fragmentField = 0
        identification = 0
    }

    /// Whether there is a fragment header, even one that says the packet is whole (an atomic fragment, RFC 6946).
    @inlinable public var hasFragmentHeader: Bool { fragmentHeaderOffset != 0 }
    /// Where the fragment's payload belongs in the datagram's fragmentable part, in octets.
    @inlinable public var fragmentOffset: Int { Int(fragmentField & 0xfff8) }
    /// Whether more fragments follow.
    @inlinable public var moreFragments: Bool { fragmentField & 1 != 0 }
    /// Whether it is a fragment, first or later, and not all of a datagram.
    @inlinable public var isFragment: Bool { fragmentField & 0xfff9 != 0 }
    /// Whether it is a fragment that does not show the upper-layer header.
    @inlinable public var isLaterFragment: Bool { fragmentField & 0xfff8 != 0 }
}

extension IPv6Header {
    /// Finds the upper-layer header. The packet is well formed; octets behind its end are not looked at.
    ///
    /// Nil for a chain that does not hold: an extension header that reaches beyond the packet, hop-by-hop options
    /// anywhere but first, a second fragment header, more than `IPv6Upper.extensionLimit`, and a first fragment
    /// without the whole chain (RFC 7112). The upper-layer header itself may be cut short.
    @inlinable
    @inline(__always)
    public func walk() -> IPv6Upper? {
        let next = nextHeader
        // Nearly all packets: nothing between.
        if next == IPProtocol.esp || next == IPProtocol.tcp || next == IPProtocol.udp || next == IPProtocol.icmpv6 {
            return IPv6Upper(upperProtocol: next)
        }
        return walkExtensions()
    }

    @usableFromInline
    @inline(never)
    func walkExtensions() -> IPv6Upper? {
        let end = min(totalLength, bytes.count)
        var upper = IPv6Upper(upperProtocol: nextHeader)
        for passed in 0...IPv6Upper.extensionLimit {
            let header = upper.offset
            switch upper.upperProtocol {
            case IPProtocol.hopByHop where passed > 0: return nil  // RFC 8200 4: only directly behind the IPv6 header
            case IPProtocol.hopByHop, IPProtocol.destinationOptions, IPProtocol.routing, IPProtocol.fragment: break
            default: return upper
            }
            // All four are at least eight octets long, and all but the fragment header carry their length.
            guard passed < IPv6Upper.extensionLimit, header + 8 <= end else { return nil }
            let kind = upper.upperProtocol
            let next = header + (kind == IPProtocol.fragment ? 8 : (Int(bytes.uint8(at: header + 1)) + 1) * 8)
            guard next <= end else { return nil }
            if kind == IPProtocol.fragment {
                guard !upper.hasFragmentHeader else { return nil }
                upper.fragmentHeaderOffset = header
                upper.fragmentNextHeaderOffset = upper.nextHeaderOffset
                // The two bits between offset and flag are reserved and ignored (RFC 8200 section 4.5).
                upper.fragmentField = bytes.uint16(at: header + 2) & 0xfff9
                upper.identification = bytes.uint32(at: header + 4)
            }
            if kind == IPProtocol.routing && bytes.uint8(at: header + 2) == 0 { upper.hasRoutingType0 = true }
            upper.upperProtocol = bytes.uint8(at: header)
            upper.offset = next
            upper.nextHeaderOffset = header
            // Destination options move it only together with a routing header behind them.
            if kind != IPProtocol.destinationOptions {
                upper.insertionOffset = next
                upper.insertionNextHeaderOffset = header
            }
            if upper.isLaterFragment { return upper }
        }
        return nil
    }
}
