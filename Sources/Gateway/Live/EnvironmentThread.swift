import DataPlane
import Foundation

/// The one thread on which DPDK is started, told what to do, and stopped.
///
/// EAL pins the thread that starts it, and a pinned thread of Swift's pool would stay pinned; so it gets one of its
/// own.
final class EnvironmentThread: @unchecked Sendable {
    private let condition = NSCondition()
    // Guarded by `condition`.
    private var jobs: [@Sendable () -> Void] = []

    init() {
        let thread = Thread { [self] in
            while true { takeJob()() }
        }
        thread.name = "dpdk"
        thread.start()
    }

    /// Runs `body` on the thread, after everything given to it before, and waits for its result without blocking a
    /// thread of the pool.
    func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            condition.lock()
            jobs.append { continuation.resume(with: Swift.Result { try body() }) }
            condition.signal()
            condition.unlock()
        }
    }

    private func takeJob() -> @Sendable () -> Void {
        condition.lock()
        defer { condition.unlock() }
        while jobs.isEmpty { condition.wait() }
        return jobs.removeFirst()
    }
}
