/// A Security Parameters Index (RFC 4303 section 2.1): names an inbound SA at its receiver.
@frozen
public struct SPI: RawRepresentable, Hashable, Sendable {
    /// The index as a number; `Wire` turns it to network order.
    public let rawValue: UInt32

    /// Takes any number; `isReserved` tells those that must not be on the wire.
    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// 0 is for local use and 1 to 255 are reserved by IANA (RFC 4303 section 2.1).
    public var isReserved: Bool { rawValue < 256 }
}

extension SPI: CustomStringConvertible {
    /// "0x00001001", as `ip xfrm` and tshark print it.
    public var description: String {
        let digits = String(rawValue, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}

/// Which way traffic crosses the protection boundary (RFC 4301 section 3.1): outbound towards the unprotected side.
public enum Direction: String, Hashable, Sendable, CaseIterable {
    case outbound, inbound
}
