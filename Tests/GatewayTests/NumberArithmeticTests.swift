import DataPlane
import ESP
import IPsec
import SAStore
import Testing

@testable import Gateway

@Suite("Sizes of blocks and distances of ceilings")
struct NumberArithmeticTests {
    private func pair(replayCeiling: UInt64 = 0) throws -> AssociationPair {
        let arena = try AssociationArena(), request = TestChildren.request(0)
        let inboundRecord = SARecord(identity: request.inboundIdentity, installedAt: 0, replayCeiling: replayCeiling)
        let outbound = try arena.makeOutbound(
            request.outbound, profile: request.profile, local: request.local, remote: request.remote)
        let inbound = try arena.makeInbound(
            request.inbound, profile: request.profile, local: request.local, remote: request.remote, owner: 0,
            behind: replayCeiling,
            allowance: Allowance())
        return AssociationPair(
            request, outbound: outbound, inbound: inbound,
            outboundRecord: SARecord(identity: request.outboundIdentity, installedAt: 0), inboundRecord: inboundRecord)
    }

    private func count(_ numbers: OutboundNumbers) -> UInt64 {
        guard case .sequenceNumbers(let count, _, _) = numbers.requests[0] else { return 0 }
        return count
    }

    @Test("blocks double while they last less than a fifth of a second, and halve after an hour, between their bounds")
    func sized() throws {
        let smallest = ReservationRequest.smallestBlock, largest = ReservationRequest.largestBlock
        var numbers = OutboundNumbers(
            try pair(), lifetime: Lifetime(), sequence: 1...smallest, vector: 1...smallest)
        var now = ContinuousClock.now
        numbers = numbers.sized(at: now)
        for expected in [2 * smallest, 4 * smallest, 4 * smallest].map({ min($0, largest) }) {
            _ = expected
            now += .milliseconds(199)
            numbers = numbers.sized(at: now)
        }
        #expect(count(numbers) == largest)
        now += .seconds(10)
        numbers = numbers.sized(at: now)
        #expect(count(numbers) == largest)
        for _ in 0..<10 {
            now += .seconds(3601)
            numbers = numbers.sized(at: now)
            #expect(count(numbers) >= smallest && count(numbers) <= largest)
        }
        #expect(count(numbers) == smallest)
        now += .seconds(1 << 40)
        #expect(count(numbers.sized(at: now)) == smallest)
    }

    @Test("blocks of any size that the store may give, and none")
    func granted() throws {
        let pair = try pair()
        #expect(OutboundNumbers(pair, lifetime: Lifetime(), sequence: nil, vector: nil).isExhausted)
        #expect(OutboundNumbers(pair, lifetime: Lifetime(), sequence: 1...5, vector: nil).isExhausted)
        let last = ReservationRequest.lastSequenceNumber, top = UInt64(Int64.max)
        let numbers = OutboundNumbers(pair, lifetime: Lifetime(), sequence: 1...1, vector: top - 1...top - 1)
        #expect(!numbers.isExhausted && numbers.granted(2...last, top...top).isExhausted == false)
        for (sequence, vector) in [
            (3...4, top...top), (2...4, top + 1...top + 1), (nil, top...top), (2...4, nil), (1...4, top...top),
        ] as [(ClosedRange<UInt64>?, ClosedRange<UInt64>?)] {
            #expect(numbers.granted(sequence, vector).isExhausted)
        }
        // The shorter of the two ends it.
        #expect(pair.outbound.reference.with { $0.grantedSequence.load(ordering: .relaxed) } == 2)
    }

