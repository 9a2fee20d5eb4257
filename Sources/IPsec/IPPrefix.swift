// Address blocks. RFC 4632 section 3.1, RFC 4291 section 2.3.

/// An address block: `length` leading bits of `address` are significant and the rest are zero.
@frozen
public struct IPPrefix: Hashable, Sendable {
    /// The lowest address of the block.
    public let address: IPAddress
    /// Significant bits, 0 to 32 or 128.
    public let length: Int

    /// The block of `length` bits that holds `address`. Traps unless the family's addresses have that many bits.
    public init(containing address: IPAddress, length: Int) {
        precondition((0...address.family.bits).contains(length))
        self.address = IPAddress(
            family: address.family, rawValue: address.rawValue & IPPrefix.mask(length, of: address.family))
        self.length = length
    }

    /// The block of `address` alone.
    public init(_ address: IPAddress) { self.init(containing: address, length: address.family.bits) }

    /// All addresses of a family.
    public static func any(_ family: IPFamily) -> IPPrefix {
        IPPrefix(containing: IPAddress(family: family, rawValue: 0), length: 0)
    }

    /// Reads "10.0.0.0/8" or "fd00::/8", or an address alone as a block of one. Nil for anything else, host bits that
    /// are set included.
    public init?(_ text: some StringProtocol) {
        guard let parsed = IPInterfaceAddress(text, allowsAddressAlone: true) else { return nil }
        self = parsed.prefix
        guard parsed.address == address else { return nil }
    }

    /// Whose addresses they are.
    @inlinable public var family: IPFamily { address.family }

    /// The significant bits of an address's number as ones.
    public var mask: UInt128 { IPPrefix.mask(length, of: family) }

    private static func mask(_ length: Int, of family: IPFamily) -> UInt128 {
        let free = family.bits - length
        let all: UInt128 = family == .v4 ? 0xffff_ffff : .max
        return free == 128 ? 0 : (all >> UInt128(free)) << UInt128(free)
    }

    /// Whether `candidate` lies in the block.
    public func contains(_ candidate: IPAddress) -> Bool {
        candidate.family == family && candidate.rawValue & mask == address.rawValue
    }

    /// Whether the two blocks share an address.
    public func overlaps(_ other: IPPrefix) -> Bool {
        let shorter = mask & other.mask
        return family == other.family && address.rawValue & shorter == other.address.rawValue & shorter
    }
}

extension IPPrefix: CustomStringConvertible {
    /// "10.0.0.0/8", "fd00::/8".
    public var description: String { "\(address)/\(length)" }
}

/// An interface's own address with the block it is connected to: "10.0.1.1/24", "fd00:1::1/64".
public struct IPInterfaceAddress: Hashable, Sendable {
    /// The interface's own address.
    public let address: IPAddress
    /// The connected block.
    public let prefix: IPPrefix

    /// Reads "10.0.1.1/24". Without a slash it is a block of one address, or nil unless `allowsAddressAlone`.
    public init?(_ text: some StringProtocol, allowsAddressAlone: Bool = false) {
        self.init(Substring(text), allowsAddressAlone)
    }

    private init?(_ text: Substring, _ allowsAddressAlone: Bool) {
        let slash = text.utf8.firstIndex(of: UInt8(ascii: "/"))
        guard let address = IPAddress(text[..<(slash ?? text.endIndex)]) else { return nil }
        var length = allowsAddressAlone ? address.family.bits : nil
        if let slash {
            let digits = text.utf8[slash...].dropFirst()
            let isPlain = digits.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            guard isPlain, digits.count == 1 || digits.first != UInt8(ascii: "0") else { return nil }
            length = Int(text[slash...].dropFirst())
        }
        guard let length, (0...address.family.bits).contains(length) else { return nil }
        self.init(address: address, length: length)
    }

    /// `address` in the block of its leading `length` bits. Traps as `IPPrefix`.
    public init(address: IPAddress, length: Int) {
        self.address = address
        prefix = IPPrefix(containing: address, length: length)
    }

    /// The directed broadcast address (RFC 919 section 7); nil where the block is too small to have one (RFC 3021), and
    /// for IPv6.
    public var broadcast: IPAddress? {
        guard let low = prefix.address.v4, prefix.length < 31 else { return nil }
        return IPAddress(v4: low | ~UInt32(truncatingIfNeeded: prefix.mask))
    }
}

extension IPInterfaceAddress: CustomStringConvertible {
    /// "10.0.1.1/24".
    public var description: String { "\(address)/\(prefix.length)" }
}
