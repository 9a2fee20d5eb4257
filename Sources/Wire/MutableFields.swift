// What changes in an IP header on its way, and so counts as zero for an AH's ICV. RFC 4302 section 3.3.3.1 and
// appendix A.

/// Zeroes what a router may change in the headers before an AH.
public enum MutableFields {
    /// Zeroes them in the first `count` octets of `bytes`: the IP header with all that precedes the AH, which `walk` or
    /// `isWellFormed` has been through. False, with any part done, where a header can't be predicted or is not one that
    /// may stand before an AH: source routes, routing and fragment headers.
    public static func zero(_ bytes: PacketBytes, count: Int) -> Bool {
        if let header = IPv4Header(bytes), header.version == 4 { return zero(header, count: count) }
        if let header = IPv6Header(bytes), header.version == 6 { return zero(header, count: count) }
        return false
    }

    /// RFC 4302 3.3.3.1.1: type of service, flags, fragment offset, TTL, checksum and most options.
    private static func zero(_ header: IPv4Header, count: Int) -> Bool {
        let bytes = header.bytes
        guard header.headerLength == count, count >= IPv4Header.minimumOctets, count <= bytes.count else {
            return false
        }
        bytes.store(UInt8(0), at: IPv4Header.Offset.typeOfService)
        bytes.store(UInt16(0), at: IPv4Header.Offset.fragment)
        bytes.store(UInt8(0), at: IPv4Header.Offset.timeToLive)
        bytes.store(UInt16(0), at: IPv4Header.Offset.checksum)
        var offset = IPv4Header.minimumOctets
        while offset < count {
            let kind = bytes.uint8(at: offset)
            // RFC 791 section 3.1: end and no-operation are single octets, the others carry their length.
            if kind == 0 { return true }
            if kind == 1 {
                offset += 1
                continue
            }
            guard offset + 1 < count else { return false }
            let length = Int(bytes.uint8(at: offset + 1))
            guard length >= 2, offset + length <= count else { return false }
            switch kind {
            // Appendix A1: security, extended and commercial security, router alert, sender directed delivery.
            case 130, 133, 134, 148, 149: break
            // Loose and strict source route: the destination is another one on the way.
            case 131, 137: return false
            default: for index in offset..<offset + length { bytes.store(UInt8(0), at: index) }
            }
            offset += length
        }
        return true
    }

    /// RFC 4302 3.3.3.1.2: traffic class, flow label, hop limit, and the data of options that say so.
    private static func zero(_ header: IPv6Header, count: Int) -> Bool {
        let bytes = header.bytes
        guard count <= bytes.count else { return false }
        bytes.store(0x6000_0000 as UInt32, at: 0)
        bytes.store(UInt8(0), at: IPv6Header.Offset.hopLimit)
        var next = header.nextHeader, offset = IPv6Header.octets
        while offset < count {
            guard next == IPProtocol.hopByHop || next == IPProtocol.destinationOptions, offset + 8 <= count else {
                return false
            }
            let end = offset + (Int(bytes.uint8(at: offset + 1)) + 1) * 8
            guard end <= count, zeroOptions(bytes, from: offset + 2, to: end) else { return false }
            next = bytes.uint8(at: offset)
            offset = end
        }
        return offset == count
    }

    /// RFC 8200 4.2: the third-highest bit of an option's type says that its data may change on the way.
    private static func zeroOptions(_ bytes: PacketBytes, from start: Int, to end: Int) -> Bool {
        var offset = start
        while offset < end {
            let kind = bytes.uint8(at: offset)
            if kind == 0 {
                offset += 1
                continue
            }
            guard offset + 1 < end else { return false }
            let next = offset + 2 + Int(bytes.uint8(at: offset + 1))
            guard next <= end else { return false }
            if kind & 0x20 != 0 { for index in offset + 2..<next { bytes.store(UInt8(0), at: index) } }
            offset = next
        }
        return true
    }
}
