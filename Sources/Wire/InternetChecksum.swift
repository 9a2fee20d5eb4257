// The Internet checksum: RFC 1071 (how and why), RFC 1624 (changing it with the data), pseudo headers: RFC 9293 section
// 3.1 and RFC 8200 section 8.1.
//
// A ones' complement sum does not care for byte order: summing words as they lie in memory and storing the result the
// same way is right on every processor (RFC 1071 section 2 B).

/// Sums over octets and their folding.
@frozen
public enum InternetChecksum {
    /// The sum of a 20-octet IPv4 header as it lies in memory, folded to 16 bits: all ones when its checksum holds.
    @inlinable
    @inline(__always)
    public static func sumOfMinimalHeader(_ bytes: PacketBytes) -> UInt16 {
        let first = bytes.word64(at: 0), second = bytes.word64(at: 8)
        let sum =
            (first & 0xffff_ffff) &+ (first >> 32) &+ (second & 0xffff_ffff) &+ (second >> 32)
            &+ UInt64(bytes.word32(at: 16))
        return fold(sum)
    }

    /// Whether the checksum of a 20-octet IPv4 header, which is not all zeros, holds.
    ///
    /// Folding keeps the remainder by 0xffff, and all ones is a remainder of 0: for the question alone, a sum in words
    /// of 64 bits and one multiplication (which is what the compiler makes of the division) do instead of four folds.
    @inlinable
    @inline(__always)
    public static func isIntactMinimalHeader(_ bytes: PacketBytes) -> Bool {
        let (both, carry) = bytes.word64(at: 0).addingReportingOverflow(bytes.word64(at: 8))
        let (sum, secondCarry) = (both &+ (carry ? 1 : 0)).addingReportingOverflow(UInt64(bytes.word32(at: 16)))
        return (sum &+ (secondCarry ? 1 : 0)) % 0xffff == 0
    }

    /// The sum of all octets as they lie in memory, folded to 16 bits; an odd last octet counts as if a zero followed.
    @inlinable
    @inline(__always)
    public static func sum(_ bytes: PacketBytes) -> UInt16 { sum(bytes, pseudoHeader: 0) }

    /// The sum of a pseudo header and all octets of the message it is for: all ones when the message's checksum holds.
    public static func sum(_ bytes: PacketBytes, pseudoHeader: UInt64) -> UInt16 {
        // At most 2^14 times 2^32 for the largest packet, and 2^36 of a pseudo header: no carry out of 64 bits.
        var sum = pseudoHeader
        var offset = 0
        while offset &+ 8 <= bytes.count {
            let word = bytes.word64(at: offset)
            sum &+= (word & 0xffff_ffff) &+ (word >> 32)
            offset &+= 8
        }
        if offset &+ 4 <= bytes.count {
            sum &+= UInt64(bytes.word32(at: offset))
            offset &+= 4
        }
        if offset &+ 2 <= bytes.count {
            sum &+= UInt64(bytes.word16(at: offset))
            offset &+= 2
        }
        if offset < bytes.count { sum &+= UInt64(UInt16(littleEndian: UInt16(bytes.uint8(at: offset)))) }
        return fold(sum)
    }

    /// The sum of the pseudo header over IPv4, unfolded (RFC 768, RFC 9293 section 3.1). `length` is that of the
    /// message in octets.
    @inlinable
    @inline(__always)
    public static func pseudoHeader(source: UInt32, destination: UInt32, ipProtocol: UInt8, length: Int) -> UInt64 {
        UInt64(source.bigEndian) &+ UInt64(destination.bigEndian)
            &+ UInt64((UInt32(ipProtocol) << 16 | UInt32(UInt16(truncatingIfNeeded: length))).bigEndian)
    }

    /// The sum of the pseudo header over IPv6, unfolded (RFC 8200 section 8.1). `destination` is the final one.
    @inlinable
    @inline(__always)
    public static func pseudoHeader(
        source: UInt128, destination: UInt128, upperProtocol: UInt8, length: Int
    ) -> UInt64 {
        halves(source) &+ halves(destination) &+ UInt64(UInt32(truncatingIfNeeded: length).bigEndian)
            &+ UInt64(UInt32(upperProtocol).bigEndian)
    }

    // The sum of the four words of an address as they lie in memory.
    @inlinable
    @inline(__always)
    static func halves(_ address: UInt128) -> UInt64 {
        let high = UInt64(truncatingIfNeeded: address >> 64).bigEndian
        let low = UInt64(truncatingIfNeeded: address).bigEndian
        return (high & 0xffff_ffff) &+ (high >> 32) &+ (low & 0xffff_ffff) &+ (low >> 32)
    }

    /// Folds carries back in until 16 bits are left.
    @inlinable
    @inline(__always)
    public static func fold(_ sum: UInt64) -> UInt16 {
        var sum = (sum & 0xffff_ffff) &+ (sum >> 32)
        sum = (sum & 0xffff) &+ (sum >> 16)
        sum = (sum & 0xffff) &+ (sum >> 16)
        return UInt16(truncatingIfNeeded: (sum & 0xffff) &+ (sum >> 16))
    }

    /// The checksum after a 16-bit field it covers changed, RFC 1624 equation 3. All three in the same byte
    /// order.
    @inlinable
    @inline(__always)
    public static func updated(_ checksum: UInt16, from old: UInt16, to new: UInt16) -> UInt16 {
        ~fold(UInt64(~checksum) &+ UInt64(~old) &+ UInt64(new))
    }
}
