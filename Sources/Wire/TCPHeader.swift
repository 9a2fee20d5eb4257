// TCP, as far as a gateway looks. RFC 9293 section 3.1 (format), 3.2 (options); RFC 6691 (what the maximum segment size
// counts: no options).
//
//   0               2                   4          8                12        13      14       16         18       20
//   | source port   | destination port  | sequence | acknowledgment | length  | flags | window | checksum | urgent |

/// A view of a TCP segment.
@frozen
public struct TCPHeader {
    /// Octets of a header without options.
    public static let minimumOctets = 20
    /// Where fields start.
    public enum Offset {
        /// In octets from the header's first.
        public static let sourcePort = 0, destinationPort = 2, headerLength = 12, flags = 13, checksum = 16
    }
    /// Bits of the flags.
    public enum Flag {
        /// The first segments of a connection, which carry the maximum segment size.
        public static let synchronize: UInt8 = 0x02
    }
    enum Option {
        static let end: UInt8 = 0, noOperation: UInt8 = 1, maximumSegmentSize: UInt8 = 2
    }

    @usableFromInline let bytes: PacketBytes

    /// Nil when `bytes` is shorter than a header without options; nothing else is checked.
    @inlinable
    @inline(__always)
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= TCPHeader.minimumOctets else { return nil }
        self.bytes = bytes
    }

    /// Who sent it.
    @inlinable public var sourcePort: UInt16 { bytes.uint16(at: Offset.sourcePort) }
    /// Whom it is for.
    @inlinable public var destinationPort: UInt16 { bytes.uint16(at: Offset.destinationPort) }
    /// Octets of the header, options included.
    @inlinable public var headerLength: Int { Int(bytes.uint8(at: Offset.headerLength) >> 4) &* 4 }
    /// The lower eight flags.
    @inlinable public var flags: UInt8 { bytes.uint8(at: Offset.flags) }
    /// Whether it opens a connection, from either side.
    @inlinable public var isSynchronize: Bool { flags & Flag.synchronize != 0 }

    /// The largest segment whose packets fit: RFC 6691 counts the fixed headers of IP and TCP only. At least 1.
    public static func maximumSegmentSize(mtuOctets: Int, ipHeaderOctets: Int) -> UInt16 {
        UInt16(clamping: max(1, mtuOctets - ipHeaderOctets - minimumOctets))
    }

    /// Lowers the maximum segment size that the sender of a SYN says it takes to `limit` octets, checksum included
    /// (RFC 1624). Leaves everything else as it is: other segments, smaller sizes, options that don't hold.
    ///
    /// One without the option is left alone: what it stands for, 536 octets (1220 over IPv6), fits nearly everywhere.
    /// - Returns: Whether it changed anything.
    @inlinable
    @inline(__always)
    @discardableResult
    public func clampMaximumSegmentSize(to limit: UInt16) -> Bool {
        guard isSynchronize else { return false }
        return clampOption(to: limit)
    }

    @usableFromInline
    @inline(never)
    func clampOption(to limit: UInt16) -> Bool {
        let end = min(headerLength, bytes.count)
        var offset = TCPHeader.minimumOctets
        var hasChanged = false
        while offset < end {
            let kind = bytes.uint8(at: offset)
            if kind == Option.end { break }
            if kind == Option.noOperation {
                offset += 1
                continue
            }
            guard offset + 1 < end else { break }
            let length = Int(bytes.uint8(at: offset + 1))
            guard length >= 2, offset + length <= end else { break }
            if kind == Option.maximumSegmentSize && length == 4 && bytes.uint16(at: offset + 2) > limit {
                setMaximumSegmentSize(limit, at: offset + 2)
                hasChanged = true
            }
            offset += length
        }
        return hasChanged
    }

    private func setMaximumSegmentSize(_ size: UInt16, at offset: Int) {
        var old = bytes.uint16(at: offset), new = size
        bytes.store(new, at: offset)
        // A field at an odd offset lies across two words of the sum, where its octets count the other way round
        // (RFC 1071 section 2 B).
        if offset & 1 != 0 {
            old = old.byteSwapped
            new = new.byteSwapped
        }
        bytes.store(
            InternetChecksum.updated(bytes.uint16(at: Offset.checksum), from: old, to: new), at: Offset.checksum)
    }
}
