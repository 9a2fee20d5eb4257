import CIPsecMB

/// The KEYMAT of one AES-128-GCM SA: a 16-octet AES key and then a 4-octet salt (RFC 4106 section 8.1).
///
/// Lives outside the Swift heap, out of core dumps, and is wiped when the last reference goes. It has no description
/// and no way to be printed; `fingerprint` is what people and files may see.
@safe
public final class KeyMaterial: Sendable {
    /// Octets of KEYMAT for AES-128-GCM.
    public static let octets = 20
    static let keyOctets = 16
    /// The process's, 64 KiB a slab.
    static let slabs = SecretSlabs(octets: KeyMaterial.octets, slotsPerSlab: 1024)

    private let slot: SecretSlabs.Slot
    /// Names the AES key without giving it away: equal for two SAs exactly when their AES keys are, whatever their
    /// salts.
    public let fingerprint: KeyFingerprint

    /// Takes 20 octets. Nil for any other count, or without memory.
    public convenience init?(_ octets: UnsafeRawBufferPointer) {
        guard octets.count == KeyMaterial.octets, let source = octets.baseAddress else { return nil }
        self.init { (slot: SecretSlabs.Slot) in
            unsafe slot.start.copyMemory(from: source, byteCount: KeyMaterial.octets)
            return true
        }
    }

    /// Reads 40 hexadecimal digits after "0x", as `ip xfrm state add … aead` takes them. Nil for anything else.
    public convenience init?(hexadecimal text: some StringProtocol) {
        guard text.hasPrefix("0x"), text.utf8.count == 2 + 2 * KeyMaterial.octets else { return nil }
        self.init { (slot: SecretSlabs.Slot) in
            var digits = text.utf8.dropFirst(2).makeIterator()
            for index in 0..<KeyMaterial.octets {
                guard let high = digits.next().flatMap(hexadecimalValue),
                    let low = digits.next().flatMap(hexadecimalValue)
                else { return false }
                unsafe slot.start.storeBytes(of: high << 4 | low, toByteOffset: index, as: UInt8.self)
            }
            return true
        }
    }

    /// `fill` writes the octets where they stay, or says that there are none.
    private init?(fill: (SecretSlabs.Slot) -> Bool) {
        guard let library = CryptoLibrary.shared, let slot = KeyMaterial.slabs.take() else { return nil }
        guard fill(slot) else {
            KeyMaterial.slabs.release(slot)
            return nil
        }
        self.slot = slot
        unsafe fingerprint = KeyFingerprint(aesKey: slot.start, library)
    }

    deinit { KeyMaterial.slabs.release(slot) }

    var secret: UnsafeMutableRawPointer { unsafe slot.start }

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
    private static let label = StaticString("vpn-gw AES key fingerprint, version 1:")

    /// The digest, its first octet in the lowest bits of the first word.
    private let words: SIMD4<UInt64>

    /// Of 16 octets at `key`.
    fileprivate init(aesKey key: UnsafeRawPointer, _ library: CryptoLibrary) {
        let label = KeyFingerprint.label.utf8CodeUnitCount
        words = unsafe withUnsafeTemporaryAllocation(byteCount: label + KeyMaterial.keyOctets, alignment: 8) {
            message in
            guard let start = message.baseAddress else { return .zero }
            unsafe start.copyMemory(from: KeyFingerprint.label.utf8Start, byteCount: label)
            unsafe (start + label).copyMemory(from: key, byteCount: KeyMaterial.keyOctets)
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
