// Addresses of both families as numbers. RFC 791 section 3.2, RFC 4291 section 2, text by RFC 6943 section 3.1 and
// RFC 5952.

/// A version of the Internet Protocol.
@frozen
public enum IPFamily: UInt8, Hashable, Comparable, CaseIterable, Sendable, CustomStringConvertible {
    /// RFC 791 and RFC 8200; the number is the one in the header's first four bits.
    case v4 = 4
    /// Likewise.
    case v6 = 6

    /// Bits of an address.
    public var bits: Int { self == .v4 ? 32 : 128 }

    /// "IPv4" or "IPv6".
    public var description: String { self == .v4 ? "IPv4" : "IPv6" }

    /// IPv4 first.
    public static func < (left: IPFamily, right: IPFamily) -> Bool { left.rawValue < right.rawValue }
}

/// An IPv4 or IPv6 address, held as the number it is; `Wire` turns it to network order.
@frozen
public struct IPAddress: Hashable, Sendable {
    /// Whose address it is.
    public let family: IPFamily
    /// The address as an integer: 10.0.0.1 is 0x0a000001, ::1 is 1. Of an IPv4 address, 32 bits.
    public let rawValue: UInt128

    /// The IPv4 address of this number.
    @inlinable
    public init(v4 number: UInt32) {
        family = .v4
        rawValue = UInt128(number)
    }

    /// The IPv6 address of this number.
    @inlinable
    public init(v6 number: UInt128) {
        family = .v6
        rawValue = number
    }

    init(family: IPFamily, rawValue: UInt128) {
        self.family = family
        self.rawValue = rawValue
    }

    /// The number of an IPv4 address, nil for IPv6.
    @inlinable
    public var v4: UInt32? { family == .v4 ? UInt32(truncatingIfNeeded: rawValue) : nil }

    /// The number of an IPv4 address; traps for IPv6.
    @inlinable
    public var v4Number: UInt32 {
        precondition(family == .v4)
        return UInt32(truncatingIfNeeded: rawValue)
    }

    /// First and last 64 bits of an IPv6 address, nil for IPv4.
    @inlinable
    public var v6: (high: UInt64, low: UInt64)? {
        family == .v6 ? (UInt64(truncatingIfNeeded: rawValue >> 64), UInt64(truncatingIfNeeded: rawValue)) : nil
    }

    /// Whether it means the link that it is used on and no other: fe80::/10 (RFC 4291 section 2.5.6).
    public var isLinkLocal: Bool { family == .v6 && rawValue >> 118 == 0xfe80 >> 6 }

    /// Reads dotted-quad text or what RFC 4291 section 2.2 allows. Nil for anything else: numbers with leading zeros
    /// (RFC 6943 section 3.1.1) and zone names included.
    public init?(_ text: some StringProtocol) { self.init(Substring(text)) }

    /// The same: a type that is known makes reading quick.
    init?(_ text: Substring) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let number = IPAddress.readIPv6(text) else { return nil }
            self.init(v6: number)
        } else {
            guard let number = IPAddress.readIPv4(text) else { return nil }
            self.init(v4: number)
        }
    }

    private static func readIPv4(_ text: Substring) -> UInt32? {
        var value: UInt32 = 0, part: UInt32 = 0, parts = 1, digits = 0
        for octet in text.utf8 {
            switch octet {
            case UInt8(ascii: "."):
                guard digits > 0, parts < 4 else { return nil }
                value = value << 8 | part
                (part, parts, digits) = (0, parts + 1, 0)
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                guard digits == 0 || part > 0 else { return nil }
                part = part * 10 + UInt32(octet - UInt8(ascii: "0"))
                digits += 1
                guard part <= 255 else { return nil }
            default: return nil
            }
        }
        guard digits > 0, parts == 4 else { return nil }
        return value << 8 | part
    }

    /// Eight groups of up to four hexadecimal digits; once, two colons stand for as many zero groups as are missing;
    /// the last two groups may be a dotted quad.
    private static func readIPv6(_ text: Substring) -> UInt128? {
        guard text.utf8.count <= 45 else { return nil }
        let halves = text.split(separator: "::", maxSplits: 2, omittingEmptySubsequences: false)
        guard halves.count <= 2, let first = groups(halves[0], isLast: halves.count == 1) else { return nil }
        guard halves.count == 2 else { return first.count == 8 ? number(first) : nil }
        guard let last = groups(halves[1], isLast: true), first.count + last.count < 8 else { return nil }
        return number(first + [UInt16](repeating: 0, count: 8 - first.count - last.count) + last)
    }

    private static func groups(_ text: Substring, isLast: Bool) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        var groups: [UInt16] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if isLast, index == parts.count - 1, part.utf8.contains(UInt8(ascii: ".")) {
                guard let quad = readIPv4(part) else { return nil }
                groups += [UInt16(quad >> 16), UInt16(quad & 0xffff)]
            } else {
                guard (1...4).contains(part.utf8.count), part.allSatisfy({ $0.isASCII && $0.isHexDigit }),
                    let group = UInt16(part, radix: 16)
                else { return nil }
                groups.append(group)
            }
        }
        return groups
    }

    private static func number(_ groups: [UInt16]) -> UInt128 { groups.reduce(0) { $0 << 16 | UInt128($1) } }
}

extension IPAddress: Comparable {
    /// IPv4 before IPv6, then numerical order.
    @inlinable
    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        (left.family, left.rawValue) < (right.family, right.rawValue)
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted quad, or the canonical text of RFC 5952 section 4.
    public var description: String {
        switch family {
        case .v4:
            "\(rawValue >> 24).\(rawValue >> 16 & 0xff).\(rawValue >> 8 & 0xff).\(rawValue & 0xff)"
        case .v6: ipv6Text
        }
    }

    private var ipv6Text: String {
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: rawValue >> UInt128(112 - 16 * $0)) }
        // RFC 5952 4.2.3: the longest run of two zero groups or more is shortened, the first of equal ones.
        var best = 0..<0, start = 0
        for index in 0...8 where index == 8 || groups[index] != 0 {
            if index - start > max(1, best.count) { best = start..<index }
            start = index + 1
        }
        func join(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
        return best.isEmpty
            ? join(groups[...]) : join(groups[..<best.lowerBound]) + "::" + join(groups[best.upperBound...])
    }
}
