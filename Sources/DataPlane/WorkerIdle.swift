import CDPDK

/// What a worker does while nothing comes.
public enum WorkerIdle: String, CaseIterable, Sendable {
    /// Looks again at once: the least delay, and a core at full power.
    case poll
    /// Rests for a microsecond between two looks, by the processor's own means: the other thread of its core goes
    /// faster, and less power is used. The core counts as busy to the system.
    case pause
    /// Sleeps for 50 microseconds between two looks, which adds as much to the delay of what comes then; the core is
    /// free for others.
    case sleep

    /// Empty rounds before it rests: a gap in traffic is no end of it.
    static let patience = 256

    /// After so many rounds without a packet.
    @inline(never)
    func rest(after rounds: Int, ticksPerSecond: UInt64) {
        guard rounds > WorkerIdle.patience else { return }
        switch self {
        case .poll: break
        case .pause: cdpdk_rest(max(1, ticksPerSecond / 1_000_000))
        case .sleep: cdpdk_sleep(50)
        }
    }
}
