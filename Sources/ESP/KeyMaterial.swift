import CIPsecMB
import IPsec

/// The KEYMAT of one SA: its key and then its salt, which some transforms have none of (RFC 4106 section 8.1, RFC 4543
/// section 5.1, RFC 7634 section 3, RFC 4868 section 2.1.1).
///
/// Lives outside the Swift heap, out of core dumps, and is wiped when the last reference goes. It has no description
/// and no way to be printed; `fingerprint` is what people and files may see.
@safe
public final class KeyMaterial: Sendable {
    private static let mostOctets = 36
    /// The process's.
    static let slabs = SecretSlabs(octets: KeyMaterial.mostOctets, firstSlots: 1024)

    private let slot: SecretSlabs.Slot
    /// What it is for; its `keyMaterialOctets` are how many octets there are.
    public let algorithm: Algorithm
    /// Names the key without giving it away: equal for two SAs exactly when their keys are, whatever their salts and
    /// transforms.
    public let fingerprint: KeyFingerprint

    /// Takes `algorithm.keyMaterialOctets` octets, key first. Nil for any other count, or without memory.
    public convenience init?(_ octets: UnsafeRawBufferPointer, for algorithm: Algorithm) {
        guard octets.count == algorithm.keyMaterialOctets, let source = octets.baseAddress else { return nil }
        let count = octets.count
        self.init(for: algorithm) { (slot: SecretSlabs.Slot) in
            unsafe slot.start.copyMemory(from: source, byteCount: count)
            return true
        }
    }

    /// Reads hexadecimal digits, two an octet, after "0x", as `ip xfrm state add … aead` takes them: 40 of AES-128-GCM,
    /// 72 of AES-256-GCM, 64 of HMAC. Nil for anything else.
    public convenience init?(hexadecimal text: some StringProtocol, for algorithm: Algorithm) {
        let count = algorithm.keyMaterialOctets
        guard text.hasPrefix("0x"), text.utf8.count == 2 + 2 * count else { return nil }
        self.init(for: algorithm) { (slot: SecretSlabs.Slot) in
            var digits = text.utf8.dropFirst(2).makeIterator()
            for index in 0..<count {
                guard let high = digits.next().flatMap(hexadecimalValue),
                    let low = digits.next().flatMap(hexadecimalValue)
                else { return false }
                unsafe slot.start.storeBytes(of: high << 4 | low, toByteOffset: index, as: UInt8.self)
            }
            return true
        }
    }

    /// Random octets, for what no peer has to know. Nil without memory.
    public convenience init?(randomFor algorithm: Algorithm) {
        var generator = SystemRandomNumberGenerator()
        self.init(for: algorithm) { (slot: SecretSlabs.Slot) in
            for index in 0..<algorithm.keyMaterialOctets {
                let octet = UInt8.random(in: 0 ... .max, using: &generator)
                unsafe slot.start.storeBytes(of: octet, toByteOffset: index, as: UInt8.self)
            }
            return true
        }
    }

    /// `fill` writes the octets where they stay, or says that there are none.
    private init?(for algorithm: Algorithm, fill: (SecretSlabs.Slot) -> Bool) {
        precondition(algorithm.keyMaterialOctets <= KeyMaterial.mostOctets)
        guard let library = CryptoLibrary.shared, let slot = KeyMaterial.slabs.take() else { return nil }
        guard fill(slot) else {
            KeyMaterial.slabs.release(slot)
            return nil
        }
        self.slot = slot
        self.algorithm = algorithm
        unsafe fingerprint = KeyFingerprint(key: slot.start, octets: algorithm.keyOctets, library)
    }

    deinit { KeyMaterial.slabs.release(slot) }

    var secret: UnsafeMutableRawPointer { unsafe slot.start }

    /// The salt as it lies in memory, the first 4 octets of every nonce; 0 for a transform without.
    var saltWord: UInt32 {
        guard algorithm.saltOctets == 4 else { return 0 }
        return unsafe secret.loadUnaligned(fromByteOffset: algorithm.keyOctets, as: UInt32.self)
    }
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
