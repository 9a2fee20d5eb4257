import CIPsecMB

/// Which libipsec-mb this process uses, without setting it up.
public enum CryptoVersion {
    /// Of the library that is loaded: "1.3.0".
    public static var text: String {
        guard let text = unsafe imb_get_version_str() else { return "unknown" }
        return unsafe String(cString: text)
    }
}
