/// What the process tells its caller when it ends: the sysexits that scripts and service managers know.
public enum ExitCode: Int32, CaseIterable, Error, Sendable {
    /// It did what it was asked.
    case ok = 0
    /// The command line is wrong.
    case usage = 64
    /// A capture file is truncated or corrupt.
    case dataFormat = 65
    /// A file that it was to read is absent.
    case noInput = 66
    /// A device, hugepages or the running gateway is missing.
    case unavailable = 69
    /// A bug of ours.
    case software = 70
    /// A file can't be written where it was asked for.
    case cannotCreate = 73
    /// The state store failed.
    case io = 74
    /// A file or a device may not be used by this user.
    case noPermission = 77
    /// The site file is wrong.
    case configuration = 78
}
