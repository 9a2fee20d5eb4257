import IPsec
import SeededRandom
import Testing

@testable import ESP

/// What an inbound SA accepts is on disk before.
@Suite("The ceiling of an inbound SA")
struct CeilingTests {
    private struct Rig: ~Copyable {
        let pair: AssociationPair
        var bench: Bench
        /// ESP packets 1, 2, 3, … of the pair.
        let packets: [[UInt8]]

        init(ceiling: UInt64, notice: UInt64) throws {
            let (pair, peer) = (try AssociationPair(seed: 3), try AssociationPair(seed: 3))
            var random = SplitMix64(seed: 4), bench = try Bench()
            packets = bench.espPackets(100, of: peer, using: &random)
            self.pair = pair
            self.bench = bench
            pair.inbound.with { $0.setCeiling(ceiling, notice: notice) }
        }

        mutating func receive(_ number: Int) -> DropReason? {
            if case .dropped(let reason) = bench.receive(packets[number - 1], under: pair) { reason } else { nil }
        }
    }

    @Test("the bit is raised from the notice on and not before; numbers above are ahead and leave no trace")
    func notice() throws {
        var rig = try Rig(ceiling: 10, notice: 6)
        for number in 1...10 {
            #expect(rig.receive(number) == nil)
            #expect(rig.bench.raised() == (number >= 6 ? [65] : []), "number \(number)")
        }
        let before = rig.pair.inboundState
        for number in [11, 12, 11, 100] {
            #expect(rig.receive(number) == .ahead)
            #expect(rig.bench.raised() == [65])
            #expect(rig.pair.inboundState == before && rig.pair.inbound.with { $0.window.check(UInt64(number)) } == nil)
        }
        rig.pair.inbound.with {
            #expect($0.wanted.load(ordering: .relaxed) == 100 && $0.highest.load(ordering: .relaxed) == 10)
            #expect(!$0.reaches(11) && $0.reaches(10))
        }
        // What is not authentic is not ahead.
        var forged = rig.packets[20]
        forged[forged.count - 1] ^= 1
        #expect(rig.bench.receive(forged, under: rig.pair) == .dropped(.integrityFailed))
    }

    @Test(
        "a number above the ceiling is never taken, whatever the notice", arguments: [0, 5, 11, 1000, .max] as [UInt64])
    func noticeAbove(notice: UInt64) throws {
        var rig = try Rig(ceiling: 10, notice: notice)
        #expect(rig.receive(10) == nil)
        #expect(rig.receive(11) == .ahead)
        #expect(rig.bench.raised() == [65])
    }

    @Test("those ahead are accepted when the ceiling has risen, in their order, and keep later ones back until then")
    func holding() throws {
        var rig = try Rig(ceiling: 10, notice: 8)
        #expect(rig.receive(3) == nil)
        var waiting: [[UInt8]] = []
        // 5 is below the ceiling and came after 12: it must not overtake.
        for number in [12, 5, 13] {
            let (verdict, clear) = rig.bench.receiveKeeping(rig.packets[number - 1], under: rig.pair)
            #expect(verdict == .dropped(.ahead))
            waiting.append(clear)
        }
        rig.pair.inbound.with { $0.setCeiling(30, notice: 20) }
        #expect(rig.receive(14) == .ahead)
        let passed = rig.bench.passOpened(waiting, under: rig.pair)
        #expect(passed.allSatisfy { if case .passed = $0 { true } else { false } })
        rig.pair.inbound.with { $0.setHolding(false) }
        #expect(rig.receive(14) == nil && rig.receive(15) == nil)
        // Each once, those that waited as well.
        for number in [3, 5, 12, 13, 14, 15] { #expect(rig.receive(number) == .replayed) }
        #expect(rig.bench.passOpened(waiting, under: rig.pair) == Array(repeating: .dropped(.replayed), count: 3))
        #expect(rig.pair.inboundState.highest == 15 && rig.pair.inboundState.packets == 6)
        _ = rig.bench.raised()
        #expect(rig.receive(19) == nil && rig.bench.raised().isEmpty)
        #expect(rig.receive(20) == nil && rig.bench.raised() == [65])
    }

    @Test("one that still is above when it is passed on is ahead again")
    func stillAhead() throws {
        var rig = try Rig(ceiling: 10, notice: 8)
        let first = rig.bench.receiveKeeping(rig.packets[10], under: rig.pair)
        let far = rig.bench.receiveKeeping(rig.packets[40], under: rig.pair)
        rig.pair.inbound.with { $0.setCeiling(20, notice: 15) }
        let verdicts = rig.bench.passOpened([first.octets, far.octets], under: rig.pair)
        #expect(verdicts[1] == .dropped(.ahead) && verdicts[0] != .dropped(.ahead))
    }

    @Test("an SA that was ended accepts nothing, also when somebody raises its ceiling, until it has a new lifetime")
    func expired() throws {
        var rig = try Rig(ceiling: 10, notice: 6)
        #expect(rig.receive(1) == nil)
        let (_, clear) = rig.bench.receiveKeeping(rig.packets[11], under: rig.pair)
        rig.pair.inbound.with { $0.expire() }
        #expect(rig.receive(2) == .lifetimeExpired && rig.receive(90) == .lifetimeExpired)
        rig.pair.inbound.with { $0.setCeiling(50, notice: 40) }
        #expect(rig.receive(2) == .lifetimeExpired)
        // Nothing waits for a ceiling that will not come.
        #expect(rig.pair.inbound.with { $0.reaches(12) })
        #expect(rig.bench.passOpened([clear], under: rig.pair) == [.dropped(.lifetimeExpired)])
        rig.pair.inbound.with {
            $0.setHolding(false)
            $0.limit(Allowance())
            $0.setCeiling(50, notice: 40)
        }
        #expect(rig.receive(2) == nil && rig.receive(1) == .replayed && rig.receive(51) == .ahead)
    }
}
