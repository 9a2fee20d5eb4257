// Ethernet II. IEEE 802.3 clause 3; RFC 894.
//
//   0                 6                 12        14
//   | destination MAC | source MAC      | type    | payload

/// A 48-bit MAC address as a number: 02:00:00:00:00:01 is 0x0200_0000_0001.
@frozen
public struct MACAddress: Hashable, Sendable, CustomStringConvertible {
    /// The address, its first octet on the wire the most significant.
    public let rawValue: UInt64

    /// Takes the low 48 bits.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue & 0xffff_ffff_ffff }

    /// All ones.
    @inlinable
    public static var broadcast: MACAddress { MACAddress(rawValue: 0xffff_ffff_ffff) }

    /// Six octets, first on the wire first. Nil for any other count.
    public init?(octets: some Collection<UInt8>) {
        guard octets.count == 6 else { return nil }
        self.init(rawValue: octets.reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// "02:00:00:00:00:01".
    public var description: String {
        stride(from: 40, through: 0, by: -8).map { shift in
            let digits = String(rawValue >> UInt64(shift) & 0xff, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined(separator: ":")
    }
}

/// The values of the type field that a gateway knows.
public enum EtherType {
    /// RFC 894.
    public static let ipv4: UInt16 = 0x0800
    /// RFC 826.
    public static let arp: UInt16 = 0x0806
    /// IEEE 802.1Q: a tag comes first, then another of these.
    public static let vlan: UInt16 = 0x8100
    /// RFC 2464.
    public static let ipv6: UInt16 = 0x86dd
}

/// A view of an Ethernet header.
@frozen
public struct EthernetHeader {
    /// Octets of the header.
    public static let octets = 14
    @usableFromInline let bytes: PacketBytes

    /// Nil when `bytes` is shorter than a header.
    @inlinable
    @inline(__always)
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= EthernetHeader.octets else { return nil }
        self.bytes = bytes
    }

    /// Destination address.
    @inlinable public var destination: MACAddress { MACAddress(rawValue: bytes.uint64(at: 0) >> 16) }
    /// Source address.
    @inlinable public var source: MACAddress { MACAddress(rawValue: bytes.uint64(at: 6) >> 16) }
    /// The first 8 octets as they lie in memory: the destination, and two octets of the source.
    @inlinable public var firstWord: UInt64 { bytes.word64(at: 0) }
    /// What the payload is.
    @inlinable public var etherType: UInt16 { bytes.uint16(at: 12) }
    /// The payload, padding included.
    @inlinable public var payload: PacketBytes { bytes.dropFirst(EthernetHeader.octets) }

    /// Writes all fields.
    @inlinable
    public func emit(destination: MACAddress, source: MACAddress, etherType: UInt16) {
        // The first eight octets hold the destination and the top of the source; the rest follow in two stores.
        bytes.store(destination.rawValue << 16 | source.rawValue >> 32, at: 0)
        bytes.store(UInt32(truncatingIfNeeded: source.rawValue), at: 8)
        bytes.store(etherType, at: 12)
    }
}
