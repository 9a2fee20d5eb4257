/// Lets through `rate` events a second on average and `burst` at once.
struct TokenBucket {
    private let ticksPerToken: UInt64
    private let burstTicks: UInt64
    // Time that events have paid for: at most a burst ahead of the clock, which may start at 0.
    private var paidUntil: UInt64 = 0

    init(rate: UInt64, burst: UInt64, ticksPerSecond: UInt64) {
        ticksPerToken = max(1, ticksPerSecond / rate)
        burstTicks = ticksPerToken * burst
    }

    /// Takes a token; false when there is none.
    mutating func take(now: UInt64) -> Bool {
        let start = max(paidUntil, now)
        guard start + ticksPerToken <= now + burstTicks else { return false }
        paidUntil = start + ticksPerToken
        return true
    }
}
