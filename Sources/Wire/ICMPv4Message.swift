// ICMP for IPv4. RFC 792; which errors a router sends, and about what: RFC 1812 section 4.3.
//
//   0       1       2               4               6               8
//   | type  | code  | checksum      | identifier    | sequence      | data             echo
//   | type  | code  | checksum      | 0             | next-hop MTU  | quoted packet    error (RFC 1191)

/// A view of an ICMP message.
@frozen
public struct ICMPv4Message {
    /// Octets before the data.
    public static let headerOctets = 8
    /// Octets of the packet that caused an error which an error quotes: its header and eight more (RFC 792), or all
    /// that keeps the error within 576 octets (RFC 1812 section 4.3.2.3).
    public static let quoteLimitOctets = 576 - IPv4Header.minimumOctets - headerOctets
    /// Types.
    public enum Kind {
        /// As RFC 792 numbers them.
        public static let echoReply: UInt8 = 0, destinationUnreachable: UInt8 = 3, echoRequest: UInt8 = 8
        /// The TTL ran out (RFC 792).
        public static let timeExceeded: UInt8 = 11
        /// Whether messages of this type tell of an error, about which no error may be sent (RFC 1122 section 3.2.2).
        public static func isError(_ type: UInt8) -> Bool { [3, 4, 5, 11, 12].contains(type) }
    }
    /// Code of a destination unreachable: fragmentation needed and DF set.
    public static let fragmentationNeeded: UInt8 = 4

    let bytes: PacketBytes

    /// Nil when `bytes` is shorter than the header. `bytes` ends where the message ends.
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= ICMPv4Message.headerOctets else { return nil }
        self.bytes = bytes
    }

    /// What it is.
    public var type: UInt8 { bytes.uint8(at: 0) }
    /// Which kind of it.
    public var code: UInt8 { bytes.uint8(at: 1) }
    /// Whether the checksum over the whole message holds.
    public var isIntact: Bool { InternetChecksum.sum(bytes) == 0xffff }

    /// Turns an intact echo request into its reply, checksum included.
    public func becomeEchoReply() {
        bytes.store(Kind.echoReply, at: 0)
        // Summed anew: a reply may be all zeros, for which following the change (RFC 1624) gives 0 instead of 0xffff.
        bytes.store(UInt16(0), at: 2)
        bytes.store(word: ~InternetChecksum.sum(bytes), at: 2)
    }

    /// Writes the header of an error whose quote is already behind it, checksum included.
    public func emitError(type: UInt8, code: UInt8, nextHopMTU: UInt16 = 0) {
        bytes.store(type, at: 0)
        bytes.store(code, at: 1)
        bytes.store(UInt32(nextHopMTU), at: 4)
        bytes.store(UInt16(0), at: 2)
        bytes.store(word: ~InternetChecksum.sum(bytes), at: 2)
    }
}
