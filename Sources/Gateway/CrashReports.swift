import Foundation

/// What a crash leaves behind.
public enum CrashReports {
    /// Takes the Swift runtime's crash reports away: they print registers and the memory these point at, and in this
    /// process that may be a key. The signal then ends the process as it would any other; a core dump, where those are
    /// switched on, leaves the keys out.
    public static func disable() {
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGQUIT] { signal(number, SIG_DFL) }
    }
}
