import IPsec
import SeededRandom
import Testing

@testable import ESP

/// What was reached of an allowance, told as simply as can be.
private struct PlainLimits {
    var allowance = Allowance()
    private(set) var soft = false, hard = false

    /// True when it says something new.
    mutating func judge(_ packets: UInt64, _ octets: UInt64) -> Bool {
        let before = (soft, hard)
        soft = packets >= allowance.softPackets || octets >= allowance.softOctets
        hard = packets >= allowance.hardPackets || octets >= allowance.hardOctets
        return before != (soft, hard)
    }
}

/// An outbound SA that looks at everything for every packet.
private struct PlainSender {
    var limits = PlainLimits()
    var sent: UInt64 = 0, octets: UInt64 = 0, granted: UInt64 = 0, notice: UInt64 = .max
    /// Whether the bit was raised behind this notice.
    var isNoticed = false

    /// What becomes of a packet; and whether the bit must be set after it, must not (false), or may be (nil).
    mutating func send(_ length: Int) -> (refusal: DropReason?, raises: Bool?) {
        let isNews = limits.judge(sent, octets)
        if limits.hard { return (.lifetimeExpired, isNews) }
        let isBehind = sent >= notice, isFirst = isBehind && !isNoticed
        isNoticed = isNoticed || isBehind
        guard sent < granted else { return (.sequenceExhausted, true) }
        sent += 1
        octets += UInt64(length)
        return (nil, isNews || isFirst ? true : isBehind ? nil : false)
    }
}

/// An inbound SA, likewise.
private struct PlainReceiver {
    static let window: UInt64 = 64
    var limits = PlainLimits()
    var accepted: Set<UInt64> = [], highest: UInt64 = 0, packets: UInt64 = 0, octets: UInt64 = 0
    var ceiling: UInt64 = 0, notice: UInt64 = 0, wanted: UInt64 = 0
    var isHolding = false, isOver = false

    func check(_ number: UInt64) -> DropReason? {
        if number + PlainReceiver.window <= highest { return .late }
        return accepted.contains(number) ? .replayed : nil
    }

    mutating func accept(_ number: UInt64, _ length: Int, waited: Bool) -> (refusal: DropReason?, raises: Bool) {
        let isNews = limits.judge(packets, octets)
        if limits.hard || isOver { return (.lifetimeExpired, isNews) }
        if number > ceiling {
            wanted = max(wanted, number)
            isHolding = true
            return (.ahead, true)
        }
        let raises = isNews || number >= notice
        if isHolding && !waited { return (.ahead, raises) }
        if let refused = check(number) { return (refused, raises) }
        accepted.insert(number)
        highest = max(highest, number)
        packets += 1
        octets += UInt64(length)
        return (nil, raises)
    }
}

@Suite("Limits, grants and ceilings against a plain model")
struct LimitPropertyTests {
    private static func allowance(_ used: UInt64, _ random: inout SplitMix64) -> Allowance {
        func limit(_ scale: UInt64) -> UInt64 {
            random.next() % 3 == 0
                ? .max : (used * scale) - min(used * scale, 10 * scale) + random.next() % (100 * scale)
        }
        var allowance = Allowance()
        (allowance.softPackets, allowance.hardPackets) = (limit(1), limit(1))
        (allowance.softOctets, allowance.hardOctets) = (limit(40), limit(40))
        return allowance
    }

    @Test("an outbound SA", arguments: 1...12 as ClosedRange<UInt64>)
    func outbound(seed: UInt64) throws {
        var random = SplitMix64(seed: seed), bench = try Bench(), plain = PlainSender()
        let pair = try AssociationPair(seed: seed, granted: 0)
        var seen: Set<DropReason> = []
        for step in 0..<600 {
            switch random.next() % 8 {
            case 0:
                let before = plain.granted
                plain.granted = max(before, plain.sent + random.next() % 12)
                plain.notice = random.next() % 4 == 0 ? .max : max(before, plain.granted - min(plain.granted, 10))
                plain.isNoticed = false
                pair.outbound.with {
                    $0.grant(sequence: plain.granted, initializationVector: plain.granted, notice: plain.notice)
                }
            case 1:
                plain.limits.allowance = LimitPropertyTests.allowance(plain.sent, &random)
                pair.outbound.with { $0.limit(plain.limits.allowance) }
                _ = plain.limits.judge(plain.sent, plain.octets)
                // Its threshold is gone: it looks again.
                plain.isNoticed = false
            default:
                let inner = innerPacket(octets: 20 + Int(random.next() % 60), using: &random)
                let expected = plain.send(inner.count)
                let found = bench.send([inner], under: pair)[0], raised = bench.raised()
                var refusal: DropReason?
                if case .dropped(let reason) = found { (refusal, _) = (reason, seen.insert(reason)) }
                let isRaised = expected.raises.map { $0 == !raised.isEmpty } ?? true
                guard refusal == expected.refusal, isRaised else {
                    Issue.record("seed \(seed), step \(step): \(found), \(raised); not \(expected), \(plain)")
                    return
                }
            }
            let state = pair.outbound.with { ($0.packets, $0.octets.load(ordering: .relaxed), $0.isHardExpired) }
            guard state == (plain.sent, plain.octets, plain.limits.hard) else {
                Issue.record("seed \(seed), step \(step): \(state), not \(plain)")
                return
            }
        }
        #expect(seen == [.lifetimeExpired, .sequenceExhausted] && plain.sent > 30, "seed \(seed): \(plain)")
    }

