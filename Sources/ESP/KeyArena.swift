import CIPsecMB
import IPsec

/// Keys as their transforms need them (AES: round keys and powers of H, about 1 KB each), out of core dumps and wiped
/// one by one when they go.
///
/// They lie one behind the other, in slabs of 64 and more. Any thread may expand and let go; SAs hold the addresses.
public final class KeyArena: Sendable {
    private let library: CryptoLibrary
    private let slabs = SecretSlabs(octets: Int(CIPSECMB_GCM_KEY_OCTETS), firstSlots: 64)

    /// An arena without keys. Nil on a processor that libipsec-mb has no code for, or without memory.
    public init?() {
        precondition(CIPSECMB_HMAC_KEY_OCTETS <= CIPSECMB_GCM_KEY_OCTETS)
        guard let library = CryptoLibrary.shared else { return nil }
        self.library = library
    }

    /// Expands `material`; nil without memory. The key keeps its arena.
    public func expand(_ material: KeyMaterial) -> ExpandedKey? {
        guard let slot = slabs.take() else { return nil }
        switch material.algorithm.transform {
        case .aes128GCM, .aes128GMAC, .authenticationAES128GMAC:
            unsafe cipsecmb_gcm128_expand(library.manager, material.secret, slot.start)
        case .aes256GCM, .aes256GMAC:
            unsafe cipsecmb_gcm256_expand(library.manager, material.secret, slot.start)
        case .chaCha20Poly1305:
            unsafe slot.start.copyMemory(from: material.secret, byteCount: material.algorithm.keyOctets)
        case .authenticationHMACSHA256:
            unsafe cipsecmb_hmac_expand(
                library.manager, material.secret, slot.start.assumingMemoryBound(to: cipsecmb_hmac_key.self))
        }
        return ExpandedKey(slot: slot, of: slabs, algorithm: material.algorithm, saltWord: material.saltWord)
    }
}

/// An expanded key of a `KeyArena` and the salt that goes before its IVs. SAs hold its address, so it must outlive
/// them; its memory is wiped with the last reference.
@safe
public final class ExpandedKey: Sendable {
    /// What it is for.
    public let algorithm: Algorithm
    let saltWord: UInt32
    private let slot: SecretSlabs.Slot
    private let slabs: SecretSlabs

    fileprivate init(slot: SecretSlabs.Slot, of slabs: SecretSlabs, algorithm: Algorithm, saltWord: UInt32) {
        self.slot = slot
        self.slabs = slabs
        self.algorithm = algorithm
        self.saltWord = saltWord
    }

    deinit { slabs.release(slot) }

    var table: UnsafeMutableRawPointer { unsafe slot.start }
}

extension ExpandedKey: CustomReflectable {
    /// Empty, so that `dump` and debuggers' reflection of whatever holds a key show neither it nor where it lies.
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}
