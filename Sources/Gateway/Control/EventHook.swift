import Logging
import Synchronization

/// Runs an operator's command on events, one at a time, without ever holding up whoever posts them.
public actor EventHook {
    /// Events that wait for their turn; more are dropped, and a log line says how many.
    static let queueLimit = 64
    /// A command that takes longer is killed with all it started.
    static let patience = Duration.seconds(10)

    private let command: [String]
    private let patience: Duration
    private let logger: Logger
    private let queue: AsyncStream<GatewayEvent>.Continuation
    private let drops = Mutex((count: 0, limiter: LogLimiter(interval: .seconds(10))))
    private var limiter = LogLimiter(interval: .seconds(10))
    private var runner: Task<Void, Never>?
    private var isStopped = false

    /// Events that found no room.
    nonisolated var dropped: Int { drops.withLock { $0.count } }

    /// Runs `command`, a program and its arguments; empty: events go nowhere.
    public init(command: [String], logger: Logger) {
        self.init(command: command, logger: logger, patience: EventHook.patience)
    }

    init(command: [String], logger: Logger, patience: Duration) {
        self.command = command
        self.logger = logger
        self.patience = patience
        let (events, queue) = AsyncStream.makeStream(
            of: GatewayEvent.self, bufferingPolicy: .bufferingOldest(EventHook.queueLimit))
        self.queue = queue
        if command.isEmpty {
            queue.finish()
        } else {
            Task { await self.start(events) }
        }
    }

    /// Has the command run on `event` when those before it are done. Returns at once.
    public nonisolated func post(_ event: GatewayEvent) {
        guard case .dropped = queue.yield(event) else { return }
        drops.withLock {
            $0.count += 1
            $0.limiter.log(
                .warning, "dropped", "event command: \(EventHook.queueLimit) events wait for it, one was dropped",
                to: logger)
        }
    }

    /// Drops what waits, kills what runs, and returns when that is gone.
    public func stop() async {
        isStopped = true
        queue.finish()
        runner?.cancel()
        await runner?.value
    }

    private func start(_ events: AsyncStream<GatewayEvent>) {
        guard !isStopped else { return }
        runner = Task {
            for await event in events where !Task.isCancelled { await run(event) }
        }
    }

    private func run(_ event: GatewayEvent) async {
        let child: ChildProcess
        do throws(ChildProcess.Failure) {
            child = try ChildProcess(command, environment: event.environment)
        } catch {
            return complain("can't be started: \(error)")
        }
        let deadline = ContinuousClock.now + patience
        var isKilled = false
        while true {
            if let end = child.end() {
                switch end {
                case .exited(0): break
                case .exited(let code): complain("\(event.kind.rawValue): ended with \(code)")
                case .killed(let signal) where !isKilled: complain("\(event.kind.rawValue): died of signal \(signal)")
                case .killed: complain("\(event.kind.rawValue): was killed after \(patience)")
                }
                return
            }
            if !isKilled && (Task.isCancelled || ContinuousClock.now >= deadline) {
                isKilled = true
                child.kill()
            }
            // Cancelled, it returns at once; the child, killed, is gone in a moment.
            do { try await Task.sleep(for: .milliseconds(20)) } catch { await Task.yield() }
        }
    }

    private func complain(_ words: String) {
        limiter.log(.warning, "failed", "event command \(command[0]): \(words)", to: logger)
    }
}
