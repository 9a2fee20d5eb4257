import CIPsecMB

/// The KEYMAT of one AES-128-GCM SA: a 16-octet AES key and then a 4-octet salt (RFC 4106 section 8.1).
///
/// Lives outside the Swift heap, out of core dumps, and is wiped when the last reference goes. It has no description
/// and no way to be printed; `fingerprint` is what people and files may see.
@safe
public final class KeyMaterial: @unchecked Sendable {
    /// Octets of KEYMAT for AES-128-GCM.
    public static let octets = 20
    static let keyOctets = 16

    let secret: UnsafeMutableRawPointer
    /// Names the AES key without giving it away: equal for two SAs exactly when their AES keys are, whatever their
    /// salts.
    public let fingerprint: KeyFingerprint

    /// Takes 20 octets. Nil for any other count, or without memory.
    public init?(_ octets: UnsafeRawBufferPointer) {
        guard octets.count == KeyMaterial.octets, let source = octets.baseAddress,
            let secret = unsafe cipsecmb_secret_create(KeyMaterial.octets)
        else { return nil }
        unsafe secret.copyMemory(from: source, byteCount: KeyMaterial.octets)
        guard let fingerprint = unsafe KeyFingerprint(aesKey: secret) else {
            unsafe cipsecmb_secret_free(secret, KeyMaterial.octets)
            return nil
        }
        unsafe self.secret = unsafe secret
        self.fingerprint = fingerprint
    }

    /// Reads 40 hexadecimal digits after "0x", as `ip xfrm state add … aead` takes them. Nil for anything else.
    public convenience init?(hexadecimal text: some StringProtocol) {
        guard text.hasPrefix("0x"), text.utf8.count == 2 + 2 * KeyMaterial.octets else { return nil }
        let complete = unsafe withUnsafeTemporaryAllocation(byteCount: KeyMaterial.octets, alignment: 1) {
            buffer -> KeyMaterial? in
            defer { unsafe buffer.withMemoryRebound(to: UInt8.self) { unsafe $0.update(repeating: 0) } }
            var digits = text.utf8.dropFirst(2).makeIterator()
            for index in 0..<KeyMaterial.octets {
                guard let high = digits.next().flatMap(hexadecimalValue),
                    let low = digits.next().flatMap(hexadecimalValue)
                else { return nil }
                unsafe buffer[index] = high << 4 | low
            }
            return unsafe KeyMaterial(UnsafeRawBufferPointer(buffer))
        }
        guard let complete else { return nil }
        unsafe self.init(UnsafeRawBufferPointer(start: complete.secret, count: KeyMaterial.octets))
    }

    deinit { unsafe cipsecmb_secret_free(secret, KeyMaterial.octets) }

    /// The salt as it lies in memory, the first 4 octets of every nonce.
    var saltWord: UInt32 { unsafe secret.loadUnaligned(fromByteOffset: KeyMaterial.keyOctets, as: UInt32.self) }
}

extension KeyMaterial: CustomReflectable {
    /// Empty, so that `dump` and debuggers' reflection of whatever holds a key show neither it nor where it lies.
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

private func hexadecimalValue(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// The SHA-256 (FIPS 180-4) of an AES key behind a label of ours, so that it equals no digest made for another purpose.
public struct KeyFingerprint: Hashable, Sendable, CustomStringConvertible {
    /// 64 hexadecimal digits.
    public let description: String

    /// Of 16 octets at `key`; nil when the crypto library has no implementation for this processor.
    fileprivate init?(aesKey key: UnsafeRawPointer) {
        guard let manager = unsafe cipsecmb_manager_create() else { return nil }
        defer { unsafe cipsecmb_manager_free(manager) }
        var message = Array("vpn-gw AES key fingerprint, version 1:".utf8)
        let label = message.count
        message.append(contentsOf: repeatElement(0, count: KeyMaterial.keyOctets))
        var digest = [UInt8](repeating: 0, count: 32)
        unsafe message.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            unsafe (base + label).copyMemory(from: key, byteCount: KeyMaterial.keyOctets)
            unsafe digest.withUnsafeMutableBytes { unsafe cipsecmb_sha256(manager, base, bytes.count, $0.baseAddress) }
            unsafe imb_clear_mem(base, bytes.count)
        }
        let digits = Array("0123456789abcdef".utf8)
        description = String(
            decoding: digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
