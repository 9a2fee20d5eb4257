/// What the process's exit codes mean, for manuals.
public enum ExitCodeManual {
    /// A number and its meaning, ascending.
    public static var rows: [(code: String, meaning: String)] {
        ExitCode.allCases.map { ("\($0.rawValue)", meaning($0)) }
    }

    private static func meaning(_ code: ExitCode) -> String {
        switch code {
        case .ok: "It did what it was asked."
        case .usage: "The command line is wrong."
        case .dataFormat: "A capture file is truncated or corrupt."
        case .noInput: "A file that it was to read is absent."
        case .unavailable:
            "A device, hugepages, the processor or the running gateway is missing; doctor found a failure."
        case .software: "A bug."
        case .cannotCreate: "A file can't be written where it was asked for."
        case .io: "The state store failed."
        case .noPermission: "A file or a device may not be used by this user."
        case .configuration: "The site file is wrong, or can't do what was asked of it."
        }
    }
}