    @Test("an inbound SA", arguments: 1...12 as ClosedRange<UInt64>)
    func inbound(seed: UInt64) throws {
        var random = SplitMix64(seed: seed), bench = try Bench(), plain = PlainReceiver()
        let pair = try AssociationPair(seed: seed), sender = try AssociationPair(seed: seed)
        pair.inbound.with { $0.setCeiling(10, notice: 5) }
        (plain.ceiling, plain.notice) = (10, 5)
        let packets = bench.espPackets(800, octets: 40, of: sender, using: &random)
        var waiting: [(number: UInt64, clear: [UInt8])] = []
        var seen: Set<DropReason> = []
        for step in 0..<800 {
            var expected: [(refusal: DropReason?, raises: Bool)] = [], found: [Verdict] = []
            switch random.next() % 16 {
            case 0, 1:
                // Up when somebody waits, and now and then down.
                let far = max(plain.wanted, plain.highest) + random.next() % 30
                plain.ceiling = random.next() % 5 == 0 ? plain.highest + random.next() % 5 : far
                plain.notice = plain.ceiling - min(plain.ceiling, random.next() % 10)
                if plain.isOver || plain.ceiling == 0 { break }
                pair.inbound.with { $0.setCeiling(plain.ceiling, notice: plain.notice) }
            case 2:
                plain.limits.allowance = LimitPropertyTests.allowance(plain.packets, &random)
                _ = plain.limits.judge(plain.packets, plain.octets)
                plain.isOver = false
                plain.ceiling = max(plain.ceiling, 1)
                pair.inbound.with {
                    $0.limit(plain.limits.allowance)
                    $0.setCeiling(plain.ceiling, notice: plain.notice)
                }
            case 3 where step % 7 == 0:
                plain.isOver = true
                pair.inbound.with { $0.expire() }
            case 4, 5, 6:
                // What a worker does: those whose time has come, in their order, and then nobody is kept back.
                let ready = waiting.prefix { packet in pair.inbound.with { $0.reaches(packet.number) } }
                let batch = Array(ready.prefix(Bench.capacity))
                waiting.removeFirst(batch.count)
                if waiting.isEmpty {
                    plain.isHolding = false
                    pair.inbound.with { $0.setHolding(false) }
                }
                expected = batch.map { plain.accept($0.number, 40, waited: true) }
                found = bench.passOpened(batch.map(\.clear), under: pair)
            default:
                let number = min(
                    800, max(1, plain.highest + random.next() % 12 - min(plain.highest, random.next() % 9)))
                let esp = packets[Int(number) - 1]
                expected = [plain.check(number).map { ($0, false) } ?? plain.accept(number, 40, waited: false)]
                let result = bench.receiveKeeping(esp, under: pair)
                found = [result.verdict]
                if result.verdict == .dropped(.ahead) { waiting.append((number, result.octets)) }
            }
            let refusals = found.map { if case .dropped(let reason) = $0 { reason } else { nil as DropReason? } }
            seen.formUnion(refusals.compactMap { $0 })
            guard refusals == expected.map(\.refusal), bench.raised().isEmpty != expected.contains(where: \.raises)
            else {
                Issue.record("seed \(seed), step \(step): \(found); not \(expected), \(plain)")
                return
            }
            let state = AssociationPair.InboundState(
                highest: plain.highest, packets: plain.packets, octets: plain.octets)
            guard pair.inboundState == state, pair.inbound.with({ $0.wanted.load(ordering: .relaxed) }) == plain.wanted
            else {
                Issue.record("seed \(seed), step \(step): \(pair.inboundState), not \(plain)")
                return
            }
        }
        #expect(seen.isSuperset(of: [.lifetimeExpired, .ahead, .replayed]) && plain.packets > 30, "seed \(seed)")
    }
}
