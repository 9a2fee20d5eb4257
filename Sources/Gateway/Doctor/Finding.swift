/// One thing that `vpn-gw doctor` looked at.
public struct Finding: Sendable, Equatable, Encodable {
    /// How bad it is.
    public enum Level: String, Sendable, Comparable, CaseIterable, Encodable {
        /// As it should be.
        case ok
        /// The gateway runs, slower or less safely than it could.
        case warn
        /// The gateway does not run like this.
        case fail

        /// By how bad it is.
        public static func < (left: Level, right: Level) -> Bool {
            guard let first = allCases.firstIndex(of: left), let second = allCases.firstIndex(of: right) else {
                return false
            }
            return first < second
        }
    }

    /// What was looked at: "hugepages", "port wan".
    public let subject: String
    /// How bad it is.
    public let level: Level
    /// What was found, in one line.
    public let text: String
    /// The command, or the line of a file, that mends it. Nil when there is nothing to mend, or no one command that
    /// does.
    public let remedy: String?

    static func ok(_ subject: String, _ text: String) -> Finding {
        Finding(subject: subject, level: .ok, text: text, remedy: nil)
    }
    static func warn(_ subject: String, _ text: String, _ remedy: String? = nil) -> Finding {
        Finding(subject: subject, level: .warn, text: text, remedy: remedy)
    }
    static func fail(_ subject: String, _ text: String, _ remedy: String? = nil) -> Finding {
        Finding(subject: subject, level: .fail, text: text, remedy: remedy)
    }
}
