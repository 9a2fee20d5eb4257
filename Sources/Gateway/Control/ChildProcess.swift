import Foundation

/// A program of the operator's that runs beside the gateway: with nothing of ours but what it is given.
struct ChildProcess: Sendable {
    /// Why it could not be started, by the system's error number.
    struct Failure: Error, CustomStringConvertible {
        let code: CInt
        var description: String { unsafe String(cString: strerror(code)) }
    }

    /// How it ended.
    enum End: Sendable, Equatable {
        case exited(CInt)
        case killed(signal: CInt)
    }

    private let pid: pid_t

    /// Starts `command`, looked up in PATH when it has no slash, with exactly `environment`, /dev/null as its standard
    /// streams, no other descriptor, default signals, and a process group of its own. Traps without a command.
    init(_ command: [String], environment: [String]) throws(Failure) {
        precondition(!command.isEmpty)
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
        for descriptor in STDIN_FILENO...STDERR_FILENO {
            unsafe posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
        }
        // Ours close by themselves (O_CLOEXEC); those that DPDK and its drivers opened may not. One that is gone by
        // then is no error. Glibc's module lacks posix_spawn_file_actions_addclosefrom_np.
        let open = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        for descriptor in open.compactMap({ CInt($0) }) where descriptor > STDERR_FILENO {
            unsafe posix_spawn_file_actions_addclose(&actions, descriptor)
        }

        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe _ = posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe sigfillset(&signals)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))

        var pid: pid_t = 0
        let code = unsafe ChildProcess.withPointers(command) { arguments in
            unsafe ChildProcess.withPointers(environment) { environment in
                unsafe posix_spawnp(&pid, command[0], &actions, &attributes, arguments, environment)
            }
        }
        guard code == 0 else { throw Failure(code: code) }
        self.pid = pid
    }

    /// How it ended; nil while it runs. Never waits. Not to be asked again after an end.
    func end() -> End? {
        var status: CInt = 0
        let result = unsafe waitpid(pid, &status, WNOHANG)
        if result == 0 || result < 0 && errno == EINTR { return nil }
        // ECHILD: somebody else collected it, and its status is lost.
        guard result == pid else { return .exited(0) }
        return status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: status & 0x7f)
    }

    /// Ends it and all that it started in its group, at once.
    func kill() { _ = Glibc.kill(-pid, SIGKILL) }

    private static func withPointers<Result>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers = unsafe strings.map { unsafe strdup($0) }
        unsafe pointers.append(nil)
        defer { unsafe pointers.forEach { unsafe free($0) } }
        return unsafe pointers.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { preconditionFailure("an array that is not empty") }
            return unsafe body(base)
        }
    }
}
