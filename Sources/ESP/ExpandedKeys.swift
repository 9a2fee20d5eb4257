import CIPsecMB

/// AES-128 keys expanded for GCM (round keys and powers of H, about 1 KB each), out of core dumps and wiped when they
/// go.
///
/// They lie one behind the other: a page for each would put all of them into the same few sets of the caches. SAs hold
/// their addresses, so this must outlive them.
@safe
public struct ExpandedKeys: ~Copyable {
    private static let stride = (Int(CIPSECMB_GCM_KEY_OCTETS) + 63) / 64 * 64

    private let manager: UnsafeMutablePointer<IMB_MGR>
    private let tables: UnsafeMutableRawPointer
    private let capacity: Int
    private var count = 0

    /// Room for `capacity` keys, at least one. Nil without memory or on a processor that libipsec-mb has no code for.
    public init?(capacity: Int) {
        precondition(capacity > 0)
        guard let manager = unsafe cipsecmb_manager_create() else { return nil }
        guard let tables = unsafe cipsecmb_secret_create(capacity * ExpandedKeys.stride) else {
            unsafe cipsecmb_manager_free(manager)
            return nil
        }
        unsafe self.manager = manager
        unsafe self.tables = tables
        self.capacity = capacity
    }

    deinit {
        unsafe cipsecmb_secret_free(tables, capacity * ExpandedKeys.stride)
        unsafe cipsecmb_manager_free(manager)
    }

    /// Expands `material`. Traps when there is no room.
    public mutating func expand(_ material: KeyMaterial) -> ExpandedKey {
        precondition(count < capacity)
        let table = unsafe tables + count * ExpandedKeys.stride
        count += 1
        unsafe cipsecmb_gcm128_expand(manager, material.secret, table)
        return unsafe ExpandedKey(table: table, saltWord: material.saltWord)
    }
}

/// Names a key among `ExpandedKeys`, with the salt that goes before its IVs.
@safe
public struct ExpandedKey {
    let table: UnsafeMutableRawPointer
    let saltWord: UInt32

    fileprivate init(table: UnsafeMutableRawPointer, saltWord: UInt32) {
        unsafe self.table = table
        self.saltWord = saltWord
    }
}
