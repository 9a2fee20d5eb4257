import CIPsecMB
import IPsec

extension KeyFingerprint {
    // As it was when all keys were AES's: files on disk hold fingerprints.
    private static let label = StaticString("vpn-gw AES key fingerprint, version 1:")

    /// Of so many octets at `key`, behind a label of ours, so that it equals no digest made for another purpose.
    init(key: UnsafeRawPointer, octets: Int, _ library: CryptoLibrary) {
        let label = KeyFingerprint.label.utf8CodeUnitCount
        let digest = unsafe withUnsafeTemporaryAllocation(byteCount: label + octets, alignment: 8) { message in
            guard let start = message.baseAddress else { return SIMD4<UInt64>.zero }
            unsafe start.copyMemory(from: KeyFingerprint.label.utf8Start, byteCount: label)
            unsafe (start + label).copyMemory(from: key, byteCount: octets)
            var digest = SIMD4<UInt64>.zero
            unsafe cipsecmb_sha256(library.manager, start, message.count, &digest)
            unsafe imb_clear_mem(start, message.count)
            return digest
        }
        self.init(
            digest: SIMD4(digest[0].bigEndian, digest[1].bigEndian, digest[2].bigEndian, digest[3].bigEndian))
    }
}
