// IPv4. RFC 791 section 3.1; ECN bits of RFC 3168 section 5.
//
//   0       1       2              4                6              8       9       10         12       16
//   |ver|ihl| DS+ECN| total length | identification |flags| offset | TTL   | proto | checksum | source | destination

/// Protocol numbers that a gateway knows.
public enum IPProtocol {
    /// Hop-by-hop options, an IPv6 extension header (RFC 8200 section 4.3).
    public static let hopByHop: UInt8 = 0
    /// RFC 792.
    public static let icmp: UInt8 = 1
    /// IPv4 in IP, RFC 2003: the next header of a tunnel mode packet.
    public static let ipv4: UInt8 = 4
    /// RFC 9293.
    public static let tcp: UInt8 = 6
    /// RFC 768.
    public static let udp: UInt8 = 17
    /// IPv6 in IP, RFC 2473: the next header of a tunnel mode packet.
    public static let ipv6: UInt8 = 41
    /// An IPv6 extension header (RFC 8200 section 4.4).
    public static let routing: UInt8 = 43
    /// An IPv6 extension header (RFC 8200 section 4.5).
    public static let fragment: UInt8 = 44
    /// RFC 4303.
    public static let esp: UInt8 = 50
    /// RFC 4302.
    public static let ah: UInt8 = 51
    /// RFC 4443.
    public static let icmpv6: UInt8 = 58
    /// "No next header": what a dummy packet carries (RFC 4303 section 2.6).
    public static let none: UInt8 = 59
    /// An IPv6 extension header (RFC 8200 section 4.6).
    public static let destinationOptions: UInt8 = 60
    /// RFC 9260.
    public static let sctp: UInt8 = 132
}

/// A view of an IPv4 packet from its header on.
@frozen
public struct IPv4Header {
    /// Octets of a header without options.
    public static let minimumOctets = 20
    /// Where fields start.
    public enum Offset {
        /// In octets from the header's first.
        public static let typeOfService = 1, totalLength = 2, identification = 4, fragment = 6, timeToLive = 8
        /// Likewise.
        public static let ipProtocol = 9, checksum = 10, source = 12, destination = 16
    }
    /// Bits of the field that holds flags and fragment offset.
    public enum Fragment {
        /// Two flags; and the offset, in units of eight octets.
        public static let dontFragment: UInt16 = 0x4000, moreFragments: UInt16 = 0x2000, offsetMask: UInt16 = 0x1fff
    }

    /// The packet.
    public let bytes: PacketBytes

