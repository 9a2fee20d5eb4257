/// Names a key without giving it away: a SHA-256 (FIPS 180-4), as a number that is compared and hashed for 100 000 SAs
/// in a moment.
///
/// All transforms share one namespace: keys of equal octets have equal fingerprints, whatever they are for.
public struct KeyFingerprint: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The digest in the order of its octets, the first in the highest bits of the first word. No vector: its alignment
    /// would make tables of these half as large again.
    private let words: (UInt64, UInt64, UInt64, UInt64)

    /// The digest whose first octet is in the highest bits of the first word.
    public init(digest words: SIMD4<UInt64>) { self.words = (words[0], words[1], words[2], words[3]) }

    /// Reads what `description` writes. Nil unless it is 64 lowercase hexadecimal digits: a digest, and no key by
    /// mistake.
    public init?(_ text: String) { self.init(digits: text.utf8.span) }

    /// The same of a text's octets.
    public init?(digits: Span<UInt8>) {
        guard digits.count == 64 else { return nil }
        var words = SIMD4<UInt64>.zero
        for index in 0..<8 {
            let text = unsafe digits.withUnsafeBytes {
                unsafe $0.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self)
            }
            guard let half = HexadecimalDigits(text: text)?.number else { return nil }
            words[index / 2] = words[index / 2] << 32 | UInt64(half)
        }
        self.init(digest: words)
    }

    /// 64 hexadecimal digits.
    public var description: String { digits(64) }

    /// The first 16 digits, which people and reports are shown.
    public var short: String { digits(16) }

    /// What `description` says, at the end of a text.
    public func appendDigits(to text: inout [UInt8]) {
        for index in 0..<8 {
            let digits = half(index).text
            unsafe withUnsafeBytes(of: digits) { unsafe text.append(contentsOf: $0) }
        }
    }

    /// The first ones, 8 or a multiple of that.
    private func digits(_ count: Int) -> String {
        unsafe String(unsafeUninitializedCapacity: count) { text in
            for index in 0..<count / 8 {
                unsafe UnsafeMutableRawBufferPointer(text).storeBytes(
                    of: half(index).text, toByteOffset: 8 * index, as: UInt64.self)
            }
            return count
        }
    }

    /// Eight digits, counted from the first.
    @inline(__always)
    private func half(_ index: Int) -> HexadecimalDigits {
        let words: InlineArray = [words.0, words.1, words.2, words.3], word = words[index / 2]
        return HexadecimalDigits(number: UInt32(truncatingIfNeeded: index % 2 == 0 ? word >> 32 : word))
    }

    /// Of equal digests.
    public static func == (left: KeyFingerprint, right: KeyFingerprint) -> Bool { left.words == right.words }

    /// In the order of the texts.
    public static func < (left: KeyFingerprint, right: KeyFingerprint) -> Bool { left.words < right.words }

    /// A digest's words are as random as can be; all of them, since tests have fingerprints of their own.
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0 ^ words.1 ^ words.2 ^ words.3) }
}

/// Eight lowercase hexadecimal digits, all at once: a site of 100 000 SAs has 20 million to read and write.
private struct HexadecimalDigits {
    /// One in each octet, the first in the highest.
    private let nibbles: UInt64

    init(number: UInt32) {
        var spread = UInt64(number)
        spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff
        spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff
        nibbles = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f
    }

    /// `text` as eight octets lie in memory. Nil where one is no such digit.
    init?(text: UInt64) {
        let octets = UInt64(bigEndian: text)
        // Letters have bit 6 set, and count from 1 in their low half.
        nibbles = (octets & 0x0f0f_0f0f_0f0f_0f0f) &+ (octets >> 6 & 0x0101_0101_0101_0101) &* 9
        guard nibbles & 0xf0f0_f0f0_f0f0_f0f0 == 0, self.text == text else { return nil }
    }

    var number: UInt32 {
        var packed = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff
        packed = (packed | packed >> 8) & 0x0000_ffff_0000_ffff
        return UInt32(truncatingIfNeeded: packed | packed >> 16)
    }

    /// As eight octets lie in memory.
    var text: UInt64 {
        let areLetters = (nibbles &+ 0x7676_7676_7676_7676) >> 7 & 0x0101_0101_0101_0101
        let letter = UInt64(UInt8(ascii: "a") - 10 - UInt8(ascii: "0"))
        return (nibbles &+ 0x3030_3030_3030_3030 &+ areLetters &* letter).bigEndian
    }
}
