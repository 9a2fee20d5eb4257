import Foundation

/// Where systemd puts a unit's credentials, decrypted and for the unit alone (systemd.exec(5), "Credentials").
struct CredentialsDirectory: Sendable {
    /// How a site file names it, at the beginning of a path. No other variable is known, and no shell's rules hold.
    static let variable = "$CREDENTIALS_DIRECTORY/"

    /// An absolute path without a slash at its end; nil when this process was given none.
    let path: String?

    /// `value` is the variable's; one that is no absolute path is none.
    init(_ value: String?) {
        path = value.flatMap { value in
            let path = String(value.reversed().drop { $0 == "/" }.reversed())
            return path.hasPrefix("/") ? path : nil
        }
    }

    /// This process's.
    static let system = CredentialsDirectory(ProcessInfo.processInfo.environment["CREDENTIALS_DIRECTORY"])

    /// `name` with the variable at its beginning replaced, or as it is; nil when there is nothing to replace it by.
    func expand(_ name: String) -> String? {
        guard name.hasPrefix(CredentialsDirectory.variable) else { return name }
        return path.map { $0 + "/" + name.dropFirst(CredentialsDirectory.variable.count) }
    }

    /// Whether a file lies below it, by its name.
    func holds(_ file: String) -> Bool {
        guard let path, file.hasPrefix(path + "/") else { return false }
        return !file.split(separator: "/").contains("..")
    }
}
