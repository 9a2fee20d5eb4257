import CIPsecMB

/// The SHA-256 (FIPS 180-4) of a key behind a label of ours, so that it equals no digest made for another purpose.
///
/// All transforms share one namespace: keys of equal octets have equal fingerprints, whatever they are for.
public struct KeyFingerprint: Hashable, Sendable, CustomStringConvertible {
    // As it was when all keys were AES's: files on disk hold fingerprints.
    private static let label = StaticString("vpn-gw AES key fingerprint, version 1:")

    /// The digest, its first octet in the lowest bits of the first word.
    private let words: SIMD4<UInt64>

    /// Of so many octets at `key`.
    init(key: UnsafeRawPointer, octets: Int, _ library: CryptoLibrary) {
        let label = KeyFingerprint.label.utf8CodeUnitCount
        words = unsafe withUnsafeTemporaryAllocation(byteCount: label + octets, alignment: 8) { message in
            guard let start = message.baseAddress else { return .zero }
            unsafe start.copyMemory(from: KeyFingerprint.label.utf8Start, byteCount: label)
            unsafe (start + label).copyMemory(from: key, byteCount: octets)
            var digest = SIMD4<UInt64>.zero
            unsafe cipsecmb_sha256(library.manager, start, message.count, &digest)
            unsafe imb_clear_mem(start, message.count)
            return digest
        }
    }

    /// 64 hexadecimal digits.
    public var description: String {
        unsafe String(unsafeUninitializedCapacity: 64) { text in
            for index in 0..<32 {
                let octet = UInt8(truncatingIfNeeded: words[index / 8] >> (UInt64(index % 8) * 8))
                unsafe text[2 * index] = hexadecimalDigit(octet >> 4)
                unsafe text[2 * index + 1] = hexadecimalDigit(octet & 15)
            }
            return 64
        }
    }

    /// Any word of a digest is as good as all of them.
    public func hash(into hasher: inout Hasher) { hasher.combine(words[0]) }
}

private func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
}
