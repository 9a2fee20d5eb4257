// What protection adds to a packet. RFC 4303 section 2, RFC 4302 section 2, RFC 3948 section 2.1.

extension AssociationProfile {
    /// Octets of UDP around ESP.
    public var udpOctets: Int { natTraversal && algorithm.securityProtocol == .esp ? 8 : 0 }

    /// Octets of an Authentication Header, behind an outer header of `outer`: it ends on a multiple of four in IPv4 and
    /// of eight in IPv6 (RFC 4302 section 2.6).
    public func authenticationHeaderOctets(outer: IPFamily) -> Int {
        let alignment = outer == .v4 ? 4 : 8
        return (12 + algorithm.ivOctets + algorithm.icvOctets + alignment - 1) / alignment * alignment
    }

    /// The highest sequence number there is (RFC 4303 section 2.2.1): nothing is sent behind it.
    public var lastSequenceNumber: UInt64 { extendedSequenceNumbers ? .max : UInt64(UInt32.max) }

    /// Octets of the outer packet that an inner one gives, which in transport mode is the packet before it is
    /// protected. Padding for traffic flow confidentiality is not in it.
    public func outerOctets(innerOctets: Int, outer: IPFamily) -> Int {
        let header = mode == .transport ? 0 : outer == .v4 ? 20 : 40
        guard algorithm.securityProtocol == .esp else {
            return header + innerOctets + authenticationHeaderOctets(outer: outer)
        }
        let text = (innerOctets + 2 + 3) & ~3
        return header + udpOctets + 8 + algorithm.ivOctets + text + algorithm.icvOctets
    }

    /// Octets of the largest inner packet that gives an outer one of at most `linkMTU` octets; 0 when there is none. In
    /// transport mode, of the largest packet before it is protected. Padding for traffic flow confidentiality is not in
    /// it.
    public func innerMTUOctets(linkMTU: Int, outer: IPFamily) -> Int {
        let header = mode == .transport ? 0 : outer == .v4 ? 20 : 40
        guard algorithm.securityProtocol == .esp else {
            return max(0, linkMTU - header - authenticationHeaderOctets(outer: outer))
        }
        // SPI and sequence number before, pad length and next header behind; what is encrypted ends on a multiple of
        // four. IP headers are multiples of four too, so in transport mode they may count as encrypted.
        let text = linkMTU - header - udpOctets - 8 - algorithm.ivOctets - algorithm.icvOctets
        return max(0, text & ~3 - 2)
    }
}