    @Test("a ceiling is above what is accepted and what is waited for, at the ends of numbers and of times")
    func ceilings() throws {
        let last = UInt64(UInt32.max)
        for behind: UInt64 in [0, 1, last - 9, last, 1 << 40, UInt64(Int64.max)] {
            let pair = try pair(replayCeiling: behind), begun = ContinuousClock.now
            let first = InboundCeiling(pair, now: begun)
            let top = InboundCeiling.highestCeiling
            #expect(first.onDisk.ceiling == min(top, behind + InboundCeiling.smallestDistance) && !first.isFar)
            first.grant()
            #expect(
                first.raised(at: begun, interval: InboundCeiling.interval) == nil
                    && first.lowered(at: begun, interval: InboundCeiling.interval) == nil)
            var worker = TestWorker(try AssociationArena())
            guard behind < last else { continue }
            #expect(worker.accept(last, under: pair) == (last <= behind + 8 ? nil : .ahead))
            for later: Duration in [.zero, .microseconds(1), .milliseconds(20), .seconds(1), .seconds(1 << 50)] {
                let raised = first.raised(at: begun + later, interval: InboundCeiling.interval)
                #expect(last <= behind + 4 || (raised?.onDisk.ceiling ?? 0) > last)
                // Never so far that a crash costs more than four million numbers.
                #expect((raised?.onDisk.ceiling ?? 0) <= max(last, behind) + 1 << 22)
            }
        }
    }

    @Test("no ceiling is above what the disk can hold, and none is asked for there")
    func highestCeiling() throws {
        let top = InboundCeiling.highestCeiling, begun = ContinuousClock.now
        for behind in [top - 9, top - 8, top - 7, top - 1, top, .max] {
            let pair = try pair(replayCeiling: behind), ceiling = InboundCeiling(pair, now: begun)
            #expect(ceiling.onDisk.ceiling == (behind < top - 8 ? behind + 8 : top))
            let raised = ceiling.raised(at: begun + .seconds(1), interval: InboundCeiling.interval)
            #expect(raised == nil && ceiling.lowered(at: begun + .seconds(1), interval: InboundCeiling.interval) == nil)
            #expect(!ceiling.isUrgent)
        }
    }

    @Test("a sixteenth of its numbers before the end an outbound SA is at its soft limit")
    func walls() {
        let record = SARecord(identity: TestChildren.request(0).outboundIdentity, installedAt: 0)
        var profile = AssociationProfile()
        func soft(_ behind: UInt64) -> UInt64 {
            Allowance.outbound(Lifetime(), record, behind: behind, profile: profile).softPackets
        }
        #expect(soft(0) == 0xefff_ffff && soft(0xefff_fffe) == 1 && soft(0xefff_ffff) == 0 && soft(.max) == 0)
        profile.extendedSequenceNumbers = true
        let wall = UInt64(15) << 59 - 1
        #expect(soft(0) == wall && soft(1 << 32) == wall - 1 << 32 && soft(wall) == 0 && soft(.max) == 0)
    }

    @Test("the distance is what two commits' time brings, and comes down with the rate")
    func distances() throws {
        let pair = try pair(), begun = ContinuousClock.now
        var ceiling = InboundCeiling(pair, now: begun)
        ceiling.grant()
        var worker = TestWorker(try AssociationArena()), now = begun, next: UInt64 = 1
        // 400 packets in each 20 ms.
        for _ in 0..<40 {
            for _ in 0..<400 {
                if worker.accept(next, under: pair) == .ahead,
                    let raised = ceiling.raised(at: now, interval: InboundCeiling.interval)
                {
                    ceiling = raised
                    ceiling.grant()
                    #expect(worker.accept(next, under: pair) == nil)
                }
                next += 1
            }
            now += InboundCeiling.interval
            if let raised = ceiling.raised(at: now, interval: InboundCeiling.interval) {
                #expect(raised.onDisk.ceiling >= ceiling.onDisk.ceiling, "it never comes down by being raised")
                ceiling = raised
                ceiling.grant()
            }
        }
        let distance = ceiling.onDisk.ceiling - ceiling.highest
        #expect(ceiling.isFar && distance >= 400 && distance <= 3200, "\(distance)")
        let lowered = try #require(ceiling.lowered(at: now + .seconds(60), interval: InboundCeiling.interval))
        #expect(lowered.onDisk.ceiling - lowered.highest <= 16 && !lowered.isFar)
        #expect(lowered.lowered(at: now + .seconds(120), interval: InboundCeiling.interval) == nil)
    }
}
