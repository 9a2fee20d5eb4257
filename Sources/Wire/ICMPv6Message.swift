// ICMP for IPv6. RFC 4443: section 2.1 (format), 2.3 (checksum), 2.4 (when no error is sent), 3 (errors), 4 (echo).
//
//   0       1       2               4               6               8
//   | type  | code  | checksum      | identifier    | sequence      | data             echo
//   | type  | code  | checksum      | MTU, of a packet too big; or 0| quoted packet    error

/// A view of an ICMPv6 message.
@frozen
public struct ICMPv6Message {
    /// Octets before the data.
    public static let headerOctets = 8
    /// Octets of the packet that caused an error which an error quotes: all that keeps the error within 1280 octets
    /// (RFC 4443 section 2.4 c).
    public static let quoteLimitOctets = IPv6Header.minimumMTUOctets - IPv6Header.octets - headerOctets
    /// Types.
    public enum Kind {
        /// Errors.
        public static let destinationUnreachable: UInt8 = 1, packetTooBig: UInt8 = 2, timeExceeded: UInt8 = 3
        /// The last error of RFC 4443.
        public static let parameterProblem: UInt8 = 4
        /// Echo.
        public static let echoRequest: UInt8 = 128, echoReply: UInt8 = 129
        /// RFC 4861.
        public static let neighborSolicitation: UInt8 = 135, neighborAdvertisement: UInt8 = 136
        /// Whether messages of this type tell of an error, about which no error may be sent (RFC 4443 section 2.4 e).
        @inlinable
        public static func isError(_ type: UInt8) -> Bool { type < 128 }
    }

    let bytes: PacketBytes

    /// Nil when `bytes` is shorter than the header. `bytes` ends where the message ends.
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= ICMPv6Message.headerOctets else { return nil }
        self.bytes = bytes
    }

    /// What it is.
    public var type: UInt8 { bytes.uint8(at: 0) }
    /// Which kind of it.
    public var code: UInt8 { bytes.uint8(at: 1) }
    /// Of a packet too big: octets that the next hop's link takes, as the sender says.
    public var mtu: UInt32 { bytes.uint32(at: 4) }
    /// What is behind the header: of an error, the packet that caused it.
    public var data: PacketBytes { bytes.dropFirst(ICMPv6Message.headerOctets) }

    /// Whether the checksum over the pseudo header and the whole message holds.
    public func isIntact(pseudoHeader: UInt64) -> Bool {
        InternetChecksum.sum(bytes, pseudoHeader: pseudoHeader) == 0xffff
    }

    /// Makes the checksum. `pseudoHeader` is that of the packet it leaves in.
    public func fillChecksum(pseudoHeader: UInt64) {
        bytes.store(UInt16(0), at: 2)
        bytes.store(word: ~InternetChecksum.sum(bytes, pseudoHeader: pseudoHeader), at: 2)
    }

    /// Turns an echo request into its reply, checksum included. `pseudoHeader` is the reply's; swapped addresses sum
    /// to the same.
    public func becomeEchoReply(pseudoHeader: UInt64) {
        bytes.store(Kind.echoReply, at: 0)
        fillChecksum(pseudoHeader: pseudoHeader)
    }

    /// Writes the header of an error whose quote is already behind it, checksum included. `mtu` in octets, for packet
    /// too big; of a parameter problem, the field's place.
    public func emitError(type: UInt8, code: UInt8, mtu: UInt32 = 0, pseudoHeader: UInt64) {
        bytes.store(type, at: 0)
        bytes.store(code, at: 1)
        bytes.store(mtu, at: 4)
        fillChecksum(pseudoHeader: pseudoHeader)
    }
}
