import DataPlane
import ESP
import Foundation
import IPsec
import Testing

@testable import Gateway
@testable import SAStore

/// Blocks of the numbers of outbound SAs, over a real store.
@Suite("The keeper of numbers")
struct AssociationKeeperTests {
    private static let block = ReservationRequest.smallestBlock
    private static let floor = InitializationVectorFloor.at(KeeperRig.start)

    @Test("the first numbers are on disk before they are used, and follow on what was reserved in a run before")
    func first() throws {
        let rig = try KeeperRig()
        var pair = try rig.install(0)
        #expect(try rig.record(pair.sameness.outbound).sequenceReserved == Self.block)
        let sent = rig.send(100, pair).sent
        #expect(sent.map(\.sequence) == Array(1...100))
        #expect(sent.map(\.vector) == Array(Self.floor..<Self.floor + 100))
        #expect(rig.keeper.numbers(of: pair).granted == Self.block)
        // The clock has gone back: the store knows better.
        try rig.crash()
        rig.now -= 50
        pair = try rig.install(0)
        let next = rig.send(1, pair).sent[0]
        #expect(next == .init(sequence: Self.block + 1, vector: Self.floor + Self.block))
        // Later than any block: the clock's floor.
        try rig.crash()
        rig.now += 1000
        pair = try rig.install(0)
        #expect(
            rig.send(1, pair).sent[0]
                == .init(sequence: 2 * Self.block + 1, vector: InitializationVectorFloor.at(rig.now)))
    }

    @Test("numbers wait for devices, and are not used up when these do not come")
    func devicesFirst() throws {
        let rig = try KeeperRig(), request = TestChildren.request(0), closed = Gate()
        closed.close()
        let commits = rig.store.written.commits
        #expect(throws: StoreError.self) {
            try rig.keeper(numbersAfter: closed).install([request], now: rig.now)
        }
        #expect(rig.store.written.commits == commits)
        try rig.crash()
        #expect(try StateStore.inspect(directory: rig.path).isEmpty)
        try rig.crash()
        let gate = Gate(), keeper = rig.keeper(numbersAfter: gate), none = rig.store.written.commits
        let (pairs, before) = try together(
            { [now = rig.now] in try keeper.install([request], now: now) },
            {
                defer { gate.open() }
                return rig.store.written.commits
            })
        #expect(before == none)
        #expect(try rig.record(pairs[0].sameness.outbound).sequenceReserved == Self.block)
        #expect(rig.send(1, pairs[0]).sent == [.init(sequence: 1, vector: Self.floor)])
    }

    @Test("no number is used up for SAs that there is no room for")
    func noRoom() throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        let requests = Array(repeating: TestChildren.request(1), count: AttentionMap.capacity / 2)
        // The pair has two places.
        try rig.arena.checkRoom(for: AttentionMap.capacity - 2)
        #expect(throws: DataPlaneError.self) { try rig.arena.checkRoom(for: AttentionMap.capacity - 1) }
        try rig.crash()
        let before = rig.store.written.commits
        #expect(throws: DataPlaneError.self) { try rig.keeper.install(requests, now: rig.now) }
        #expect(rig.store.written.commits == before)
        withExtendedLifetime(pair) {}
    }

    @Test("the next block is asked for when half of one is gone, and not before")
    func refill() throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        let commits = rig.store.written.commits
        rig.jump(pair, to: Self.block / 2 - 2)
        #expect(rig.send(2, pair).refusal == nil)
        #expect(try !rig.refill())
        #expect(rig.store.written.commits == commits && rig.keeper.numbers(of: pair).granted == Self.block)
        #expect(rig.send(1, pair).refusal == nil)
        // Somebody waits for it: it is served though it is not due.
        #expect(try !rig.refill(isDue: false))
        #expect(rig.store.written.commits == commits + 1)
        let reserved = try rig.record(pair.sameness.outbound).sequenceReserved
        #expect(reserved >= 2 * Self.block && rig.keeper.numbers(of: pair).granted == reserved)
        // Sequence and IV go on together across blocks.
        rig.jump(pair, to: Self.block - 2)
        let sent = rig.send(5, pair).sent
        #expect(sent.map(\.sequence) == Array(Self.block - 1...Self.block + 3))
        #expect(sent.allSatisfy { $0.vector - $0.sequence == Self.floor - 1 })
        // Without need nothing is asked for.
        for _ in 0..<5 { _ = try rig.refill() }
        #expect(rig.store.written.commits == commits + 1)
    }

    @Test("numbers that somebody else has are never used: the SA stops", arguments: [true, false])
    func gap(inSequence: Bool) throws {
        let rig = try KeeperRig(), pair = try rig.install(0)
        var round = StoreRound()
        let sa = pair.sameness.outbound
        round.reservations = [
            inSequence
                ? .sequenceNumbers(count: 10, sa: sa)
                : .initializationVectors(count: 10, fingerprint: sa.fingerprint, floor: 0)
        ]
        _ = try rig.store.commit(round, now: rig.now)
        rig.jump(pair, to: Self.block - 2)
        #expect(rig.send(1, pair).refusal == nil)
        for _ in 0..<3 { _ = try rig.refill() }
        #expect(rig.keeper.numbers(of: pair).granted == Self.block && rig.keeper.exhausted == [sa])
        let (sent, refusal) = rig.send(10, pair)
        #expect(sent.map(\.sequence) == [Self.block] && refusal == .sequenceExhausted)
    }

    @Test("up to the last number below 2^32 and not beyond; then a run has none")
    func end() throws {
        let rig = try KeeperRig(), last = ReservationRequest.lastSequenceNumber
        var round = StoreRound()
        let sa = TestChildren.request(0).outboundIdentity
        round.reservations = [.sequenceNumbers(count: last - Self.block - 10, sa: sa)]
        _ = try rig.store.commit(round, now: rig.now)
        let pair = try rig.install(0)
        #expect(rig.keeper.numbers(of: pair).granted == last - 10)
        // It has been past its soft limit before it sent anything.
        #expect(pair.outbound.reference.with { $0.isSoftExpired })
        rig.jump(pair, to: last - 12)
        _ = rig.send(1, pair)
        _ = try rig.refill()
        #expect(rig.keeper.numbers(of: pair).granted == last)
        let (sent, refusal) = rig.send(40, pair)
        #expect(sent.map(\.sequence) == Array(last - 10...last) && refusal == .sequenceExhausted)
        _ = try rig.refill()
        try rig.crash()
        let next = try rig.install(0)
        #expect(rig.keeper.exhausted == [sa] && rig.send(1, next).refusal == .sequenceExhausted)
    }

    @Test("with ESN past 2^32, up to the last number that the disk can hold, and not beyond")
    func extendedEnd() throws {
        let rig = try KeeperRig(), last = ReservationRequest.lastExtendedSequenceNumber, wrap: UInt64 = 1 << 32
        var request = TestChildren.request(0)
        request.profile.extendedSequenceNumbers = true
        let sa = request.outboundIdentity
        func reserve(_ count: UInt64) throws {
            var round = StoreRound()
            round.reservations = [.sequenceNumbers(count: count, sa: sa, last: last)]
            _ = try rig.store.commit(round, now: rig.now)
        }
        try reserve(wrap - 6)
        var pair = try rig.keeper.install([request], now: rig.now)[0]
        #expect(rig.keeper.numbers(of: pair).granted == wrap - 6 + Self.block)
        #expect(pair.outbound.reference.with { !$0.isSoftExpired })
        // 32 of the 64 bits are sent.
        #expect(
            rig.send(10, pair).sent.map(\.sequence) == [
                0xffff_fffb, 0xffff_fffc, 0xffff_fffd, 0xffff_fffe,
                0xffff_ffff, 0, 1, 2, 3, 4,
            ])
        rig.jump(pair, to: wrap - 6 + Self.block - 2)
        _ = rig.send(1, pair)
        _ = try rig.refill()
        #expect(rig.keeper.numbers(of: pair).granted == wrap - 6 + 2 * Self.block && rig.keeper.exhausted == [])

        try rig.crash()
        try reserve(last - (wrap - 6 + 2 * Self.block) - Self.block - 10)
        pair = try rig.keeper.install([request], now: rig.now)[0]
        #expect(rig.keeper.numbers(of: pair).granted == last - 10)
        #expect(pair.outbound.reference.with { $0.isSoftExpired })
        rig.jump(pair, to: last - 12)
        _ = rig.send(1, pair)
        _ = try rig.refill()
        #expect(rig.keeper.numbers(of: pair).granted == last)
        let (sent, refusal) = rig.send(40, pair)
        #expect(sent.count == 11 && sent.last?.sequence == last & 0xffff_ffff && refusal == .sequenceExhausted)
        try rig.crash()
        let next = try rig.keeper.install([request], now: rig.now)[0]
        #expect(rig.keeper.exhausted == [sa] && rig.send(1, next).refusal == .sequenceExhausted)
        // Without ESN the same SA has come to its end long ago.
        try rig.crash()
        #expect(try rig.send(1, rig.install(0)).refusal == .sequenceExhausted)
    }

    @Test("what the disk does not take is not granted, and asked for again; limits are told all the same")
    func failure() throws {
        let rig = try KeeperRig()
        let pair = try rig.install(0, lifetime: Lifetime(soft: .init(packets: 5)))
        rig.jump(pair, to: Self.block - 2)
        #expect(rig.send(2, pair).refusal == nil)
        #expect(rig.accept(1...9, pair) == Array(repeating: nil, count: 8) + [.ahead])
        let ceiling = rig.ceilingInMemory(pair)
        try rig.fail(true)
        for _ in 0..<3 {
            #expect(throws: StoreError.self) { try rig.refill() }
            #expect(throws: StoreError.self) { try rig.install(1) }
            #expect(rig.keeper.numbers(of: pair).granted == Self.block && rig.ceilingInMemory(pair) == ceiling)
            #expect(rig.send(1, pair).refusal == .sequenceExhausted)
        }
        try rig.fail(false)
        // Nobody raises anything now; the limit that was reached in the meantime is told.
        #expect(try rig.refill())
        #expect(try !rig.refill())
        #expect(rig.keeper.numbers(of: pair).granted > Self.block && rig.ceilingInMemory(pair) > ceiling)
        #expect(try rig.ceiling(pair) >= rig.ceilingInMemory(pair))
        #expect(rig.send(3, pair).sent.map(\.sequence) == [Self.block + 1, Self.block + 2, Self.block + 3])
        _ = try rig.install(1)
    }

    @Test("each limit is told once, however often the SA asks for something after it")
    func limitsAreToldOnce() throws {
        let rig = try KeeperRig()
        let pair = try rig.install(0, lifetime: Lifetime(soft: .init(packets: 3), hard: .init(packets: 60)))
        var told = 0
        for number: UInt64 in 1...80 {
            _ = rig.accept(number...number, pair)
            if try rig.refill() { told += 1 }
        }
        #expect(told == 2)
        #expect(pair.inboundUsage.packets == 60)
    }

    @Test("all pairs of a start are one commit, those of later have one a batch, and each pair has its numbers")
    func batches() throws {
        let rig = try KeeperRig(), commits = rig.store.written.commits
        var pairs = try rig.keeper.install((0..<3000).map { TestChildren.request($0) }, now: rig.now)
        #expect(rig.store.written.commits - commits == 1)
        pairs += try rig.keeper.install((3000..<5000).map { TestChildren.request($0) }, now: rig.now)
        #expect(rig.store.written.commits - commits == 2)
        pairs += try rig.keeper.install((5000..<7100).map { TestChildren.request($0) }, now: rig.now)
        #expect(rig.store.written.commits - commits == 4)
        let records = Dictionary(
            uniqueKeysWithValues: try StateStore.inspect(directory: rig.path).map { ($0.identity, $0) })
        #expect(records.count == 14_200)
        for (number, pair) in pairs.enumerated() {
            let request = TestChildren.request(number)
            guard pair.sameness == request.sameness, records[pair.sameness.outbound]?.sequenceReserved == Self.block,
                records[pair.sameness.inbound]?.replayCeiling == InboundCeiling.smallestDistance,
                rig.send(1, pair).sent == [.init(sequence: 1, vector: Self.floor)],
                rig.accept(1...1, pair) == [nil]
            else {
                Issue.record("pair \(number)")
                return
            }
        }
    }

    @Test("when a later batch can't be installed, nothing is left of those before it")
    func allOrNothing() throws {
        let rig = try KeeperRig()
        _ = try rig.install(3000)
        try rig.burn()
        let free = try rig.install(4000), id = free.inbound.id
        _ = rig.accept(1...8, free)
        #expect(throws: StoreError.self) {
            try rig.keeper.install((0..<3001).map { TestChildren.request($0) }, now: rig.now)
        }
        // The keeper has let go of them: their numbers are free, and the clean end writes the one that is there.
        let next = try rig.install(5000)
        #expect(next.outbound.id < 2 + 2 * 2048 && next.outbound.id != id)
        try rig.keeper.conclude(now: rig.now)
        #expect(try rig.ceiling(free) == 8)
        let first = try rig.record(TestChildren.request(0).inboundIdentity)
        #expect(first.replayCeiling == InboundCeiling.smallestDistance, "on disk it may be further")
        #expect(rig.keeper.exhausted.isEmpty)
    }

    @Test("a pair that is forgotten leaves exact records, and its numbers in the arena to others")
    func forget() throws {
        let rig = try KeeperRig()
        var pair: AssociationPair? = try rig.install(0, lifetime: Lifetime(hard: .init(packets: 1 << 40)))
        let old = try #require(pair), ids = [old.outbound.id, old.inbound.id]
        _ = rig.send(7, old)
        _ = rig.accept(1...8, old)
        // Bits that nobody has taken.
        _ = rig.accept(9...20, old)
        try rig.keeper.forget([old], now: rig.now)
        let record = try rig.record(old.sameness.inbound)
        #expect(record.replayCeiling == 8 && record.packets == 8 && record.octets == 800)
        #expect(try rig.record(old.sameness.outbound).packets == 7)
        try rig.keeper.forget([old], now: rig.now)
        #expect(try rig.record(old.sameness.inbound).replayCeiling == 8)
        pair = nil
        withExtendedLifetime(old) {}
        try reuse(rig, ids)
    }

    private func reuse(_ rig: KeeperRig, _ ids: [Int]) throws {
        // The object of before still holds its numbers; so all that can be told is that nothing is granted to it.
        let next = try rig.install(1)
        _ = try rig.refill()
        try rig.calm([])
        #expect(try rig.ceiling(next) == InboundCeiling.smallestDistance)
        #expect(rig.accept(1...8, next).allSatisfy { $0 == nil })
    }

    @Test("numbers of pairs that are gone are used again, and what was asked for in their name harms nobody")
    func idReuse() throws {
        let rig = try KeeperRig()
        var seen: Set<Int> = []
        for number in 0..<50 {
            let pair = try rig.install(number)
            seen.formUnion([pair.outbound.id, pair.inbound.id])
            rig.jump(pair, to: Self.block - 2)
            _ = rig.send(1, pair)
            _ = rig.accept(1...20, pair)
            if number % 3 == 0 { _ = try rig.refill() }
            if number % 4 == 0 {
                try rig.fail(true)
                #expect(throws: StoreError.self) {
                    _ = rig.accept(1 << 30...1 << 30, pair)
                    _ = try rig.refill()
                }
                try rig.fail(false)
            }
            try rig.keeper.forget([pair], now: rig.now)
            #expect(try rig.ceiling(pair) == rig.highest(pair))
        }
        #expect(seen.count <= 4, "\(seen)")
        let commits = rig.store.written.commits
        #expect(try !rig.refill())
        try rig.calm([1])
        #expect(rig.store.written.commits == commits)
    }

    @Test("the clean end stores windows and counts exactly")
    func conclude() throws {
        let rig = try KeeperRig()
        var pairs = try (0..<3).map { try rig.install($0) }
        for (index, pair) in pairs.enumerated() { _ = rig.accept(1...UInt64(3 + index), pair) }
        _ = rig.send(4, pairs[0])
        try rig.keeper.conclude(now: rig.now)
        for (index, pair) in pairs.enumerated() {
            let record = try rig.record(pair.sameness.inbound)
            #expect(record.replayCeiling == UInt64(3 + index) && record.packets == UInt64(3 + index))
        }
        #expect(try rig.record(pairs[0].sameness.outbound).packets == 4)
        pairs = []
        try rig.crash()
        let pair = try rig.install(0)
        #expect(rig.accept(1...4, pair) == [.replayed, .replayed, .replayed, nil])
    }

    @Test("what SAs with a lifetime have carried is recorded, again when the disk did not take it")
    func usage() throws {
        let rig = try KeeperRig()
        let lifetime = Lifetime(hard: .init(packets: 10))
        let pair = try rig.install(0, lifetime: lifetime), free = try rig.install(1)
        _ = rig.send(6, pair)
        _ = rig.send(6, free)
        try rig.fail(true)
        #expect(throws: StoreError.self) { try rig.calm([]) }
        try rig.fail(false)
        try rig.calm([])
        #expect(try rig.record(pair.sameness.outbound).packets == 6)
        #expect(try rig.record(free.sameness.outbound).packets == 0)
        let commits = rig.store.written.commits
        try rig.calm([])
        #expect(rig.store.written.commits == commits)
        // The next run has what is left.
        try rig.crash()
        let next = try rig.install(0, lifetime: lifetime)
        #expect(rig.send(9, next).sent.count == 4)
    }
}