    /// Nil when `bytes` is shorter than a header without options; nothing else is checked.
    @inlinable
    @inline(__always)
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= IPv4Header.minimumOctets else { return nil }
        self.bytes = bytes
    }

    /// 4 for IPv4.
    @inlinable public var version: UInt8 { bytes.uint8(at: 0) >> 4 }
    /// Octets of the header, options included.
    @inlinable public var headerLength: Int { Int(bytes.uint8(at: 0) & 0x0f) &* 4 }
    /// DSCP and ECN.
    @inlinable public var typeOfService: UInt8 { bytes.uint8(at: Offset.typeOfService) }
    /// Octets of header and payload.
    @inlinable public var totalLength: Int { Int(bytes.uint16(at: Offset.totalLength)) }
    /// Identification of the datagram that a fragment belongs to.
    @inlinable public var identification: UInt16 { bytes.uint16(at: Offset.identification) }
    /// Flags and fragment offset together.
    @inlinable public var fragmentField: UInt16 { bytes.uint16(at: Offset.fragment) }
    /// Whether it is a fragment, first or later.
    @inlinable public var isFragment: Bool { fragmentField & (Fragment.moreFragments | Fragment.offsetMask) != 0 }
    /// Whether it is a fragment that does not show the transport header.
    @inlinable public var isLaterFragment: Bool { fragmentField & Fragment.offsetMask != 0 }
    /// Whether routers must not fragment it.
    @inlinable public var dontFragment: Bool { fragmentField & Fragment.dontFragment != 0 }
    /// Hops left.
    @inlinable public var timeToLive: UInt8 { bytes.uint8(at: Offset.timeToLive) }
    /// What the payload is.
    @inlinable public var ipProtocol: UInt8 { bytes.uint8(at: Offset.ipProtocol) }
    /// Source address as a number.
    @inlinable public var source: UInt32 { bytes.uint32(at: Offset.source) }
    /// Destination address as a number.
    @inlinable public var destination: UInt32 { bytes.uint32(at: Offset.destination) }

    /// Whether a receiver may go on (RFC 1812 section 5.2.2): version, lengths, options and checksum hold.
    ///
    /// `bytes` may be longer than the packet (Ethernet padding), not shorter.
    @inlinable
    @inline(__always)
    public var isWellFormed: Bool {
        guard totalLength <= bytes.count else { return false }
        guard bytes.uint8(at: 0) == 0x45 else { return hasWellFormedOptions }
        return totalLength >= IPv4Header.minimumOctets && InternetChecksum.isIntactMinimalHeader(bytes)
    }

    // The rare case, kept out of the callers' loops.
    @usableFromInline
    @inline(never)
    var hasWellFormedOptions: Bool {
        guard version == 4, headerLength >= IPv4Header.minimumOctets, headerLength <= totalLength,
            totalLength <= bytes.count, InternetChecksum.sum(bytes.prefix(headerLength)) == 0xffff
        else { return false }
        // RFC 791 section 3.1: end (0) and no-operation (1) are single octets, the others carry their length.
        var offset = IPv4Header.minimumOctets
        while offset < headerLength {
            switch bytes.uint8(at: offset) {
            case 0: return true
            case 1: offset += 1
            default:
                guard offset + 1 < headerLength else { return false }
                let length = Int(bytes.uint8(at: offset + 1))
                guard length >= 2, offset + length <= headerLength else { return false }
                offset += length
            }
        }
        return true
    }

    /// One hop less, with the checksum brought along (RFC 1624). The caller has checked that TTL is at least 1.
    ///
    /// One load and one store of TTL, protocol and checksum together: a load of two octets just after a store of one of
    /// them would wait for the store to leave the core's buffer.
    @inlinable
    @inline(__always)
    public func decrementTimeToLive() {
        // Little-endian, TTL is the lowest octet and the checksum the highest two, its octets swapped as sums may be
        // (RFC 1071 section 2 B).
        let old = bytes.word32(at: Offset.timeToLive).littleEndian
        // Equation 3 for a field that is 0x0100 less: as much more, and 1 for the carry, which 0xffff counts as.
        let sum = old >> 16 &+ 1
        let checksum = sum &+ (sum >= 0xffff ? 1 : 0)
        bytes.store(word: (checksum << 16 | (old & 0xffff &- 1)).littleEndian, at: Offset.timeToLive)
    }

    /// Replaces the ECN bits (RFC 3168 section 5), checksum included.
    public func setECN(_ ecn: UInt8) {
        let old = bytes.word16(at: 0)
        bytes.store(typeOfService & 0xfc | ecn & 0x03, at: Offset.typeOfService)
        updateChecksum(from: old, to: bytes.word16(at: 0))
    }

    @inlinable
    func updateChecksum(from old: UInt16, to new: UInt16) {
        let checksum = InternetChecksum.updated(bytes.word16(at: Offset.checksum), from: old, to: new)
        bytes.store(word: checksum, at: Offset.checksum)
    }

    /// The pseudo header's sum for a checksum of `length` octets of the packet's protocol, to be passed to
    /// `InternetChecksum.sum(_:pseudoHeader:)`.
    @inlinable
    public func pseudoHeader(length: Int) -> UInt64 {
        InternetChecksum.pseudoHeader(
            source: source, destination: destination, ipProtocol: ipProtocol, length: length)
    }

    /// Writes a header of 20 octets and its checksum.
    public func emit(
        typeOfService: UInt8 = 0, totalLength: Int, identification: UInt16 = 0, fragment: UInt16 = 0, timeToLive: UInt8,
        ipProtocol: UInt8, source: UInt32, destination: UInt32
    ) {
        bytes.store(UInt8(0x45), at: 0)
        bytes.store(typeOfService, at: Offset.typeOfService)
        bytes.store(UInt16(truncatingIfNeeded: totalLength), at: Offset.totalLength)
        bytes.store(identification, at: Offset.identification)
        bytes.store(fragment, at: Offset.fragment)
        bytes.store(timeToLive, at: Offset.timeToLive)
        bytes.store(ipProtocol, at: Offset.ipProtocol)
        bytes.store(UInt16(0), at: Offset.checksum)
        bytes.store(source, at: Offset.source)
        bytes.store(destination, at: Offset.destination)
        bytes.store(word: ~InternetChecksum.sumOfMinimalHeader(bytes), at: Offset.checksum)
    }
}
