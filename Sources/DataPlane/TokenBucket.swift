/// Lets through `rate` events a second on average and `burst` at once; full at the start, whatever the clock says then.
struct TokenBucket {
    private let ticksPerToken: UInt64
    private let burstTicks: UInt64
    // What events have paid for, a burst ahead of the clock at most. Counted up, so that a clock that starts at 0 (a
    // capture's may) can't take it below.
    private var paidUntil: UInt64 = 0

    init(rate: UInt64, burst: UInt64, ticksPerSecond: UInt64) {
        ticksPerToken = max(1, ticksPerSecond / rate)
        burstTicks = ticksPerToken * burst
    }

    /// Takes a token; false when there is none. `now` never goes back.
    mutating func take(now: UInt64) -> Bool {
        let paid = max(paidUntil, now) + ticksPerToken
        guard paid <= now + burstTicks else { return false }
        paidUntil = paid
        return true
    }
}
