// UDP. RFC 768; over IPv6: RFC 8200 section 8.1; around ESP: RFC 3948 section 2.
//
//   0               2                   4        6          8
//   | source port   | destination port  | length | checksum | payload

/// A view of a UDP datagram.
@frozen
public struct UDPHeader {
    /// Octets of the header.
    public static let octets = 8
    /// The port of IKE (RFC 7296 section 2).
    public static let internetKeyExchangePort: UInt16 = 500
    /// The port of ESP in UDP, and of IKE beside it (RFC 3948 section 2).
    public static let natTraversalPort: UInt16 = 4500
    /// Where fields start.
    public enum Offset {
        /// In octets from the header's first.
        public static let sourcePort = 0, destinationPort = 2, length = 4, checksum = 6
    }

    @usableFromInline let bytes: PacketBytes

    /// Nil when `bytes` is shorter than the header; nothing else is checked.
    @inlinable
    @inline(__always)
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= UDPHeader.octets else { return nil }
        self.bytes = bytes
    }

    /// Who sent it.
    @inlinable public var sourcePort: UInt16 { bytes.uint16(at: Offset.sourcePort) }
    /// Whom it is for.
    @inlinable public var destinationPort: UInt16 { bytes.uint16(at: Offset.destinationPort) }
    /// Octets of header and payload.
    @inlinable public var length: Int { Int(bytes.uint16(at: Offset.length)) }
    /// 0: the sender made none, which only IPv4 allows.
    @inlinable public var checksum: UInt16 { bytes.uint16(at: Offset.checksum) }
    /// Whether the length holds. `bytes` may be longer than the datagram, not shorter.
    @inlinable public var isWellFormed: Bool { length >= UDPHeader.octets && length <= bytes.count }

    /// Whether the checksum of a well formed datagram holds, with its pseudo header's sum as `InternetChecksum` makes
    /// it. For IPv4, one that is 0 is none and holds (RFC 768); for IPv6 it does not (RFC 8200 section 8.1).
    public func isIntact(pseudoHeader: UInt64, allowsNone: Bool) -> Bool {
        guard checksum != 0 else { return allowsNone }
        return InternetChecksum.sum(bytes.prefix(length), pseudoHeader: pseudoHeader) == 0xffff
    }

    /// Writes all fields; `length` counts header and payload in octets.
    @inlinable
    @inline(__always)
    public func emit(sourcePort: UInt16, destinationPort: UInt16, length: Int, checksum: UInt16 = 0) {
        bytes.store(sourcePort, at: Offset.sourcePort)
        bytes.store(destinationPort, at: Offset.destinationPort)
        bytes.store(UInt16(truncatingIfNeeded: length), at: Offset.length)
        bytes.store(checksum, at: Offset.checksum)
    }

    /// Makes the checksum of a well formed datagram, with its pseudo header's sum. One that comes out as 0 is sent as
    /// all ones, because 0 means none (RFC 768, RFC 8200 section 8.1).
    public func fillChecksum(pseudoHeader: UInt64) {
        bytes.store(UInt16(0), at: Offset.checksum)
        let checksum = ~InternetChecksum.sum(bytes.prefix(length), pseudoHeader: pseudoHeader)
        bytes.store(word: checksum == 0 ? 0xffff : checksum, at: Offset.checksum)
    }
}
