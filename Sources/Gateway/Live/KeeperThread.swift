import Foundation
import SAStore
import Synchronization

/// Runs a keeper's rounds on a thread of its own: SAs come to a stop when nobody reserves for them, and the control
/// plane's threads may be busy reading a site or building tables.
final class KeeperThread: Sendable {
    /// How long somebody waits at most before the disk is asked.
    private static let roundMicroseconds: UInt32 = 2_000

    private let isStopping = Atomic(false)
    private let ended = DispatchSemaphore(value: 0)

    /// Begins. `atLimit` is told when an SA came to a limit of its lifetime, `failed` when the store did not take a
    /// round, which is then tried again; both on the keeper's thread, and `look` is called there in every round.
    /// `rounds` are the workers'.
    init(
        _ keeper: AssociationKeeper, look: @escaping @Sendable () -> Void, rounds: @escaping @Sendable () -> [UInt64],
        atLimit: @escaping @Sendable () -> Void, failed: @escaping @Sendable (any Error) -> Void
    ) {
        let thread = Thread { [self] in
            KeeperThread.goFirst()
            var askedAt = ContinuousClock.now, calmedAt = askedAt
            while !isStopping.load(ordering: .acquiring) {
                look()
                let now = Int64(Date().timeIntervalSince1970), instant = ContinuousClock.now
                // Without need the disk is asked so often and no oftener, however many SAs there are.
                let isDue = instant - askedAt >= InboundCeiling.interval
                if isDue { askedAt = instant }
                do {
                    if try keeper.refill(now: now, isDue: isDue) { atLimit() }
                    if instant - calmedAt >= .seconds(1) {
                        calmedAt = instant
                        try keeper.calm(now: now, rounds: rounds())
                    }
                } catch {
                    failed(error)
                    // A disk that is full stays so for a while.
                    usleep(100_000)
                }
                usleep(KeeperThread.roundMicroseconds)
            }
            ended.signal()
        }
        thread.name = "keeper"
        thread.start()
    }

    /// Where workers share their cores with others, the keeper must not wait behind a poll loop: it runs a few
    /// microseconds at a time, and packets wait for it. Where the kernel refuses, it takes its turn like all.
    private static func goFirst() {
        var parameters = sched_param()
        parameters.sched_priority = 1
        _ = unsafe sched_setscheduler(0, SCHED_RR, &parameters)
    }

    /// Ends after the round that is under way.
    func stop() {
        isStopping.store(true, ordering: .releasing)
        ended.wait()
    }
}
