import Glibc

/// The gateway's Unix socket in the file system: made with the mode it keeps, and taken away only by who made it.
struct ControlSocket: Sendable {
    /// Where it lies.
    let path: String
    /// Bound, and not listening.
    let descriptor: CInt
    private let device: dev_t
    private let inode: ino_t

    /// The owner's alone. An operator who wants a group to read sets its mode once it is there.
    private static let mode: mode_t = 0o600
    private static let directoryMode: mode_t = 0o755

    /// Makes a socket at `path`, and its directory when only that is missing. Replaces one that nobody listens on;
    /// never anything that is not a socket.
    init(path: String) throws(ControlSocketError) {
        self.path = path
        try ControlSocket.makeDirectory(of: path)
        try ControlSocket.removeStale(path)
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .failed(path: path, step: "make", code: errno) }
        do throws(ControlSocketError) {
            // On Linux a socket in the file system gets its mode from the descriptor: there is no moment with another.
            guard fchmod(descriptor, ControlSocket.mode) == 0 else {
                throw .failed(path: path, step: "make", code: errno)
            }
            let bound = unsafe UnixSocketAddress.with(path) { [descriptor] in unsafe bind(descriptor, $0, $1) }
            guard let bound else { throw .failed(path: path, step: "bind", code: ENAMETOOLONG) }
            guard bound == 0 else {
                throw errno == EADDRINUSE
                    ? .answered(path: path) : .failed(path: path, step: "bind", code: errno)
            }
            // The caller's umask may have taken bits away from the owner.
            var status = stat()
            guard unsafe chmod(path, ControlSocket.mode) == 0, unsafe lstat(path, &status) == 0 else {
                throw .failed(path: path, step: "look at", code: errno)
            }
            device = status.st_dev
            inode = status.st_ino
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Takes the socket out of the file system, unless another has taken its place. To be called before the descriptor
    /// is closed: as long as it is open, no other file can have its inode.
    func remove() {
        var status = stat()
        guard unsafe lstat(path, &status) == 0, status.st_dev == device, status.st_ino == inode else { return }
        unsafe unlink(path)
    }

    private static func makeDirectory(of path: String) throws(ControlSocketError) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        let directory = String(path[..<slash])
        if unsafe mkdir(directory, directoryMode) == 0 {
            // Whatever the umask was.
            unsafe chmod(directory, directoryMode)
        } else if errno != EEXIST {
            throw .failed(path: path, step: "make the directory of", code: errno)
        }
    }

    private static func removeStale(_ path: String) throws(ControlSocketError) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw .failed(path: path, step: "look at", code: errno)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notSocket(path: path) }
        switch try connectOnce(path) {
        case ECONNREFUSED, ENOENT: break
        case EACCES, EPERM: throw .failed(path: path, step: "try", code: EACCES)
        // It answers, has no room for one more just now, or is of another kind: somebody's in any case.
        default: throw .answered(path: path)
        }
        var again = stat()
        guard unsafe lstat(path, &again) == 0 else { return }
        guard again.st_ino == status.st_ino, again.st_dev == status.st_dev else { throw .answered(path: path) }
        guard unsafe unlink(path) == 0 || errno == ENOENT else {
            throw .failed(path: path, step: "replace", code: errno)
        }
    }

    /// Why a connection is refused; 0 when it is not.
    private static func connectOnce(_ path: String) throws(ControlSocketError) -> CInt {
        let types = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, types, 0)
        guard descriptor >= 0 else { throw .failed(path: path, step: "try", code: errno) }
        defer { close(descriptor) }
        let result = unsafe UnixSocketAddress.with(path) { unsafe connect(descriptor, $0, $1) }
        guard let result else { throw .failed(path: path, step: "try", code: ENAMETOOLONG) }
        return result == 0 ? 0 : errno
    }
}

/// Why there is no control socket.
public enum ControlSocketError: Error, Equatable, CustomStringConvertible, Sendable {
    /// Somebody listens there.
    case answered(path: String)
    /// Something else lies there.
    case notSocket(path: String)
    /// The system refused.
    case failed(path: String, step: String, code: Int32)

    /// One line with what to do.
    public var description: String {
        switch self {
        case .answered(let path):
            "another vpn-gw answers on \(path): stop it, or give this one another control_socket in [gateway]"
        case .notSocket(let path):
            "\(path) is there and is no socket, so it stays: move it away, or name another control_socket in [gateway]"
        case .failed(let path, let step, let code):
            unsafe "can't \(step) the control socket \(path): " + String(cString: strerror(code))
        }
    }

    /// What the process ends with.
    public var exitCode: ExitCode {
        switch self {
        case .answered: .unavailable
        case .notSocket: .cannotCreate
        case .failed(_, _, let code): code == EACCES || code == EPERM || code == EROFS ? .noPermission : .cannotCreate
        }
    }
}
