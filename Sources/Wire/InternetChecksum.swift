// The Internet checksum: RFC 1071 (how and why), RFC 1624 (changing it with the data).
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

    /// The sum of all octets as they lie in memory, folded to 16 bits; an odd last octet counts as if a zero followed.
    public static func sum(_ bytes: PacketBytes) -> UInt16 {
        var sum: UInt64 = 0
        var offset = 0
        while offset &+ 4 <= bytes.count {
            // At most 2^14 steps of 2^32 each for the largest packet: no carry out of 64 bits.
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
