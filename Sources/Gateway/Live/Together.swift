import Dispatch
import Synchronization

/// Runs `other` on another thread while the caller runs `own`: for the parts of a start that need nothing of each
/// other. Both have ended when it returns, and nothing that `other` holds is held any more; or it throws what one of
/// them threw, `own` before `other`.
func together<Other: Sendable, Own>(
    _ other: @escaping @Sendable () throws -> Other, _ own: () throws -> Own
) throws -> (other: Other, own: Own) {
    let job = Job(other), ended = DispatchSemaphore(value: 0)
    DispatchQueue.global(qos: .userInitiated).async {
        job.run()
        ended.signal()
    }
    let result = Result { try own() }
    ended.wait()
    let made = try result.get()
    return (try job.result(), made)
}

/// What must not be done before something is there that another thread makes.
final class Gate: Sendable {
    /// It was closed: what was waited for does not come.
    struct Closed: Error {}

    private let isOpen = Mutex<Bool?>(nil)
    private let settled = DispatchGroup()

    init() { settled.enter() }

    func open() { settle(true) }

    /// For good; changes nothing when it is open.
    func close() { settle(false) }

    /// Waits until it is open. Throws `Closed`.
    func pass() throws {
        settled.wait()
        guard isOpen.withLock({ $0 == true }) else { throw Closed() }
    }

    private func settle(_ way: Bool) {
        let isFirst = isOpen.withLock { isOpen in
            defer { isOpen = isOpen ?? way }
            return isOpen == nil
        }
        if isFirst { settled.leave() }
    }
}

private final class Job<Value: Sendable>: Sendable {
    private enum State {
        case waiting(@Sendable () throws -> Value)
        case running
        case ended(Result<Value, any Error>)
    }

    private let state: Mutex<State>

    init(_ work: @escaping @Sendable () throws -> Value) { state = Mutex(.waiting(work)) }

    /// Lets go of the work before it returns.
    func run() {
        let outcome = take().map { work in Result { try work() } }
        if let outcome { state.withLock { $0 = .ended(outcome) } }
    }

    private func take() -> (@Sendable () throws -> Value)? {
        state.withLock { state in
            guard case .waiting(let work) = state else { return nil }
            state = .running
            return work
        }
    }

    func result() throws -> Value {
        guard case .ended(let outcome) = state.withLock({ $0 }) else { preconditionFailure("it has ended") }
        return try outcome.get()
    }
}
