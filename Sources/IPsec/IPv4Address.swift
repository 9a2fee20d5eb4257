// IPv4 addresses and prefixes as numbers. RFC 791 section 3.2, RFC 4632 section 3.1.

/// An IPv4 address, held as the number it is; `Wire` turns it to network order.
@frozen
public struct IPv4Address: Hashable, Comparable, Sendable {
    /// The address as an integer: 10.0.0.1 is 0x0a000001.
    public var rawValue: UInt32

    /// Takes any number.
    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Reads dotted-quad text. Nil unless there are four decimal numbers of 0 to 255 without leading zeros (RFC 6943
    /// 3.1.1).
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard !part.isEmpty, part.allSatisfy({ $0.isASCII && $0.isNumber }), part == "0" || part.first != "0",
                let octet = UInt8(part)
            else { return nil }
            value = value << 8 | UInt32(octet)
        }
        self.init(rawValue: value)
    }

    /// Numerical order.
    @inlinable
    public static func < (left: IPv4Address, right: IPv4Address) -> Bool { left.rawValue < right.rawValue }
}

extension IPv4Address: CustomStringConvertible {
    /// Dotted quad.
    public var description: String {
        "\(rawValue >> 24).\(rawValue >> 16 & 0xff).\(rawValue >> 8 & 0xff).\(rawValue & 0xff)"
    }
}

/// An address block: `length` leading bits of `address` are significant and the rest are zero.
@frozen
public struct IPv4Prefix: Hashable, Sendable {
    /// The lowest address of the block.
    public let address: IPv4Address
    /// Significant bits, 0 to 32.
    public let length: Int

    /// The block of `length` bits that holds `address`. Traps unless 0 <= length <= 32.
    public init(containing address: IPv4Address, length: Int) {
        precondition((0...32).contains(length))
        self.address = IPv4Address(rawValue: address.rawValue & IPv4Prefix.mask(length))
        self.length = length
    }

    /// Reads "10.0.0.0/8", or an address alone as a block of one. Nil for anything else, host bits that are set
    /// included.
    public init?(_ text: some StringProtocol) {
        guard let parsed = IPv4InterfaceAddress(text, defaultLength: 32) else { return nil }
        self.init(containing: parsed.address, length: parsed.prefix.length)
        guard parsed.address == address else { return nil }
    }

    /// The significant bits as ones.
    @inlinable
    public var mask: UInt32 { IPv4Prefix.mask(length) }

    @usableFromInline
    static func mask(_ length: Int) -> UInt32 { length == 0 ? 0 : ~0 << (32 - UInt32(length)) }

    /// Whether `candidate` lies in the block.
    @inlinable
    public func contains(_ candidate: IPv4Address) -> Bool { candidate.rawValue & mask == address.rawValue }

    /// Whether the two blocks share an address.
    public func overlaps(_ other: IPv4Prefix) -> Bool {
        let shorter = mask & other.mask
        return address.rawValue & shorter == other.address.rawValue & shorter
    }
}

extension IPv4Prefix: CustomStringConvertible {
    /// "10.0.0.0/8".
    public var description: String { "\(address)/\(length)" }
}

/// An interface's own address with the block it is connected to: "10.0.1.1/24".
public struct IPv4InterfaceAddress: Hashable, Sendable {
    /// The interface's own address.
    public let address: IPv4Address
    /// The connected block.
    public let prefix: IPv4Prefix

    /// Reads "10.0.1.1/24". Without a slash the block has `defaultLength` bits, or nil when that is nil.
    public init?(_ text: some StringProtocol, defaultLength: Int? = nil) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPv4Address(parts[0]) else { return nil }
        var length = defaultLength
        if parts.count == 2 {
            guard parts[1].allSatisfy({ $0.isASCII && $0.isNumber }), parts[1] == "0" || parts[1].first != "0" else {
                return nil
            }
            length = Int(parts[1])
        }
        guard let length, (0...32).contains(length) else { return nil }
        self.address = address
        prefix = IPv4Prefix(containing: address, length: length)
    }

    /// `address` in the block of its leading `length` bits. Traps unless 0 <= length <= 32.
    public init(address: IPv4Address, length: Int) {
        self.address = address
        prefix = IPv4Prefix(containing: address, length: length)
    }

    /// The directed broadcast address (RFC 919 section 7), nil where the block is too small to have one (RFC 3021).
    public var broadcast: IPv4Address? {
        prefix.length >= 31 ? nil : IPv4Address(rawValue: prefix.address.rawValue | ~prefix.mask)
    }
}

extension IPv4InterfaceAddress: CustomStringConvertible {
    /// "10.0.1.1/24".
    public var description: String { "\(address)/\(prefix.length)" }
}
