import CIPsecMB

/// An AES-128 key expanded for GCM (round keys and powers of H), about 1 KB, out of core dumps and wiped when it goes.
///
/// SAs hold its address: it must outlive them.
@safe
public struct ExpandedKey: ~Copyable {
    let table: UnsafeMutableRawPointer
    let saltWord: UInt32

    /// Expands `material`; nil without memory or on a processor that libipsec-mb has no code for.
    public init?(_ material: KeyMaterial) {
        guard let manager = unsafe cipsecmb_manager_create() else { return nil }
        defer { unsafe cipsecmb_manager_free(manager) }
        guard let table = unsafe cipsecmb_secret_create(Int(CIPSECMB_GCM_KEY_OCTETS)) else { return nil }
        unsafe cipsecmb_gcm128_expand(manager, material.secret, table)
        unsafe self.table = table
        saltWord = material.saltWord
    }

    deinit { unsafe cipsecmb_secret_free(table, Int(CIPSECMB_GCM_KEY_OCTETS)) }
}
