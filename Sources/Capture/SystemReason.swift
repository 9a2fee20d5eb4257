import Glibc

/// The system's words for an errno: "No space left on device".
func systemReason(_ errorNumber: Int32) -> String {
    guard let words = unsafe strerror(errorNumber) else { return "error \(errorNumber)" }
    return unsafe String(cString: words)
}
