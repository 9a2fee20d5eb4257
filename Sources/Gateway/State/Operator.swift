import Foundation

/// Who runs this process, as the audit table names them.
public enum Operator {
    /// "uid 0 (root), pid 123".
    public static var description: String {
        "uid \(geteuid()) (\(NSUserName())), pid \(ProcessInfo.processInfo.processIdentifier)"
    }
}
