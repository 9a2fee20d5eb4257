import SeededRandom
import Testing

@testable import DataPlane

/// The bucket as everybody draws it: starts full, a token drips in every so many ticks, never more than fit.
private struct PlainBucket {
    let ticksPerToken: UInt64, burst: UInt64
    var ticks: UInt64
    var last: UInt64 = 0

    init(ticksPerToken: UInt64, burst: UInt64) {
        self.ticksPerToken = ticksPerToken
        self.burst = burst
        ticks = ticksPerToken * burst
    }

    mutating func take(now: UInt64) -> Bool {
        ticks = min(ticksPerToken * burst, ticks + min(now - last, ticksPerToken * burst))
        last = now
        guard ticks >= ticksPerToken else { return false }
        ticks -= ticksPerToken
        return true
    }
}

@Suite("Token bucket")
struct TokenBucketTests {
    @Test("agrees with the plain one", arguments: seeds(1...8))
    func agreesWithPlain(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<50 {
            let rate = UInt64.random(in: 1...2000, using: &random), burst = UInt64.random(in: 1...100, using: &random)
            let ticksPerSecond = random.pick([10, 1000, 1_000_000_000, 2_700_000_000] as [UInt64])
            var bucket = TokenBucket(rate: rate, burst: burst, ticksPerSecond: ticksPerSecond)
            let ticksPerToken = max(1, ticksPerSecond / rate)
            var plain = PlainBucket(ticksPerToken: ticksPerToken, burst: burst)
            var now = random.pick([0, 0, 1, ticksPerToken, 1 << 40, 1 << 62] as [UInt64])
            for step in 0..<500 {
                let (taken, expected) = (bucket.take(now: now), plain.take(now: now))
                guard taken == expected else {
                    Issue.record("seed \(seed), rate \(rate), burst \(burst), step \(step), now \(now): \(taken)")
                    return
                }
                switch random.below(8) {
                case 0: now += UInt64.random(in: 0...3 * ticksPerToken * burst, using: &random)
                case 1...4: now += UInt64.random(in: 0...2 * ticksPerToken, using: &random)
                default: break
                }
            }
        }
    }

    @Test(
        "lets exactly a burst through at once, whatever the clock says",
        arguments: [0, 1, 99, 1 << 20, 1 << 63] as [UInt64])
    func burstAtOnce(now: UInt64) {
        var bucket = TokenBucket(rate: 100, burst: 50, ticksPerSecond: 1000)
        #expect((0..<200).count { _ in bucket.take(now: now) } == 50)
        // A jump of any length fills it once, not more.
        #expect((0..<200).count { _ in bucket.take(now: now + (1 << 40)) } == 50)
        let early = bucket.take(now: now + (1 << 40) + 9), inTime = bucket.take(now: now + (1 << 40) + 10)
        #expect(!early && inTime)
    }
}
