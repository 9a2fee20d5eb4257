// The Authentication Header. RFC 4302 section 2; RFC 4543 section 4 for an IV in front of the ICV.
//
//   0             1        2          4     8          12
//   | next header | length | reserved | SPI | sequence | (IV) ICV (padding)

/// A view of an Authentication Header and what follows it.
@frozen
public struct AHHeader {
    /// Octets before the ICV field.
    public static let fixedOctets = 12

    /// The header and what follows.
    public let bytes: PacketBytes

    /// Nil when `bytes` is shorter than the fixed fields; nothing else is checked.
    @inlinable
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= AHHeader.fixedOctets else { return nil }
        self.bytes = bytes
    }

    /// What follows the header.
    @inlinable public var nextHeader: UInt8 { bytes.uint8(at: 0) }
    /// Octets of the header, as its length field says (RFC 4302 section 2.2): 8 to 1028.
    @inlinable public var octets: Int { (Int(bytes.uint8(at: 1)) &+ 2) &* 4 }
    /// Names the SA.
    @inlinable public var spi: UInt32 { bytes.uint32(at: 4) }
    /// The (low half of the) sequence number.
    @inlinable public var sequenceNumber: UInt32 { bytes.uint32(at: 8) }

    /// Octets of a header with an IV and an ICV of so many, which ends on a multiple of `alignment`: 4 in IPv4, 8 in
    /// IPv6 (RFC 4302 section 2.6).
    @inlinable
    public static func octets(ivOctets: Int, icvOctets: Int, alignment: Int) -> Int {
        (fixedOctets &+ ivOctets &+ icvOctets &+ alignment &- 1) / alignment &* alignment
    }

    /// Writes the fixed fields. `octets` is a multiple of 4 from 12 to 1028.
    public func emit(nextHeader: UInt8, octets: Int, spi: UInt32, sequenceNumber: UInt32) {
        bytes.store(nextHeader, at: 0)
        bytes.store(UInt8(truncatingIfNeeded: octets / 4 &- 2), at: 1)
        bytes.store(UInt16(0), at: 2)
        bytes.store(spi, at: 4)
        bytes.store(sequenceNumber, at: 8)
    }
}
