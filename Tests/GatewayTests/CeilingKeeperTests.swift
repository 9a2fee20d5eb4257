import DataPlane
import ESP
import IPsec
import SeededRandom
import Testing

@testable import Gateway
@testable import SAStore

/// Ceilings of inbound windows, over a real store.
@Suite("The keeper of ceilings")
struct CeilingKeeperTests {
    @Test("it is raised when half of the way is gone, on disk before the worker has it")
    func raised() throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        #expect(try rig.ceiling(pair) == 8 && rig.ceilingInMemory(pair) == 8)
        #expect(rig.accept(1...3, pair) == [nil, nil, nil])
        let commits = rig.store.written.commits
        _ = try rig.refill()
        #expect(rig.store.written.commits == commits)
        _ = rig.accept(4...5, pair)
        // Nobody waits: not before it is due.
        _ = try rig.refill(isDue: false)
        #expect(try rig.ceiling(pair) == 8)
        _ = try rig.refill()
        let ceiling = try rig.ceiling(pair)
        #expect(ceiling >= 13 && rig.ceilingInMemory(pair) == ceiling)
        // Somebody waits: at once, and beyond what is waited for.
        _ = rig.accept(100_000...100_000, pair)
        _ = try rig.refill(isDue: false)
        #expect(try rig.ceiling(pair) > 100_000 && rig.ceilingInMemory(pair) > 100_000)
        #expect(rig.accept(100_000...100_000, pair) == [nil])
    }

    @Test("a tunnel that went quiet: down in memory first, on disk when every worker has gone round twice")
    func lowered() throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        let high = try far(rig, pair), highest = rig.highest(pair)
        try rig.calm([10, 10])
        let low = rig.ceilingInMemory(pair)
        #expect(low >= highest && low < high)
        #expect(try rig.ceiling(pair) == high)
        // One of two workers has not gone round: it comes up again, and the way down begins anew.
        try rig.calm([15, 11])
        #expect(try rig.ceiling(pair) == high)
        try rig.calm([17, 13])
        let settled = rig.ceilingInMemory(pair)
        #expect(try rig.ceiling(pair) == settled && settled >= highest && settled < high)
        // And it goes up as ever.
        #expect(rig.accept(settled + 1...settled + 1, pair) == [.ahead])
        _ = try rig.refill(isDue: false)
        #expect(rig.accept(settled + 1...settled + 1, pair) == [nil])
        #expect(try rig.ceiling(pair) >= rig.ceilingInMemory(pair))
    }

    /// Gets a ceiling far ahead of the window.
    private func far(_ rig: KeeperRig, _ pair: AssociationPair) throws -> UInt64 {
        for first: UInt64 in [1, 501, 1001, 1501] {
            for _ in 0..<2 {
                _ = rig.accept(first...first + 499, pair)
                _ = try rig.refill()
            }
        }
        let ceiling = try rig.ceiling(pair)
        #expect(ceiling > rig.highest(pair) + 40 && rig.ceilingInMemory(pair) == ceiling)
        return ceiling
    }

    @Test("one on its way down is granted again at once to a packet above it, and is not lowered on disk then")
    func raisedOnItsWayDown() throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        let high = try far(rig, pair)
        try rig.calm([1])
        let low = rig.ceilingInMemory(pair)
        #expect(low < high && rig.accept(high - 1...high - 1, pair) == [.ahead])
        _ = try rig.refill(isDue: false)
        #expect(rig.accept(high - 1...high - 1, pair) == [nil])
        try rig.calm([100])
        #expect(try rig.ceiling(pair) >= high - 1)
    }

    @Test("when the disk does not take a lower one, the worker keeps it and the next is asked for as ever")
    func loweringFails() throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        let high = try far(rig, pair)
        try rig.calm([1])
        try rig.fail(true)
        #expect(throws: StoreError.self) { try rig.calm([3]) }
        try rig.fail(false)
        let low = rig.ceilingInMemory(pair)
        #expect(try rig.ceiling(pair) == high && low < high)
        // Above the lower one and far below the notice of the higher.
        #expect(rig.accept(low + 1...low + 1, pair) == [.ahead])
        _ = try rig.refill(isDue: false)
        #expect(rig.accept(low + 1...low + 1, pair) == [nil])
        #expect(try rig.ceiling(pair) >= rig.ceilingInMemory(pair))
    }

    @Test("an SA that was ended stays so, whatever the keeper does")
    func expired() throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        let high = try far(rig, pair)
        _ = rig.accept(high + 5...high + 5, pair)
        pair.inbound.reference.with { $0.expire() }
        for round: UInt64 in 0..<6 {
            _ = try rig.refill()
            try rig.calm([10 * round])
            #expect(rig.accept(high - 1...high - 1, pair) == [.lifetimeExpired])
        }
        // A new lifetime is a new beginning.
        rig.keeper.limit(pair, Lifetime(hard: .init(packets: 1 << 40)))
        #expect(rig.highest(pair) < high)
        _ = rig.accept(high + 6...high + 6, pair)
        _ = try rig.refill()
        #expect(rig.accept(high + 6...high + 6, pair) == [nil])
    }

    @Test("an SA that is installed anew while it is in use begins behind all that was accepted, and goes on in numbers")
    func successor() throws {
        let rig = try KeeperRig(), old = try rig.install(0)
        _ = try far(rig, old)
        _ = rig.send(10, old)
        // The same SAs with another window: the reload has not reached the worker yet.
        let new = try rig.install(0, window: 128)
        let top = rig.ceilingInMemory(old)
        let late = rig.accept(rig.highest(old) + 1...top + 50, old)
        #expect(
            late.filter { $0 == nil }.count == Int(top - (rig.highest(old) - UInt64(late.filter { $0 == nil }.count))))
        rig.jump(old, to: ReservationRequest.smallestBlock - 3)
        #expect(rig.send(10, old).refusal == .sequenceExhausted)
        // It asks in vain.
        for _ in 0..<3 { _ = try rig.refill() }
        try rig.calm([1])
        #expect(rig.ceilingInMemory(old) == top && rig.highest(old) <= top)
        #expect(rig.send(1, old).refusal == .sequenceExhausted)
        // Nothing that was accepted is accepted again.
        #expect(rig.accept(1...rig.highest(old), new).allSatisfy { $0 != nil })
        try rig.keeper.forget([old], now: rig.now)
        #expect(try rig.ceiling(new) >= rig.ceilingInMemory(new))
        // The new one's numbers follow on each other, over more than a block.
        #expect(rig.send(1, new).sent.map(\.sequence) == [ReservationRequest.smallestBlock + 1])
        rig.jump(new, to: 2 * ReservationRequest.smallestBlock - 2)
        _ = rig.send(1, new)
        _ = try rig.refill()
        #expect(rig.keeper.exhausted.isEmpty && rig.send(10, new).refusal == nil)
        let next = rig.highest(new) + 1
        #expect(rig.accept(next...next, new) == [nil])
        _ = try rig.refill()
        #expect(try rig.ceiling(new) >= rig.ceilingInMemory(new))
    }

    @Test("when the new one is given up before a worker had it, the one before goes on")
    func reinstated() throws {
        let rig = try KeeperRig(), old = try rig.install(0)
        _ = rig.accept(1...5, old)
        let new = try rig.install(0, window: 128)
        _ = rig.accept(6...12, old)
        try rig.keeper.forget([new], now: rig.now)
        _ = try rig.refill()
        #expect(rig.accept(9...12, old) == [nil, nil, nil, nil])
        #expect(try rig.ceiling(old) >= rig.ceilingInMemory(old))
        // One that could not be installed at all leaves it as it was.
        try rig.fail(true)
        #expect(throws: StoreError.self) { try rig.install(0, window: 256) }
        try rig.fail(false)
        let top = rig.ceilingInMemory(old)
        _ = rig.accept(top + 1...top + 1, old)
        _ = try rig.refill()
        #expect(rig.accept(top + 1...top + 1, old) == [nil])
    }

    @Test("the clean end with two of one SA stores the further window")
    func concludeTwo() throws {
        let rig = try KeeperRig(), old = try rig.install(0)
        _ = rig.accept(1...7, old)
        _ = try rig.install(0, window: 128)
        try rig.keeper.conclude(now: rig.now)
        #expect(try rig.ceiling(old) == 8)
    }

    /// Random work of workers, keeper and disk on a few SAs; crashes, clean ends, reloads.
    private final class Walk {
        let rig: KeeperRig
        var random: SplitMix64
        var pairs: [AssociationPair] = []
        /// Numbers that were ever accepted, by SA.
        var accepted: [Set<UInt64>] = [[], [], []]
        var rounds: UInt64 = 0
        var fails = false
        var crashes = 0
        var window = 64

        init(seed: UInt64) throws {
            random = SplitMix64(seed: seed)
            rig = try KeeperRig()
            try install()
        }

        func below(_ bound: UInt64) -> UInt64 { random.next() % bound }

        func install() throws {
            pairs = try rig.keeper.install((0..<3).map { TestChildren.request($0, window: window) }, now: rig.now)
        }

        /// A complaint, or nil.
        func step() throws -> String? {
            switch below(20) {
            case 0..<9:
                let index = Int(below(3)), pair = pairs[index]
                for _ in 0..<below(60) {
                    let highest = rig.highest(pair)
                    let number = max(1, highest + below(below(30) == 0 ? 5000 : 4) - min(highest, below(3)))
                    guard rig.worker.accept(number, under: pair) == nil else { continue }
                    guard accepted[index].insert(number).inserted else { return "number \(number) of \(index) again" }
                }
            case 9..<13: try attempt { _ = try rig.refill(isDue: below(3) > 0) }
            case 13..<16:
                rounds += below(4)
                try attempt { try rig.calm([rounds, rounds + below(2)]) }
            case 16:
                fails = !fails && below(2) == 0
                try rig.fail(fails)
            case 17 where below(2) == 0:
                crashes += 1
                try restart()
            case 18 where !fails:
                if below(2) == 0 {
                    try rig.keeper.conclude(now: rig.now)
                    try restart()
                } else {
                    try rig.keeper.forget(pairs, now: rig.now)
                    try install()
                }
            case 19 where !fails:
                // A reload that makes other pairs of the same SAs; the old ones are used until they are given up.
                window = window == 64 ? 128 : 64
                let old = pairs
                try install()
                for (index, pair) in old.enumerated() {
                    for number in rig.highest(pair)...rig.highest(pair) + below(100) {
                        guard rig.worker.accept(max(1, number), under: pair) == nil else { continue }
                        guard accepted[index].insert(max(1, number)).inserted else { return "\(number) again, old" }
                    }
                }
                _ = try rig.refill()
                try rig.keeper.forget(old, now: rig.now)
            default: break
            }
            return try judge()
        }

        private func restart() throws {
            (fails, rounds) = (false, 0)
            try rig.crash()
            try install()
        }

        private func attempt(_ body: () throws -> Void) throws {
            do { try body() } catch let error as StoreError { if !fails { throw error } }
        }

        private func judge() throws -> String? {
            let records = try StateStore.inspect(directory: rig.path)
            for (index, pair) in pairs.enumerated() {
                let disk = records.first { $0.identity == pair.sameness.inbound }?.replayCeiling ?? 0
                let memory = rig.ceilingInMemory(pair), top = accepted[index].max() ?? 0
                // Lowered while its packets were on the way, the ceiling is below what is accepted for a moment.
                if disk < memory || disk < top {
                    return "SA \(index): \(top) accepted, \(memory) allowed, \(disk) on disk"
                }
            }
            return nil
        }
    }

    @Test(
        "disk, memory and window are in this order at every step, and a crash brings nothing back",
        arguments: 1...6 as ClosedRange<UInt64>)
    func walk(seed: UInt64) throws {
        let walk = try Walk(seed: seed)
        for step in 0..<250 {
            if let complaint = try walk.step() {
                Issue.record("seed \(seed), step \(step): \(complaint)")
                return
            }
        }
        #expect(walk.crashes > 1 && walk.accepted.allSatisfy { $0.count > 100 }, "seed \(seed)")
    }
}
