import CIPsecMB

/// libipsec-mb set up for this processor, once for the process: setting it up costs some hundred microseconds and a
/// few hundred kilobytes.
///
/// Only for the direct calls that work on their arguments alone (key expansion, hashes): those read the manager and
/// change nothing of it, so any thread may make them.
@safe
struct CryptoLibrary: @unchecked Sendable {
    let manager: UnsafeMutablePointer<IMB_MGR>

    /// Nil without memory, or on a processor that the library has no code for.
    static let shared: CryptoLibrary? = {
        guard let manager = unsafe cipsecmb_manager_create() else { return nil }
        return unsafe CryptoLibrary(manager: manager)
    }()
}
