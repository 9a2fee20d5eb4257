import Glibc

/// Why a gateway could not be asked, or did not do what it was asked.
public enum ControlClientError: Error, Equatable, CustomStringConvertible, Sendable {
    /// Nobody listens on the socket, or it is not there.
    case noGateway(path: String, code: Int32)
    /// It did not answer in time.
    case noAnswer(path: String, seconds: Int)
    /// What answers does not speak this API, or broke off.
    case notUnderstood(path: String, what: String)
    /// The process behind the socket is neither root's nor ours; it got no key.
    case untrusted(path: String, uid: UInt32)
    /// A key file can't be used.
    case keyFile(path: String, what: String, exitCode: ExitCode)
    /// The gateway's own words.
    case refused(message: String, hint: String, exitCode: ExitCode)

    /// One line with what to do.
    public var description: String {
        switch self {
        case .noGateway(let path, let code) where code == EACCES || code == EPERM:
            "this user may not use \(path): use sudo, or have the socket's mode let your group read"
        case .noGateway(let path, let code):
            unsafe "no vpn-gw answers on \(path) (\(String(cString: strerror(code)))): is it running? "
                + "--socket PATH or --config FILE names another"
        case .noAnswer(let path, let seconds):
            "\(path): no answer within \(seconds) seconds; what was asked may still happen"
        case .notUnderstood(let path, let what): "\(path): \(what): is this vpn-gw's control socket?"
        case .untrusted(let path, let uid):
            "\(path) is served by uid \(uid), which is neither root nor this user: the key was not sent"
        case .keyFile(let path, let what, _): "\(path): \(what)"
        case .refused(let message, let hint, _): hint.isEmpty ? message : "\(message); hint: \(hint)"
        }
    }

    /// What the process ends with.
    public var exitCode: ExitCode {
        switch self {
        case .noGateway(_, let code): code == EACCES || code == EPERM ? .noPermission : .unavailable
        case .noAnswer, .notUnderstood: .unavailable
        case .untrusted: .noPermission
        case .keyFile(_, _, let code), .refused(_, _, let code): code
        }
    }
}
