import DataPlane
import ESP
import IPsec
import SAStore
import SeededRandom
import Testing

@testable import Gateway

@Suite("Pairs that a tunnel uses at the same time")
struct TunnelLanesTests {
    private typealias T = TestChildren

    private func lanes(_ rig: BookRig, _ tunnel: Int = 0) -> [Int?] {
        rig.book.states[tunnel].lanes.map { lane in
            rig.book.entries[tunnel].children.firstIndex { $0.pair.map { $0.outbound === lane.outbound } ?? false }
        }
    }

    @Test("one for each worker; with one worker they follow each other as ever", arguments: [1, 2, 3, 4])
    func sideBySide(workers: Int) throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1), T.child(2)])], now: 50, workers: workers)
        _ = rig.advance(50)
        let sending = min(workers, 3)
        #expect(lanes(rig) == Array(0..<sending))
        #expect(rig.states() == (0..<3).map { $0 < sending ? "current" : "standby" })
        #expect(rig.book.entries[0].owners == Array(0..<sending))
        // Each key has one owner, and the inbound SA of a pair the same.
        #expect(rig.book.pairs.map(\.owner) == (0..<3).map { $0 % workers })
        #expect(rig.book.states[0].inbound.count == 3)
        let owners = rig.book.states[0].inbound.map { $0.reference.with { Int($0.owner) } }
        #expect(owners == rig.book.pairs.map(\.owner))
    }

    @Test("the next generation takes the place of all of the one before; two back it is over")
    func generations() throws {
        var rig = try BookRig()
        let children = [
            T.child(0), T.child(1), T.child(2, notBefore: 100), T.child(3, notBefore: 100), T.child(4, notBefore: 200),
            T.child(5, notBefore: 300), T.child(6, notBefore: 300), T.child(7, notBefore: 300),
        ]
        try rig.follow([T.tunnel("a", children)], now: 50, workers: 2)
        _ = rig.advance(50)
        #expect(lanes(rig) == [0, 1] && rig.book.nextChange(after: 50) == 100)
        #expect(rig.advance(100) == ["activated 2", "activated 3"])
        #expect(rig.states().prefix(4) == ["old", "old", "current", "current"] && lanes(rig) == [2, 3])
        // There is one for that time: it has all flows, and the other lane ends.
        #expect(rig.advance(200) == ["retired 0", "activated 4", "retired 1"])
        #expect(rig.states().prefix(5) == ["retired", "retired", "old", "old", "current"] && lanes(rig) == [4, nil])
        // Three for two workers: the third waits.
        _ = rig.advance(300)
        #expect(rig.states().suffix(4) == ["old", "current", "current", "standby"] && lanes(rig) == [5, 6])
        #expect(rig.book.entries[0].children[7].lane == 0)
    }

    @Test("one that starts late has no pairs that are over already")
    func lateStart() throws {
        var rig = try BookRig()
        let children = [
            T.child(0), T.child(1), T.child(2, notBefore: 100), T.child(3, notBefore: 100), T.child(4, notBefore: 200),
            T.child(5, notBefore: 200),
        ]
        try rig.follow([T.tunnel("a", children)], now: 250, workers: 2)
        #expect(rig.installer.installed == 4 && rig.advance(250) == ["activated 4", "activated 5"])
        #expect(rig.states() == ["retired", "retired", "old", "old", "current", "current"])
    }

    @Test("a lane at its hard limit is skipped; its spare takes over at the soft one, and another lane's never does")
    func limits() throws {
        let lifetime = Lifetime(soft: .init(packets: 4), hard: .init(packets: 8))
        var rig = try BookRig()
        let tunnel = T.tunnel("a", [T.child(0), T.child(1), T.child(2)], lifetime: lifetime)
        try rig.follow([tunnel], now: 50, workers: 2)
        _ = rig.advance(50)
        #expect(try rig.send(20, 1) == 8)
        #expect(rig.advance(51) == ["softLimit outbound 1", "hardLimit outbound 1"] && lanes(rig) == [0, nil])
        #expect(try rig.send(5, 0) == 5)
        #expect(rig.advance(52) == ["softLimit outbound 0", "activated 2"])
        #expect(lanes(rig) == [2, nil] && rig.states() == ["old", "current", "current"])
        #expect(try rig.send(20, 2) == 8)
        #expect(rig.advance(53) == ["softLimit outbound 2", "hardLimit outbound 2"])
        #expect(lanes(rig) == [nil, nil] && rig.book.states[0].refusal == .lifetimeExpired)
    }

    @Test("a lane whose numbers are used up is skipped, as long as there is another")
    func spent() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1)])], now: 50, workers: 2)
        _ = rig.advance(50)
        func useUp(_ child: Int) throws {
            try rig.pair(child).outbound.reference.with {
                $0.resume(behindSequence: UInt64(UInt32.max), behindInitializationVector: UInt64(UInt32.max))
            }
        }
        try useUp(0)
        let before = rig.book
        _ = rig.advance(51)
        #expect(lanes(rig) == [nil, 1] && !rig.book.saysSame(as: before))
        try useUp(1)
        _ = rig.advance(52)
        // Then packets are dropped for that, as a tunnel of one worker drops them.
        #expect(lanes(rig) == [0, 1])
    }

    @Test("pairs added by hand are shared out, and each takes the place of its own lane's")
    func byHand() throws {
        var rig = try BookRig()
        let tunnel = T.tunnel("a", [T.child(0), T.child(1)])
        try rig.follow([tunnel], now: 50, workers: 2)
        _ = rig.advance(50)
        for number in 2...3 {
            let lane = rig.book.laneForAddition(to: 0)
            #expect(lane == number - 2)
            let request = PairRequest(tunnel, T.child(number), owner: rig.book.entries[0].owners[lane])
            rig.book.add(T.child(number), try rig.installer.install([request], now: 51)[0], to: 0)
            _ = rig.advance(51)
        }
        #expect(rig.states() == ["current", "current", "standby", "standby"])
        rig.book.activate(3, in: 0, now: 52)
        #expect(rig.advance(52) == ["activated 3"] && lanes(rig) == [0, 3])
        rig.book.activate(2, in: 0, now: 53)
        #expect(rig.advance(53) == ["activated 2"] && lanes(rig) == [2, 3])
        // A reload leaves them where they are.
        try rig.follow([tunnel], now: 54, workers: 2)
        #expect(rig.advance(54) == [] && lanes(rig) == [2, 3])
    }

    @Test("a reload leaves every pair with its worker, wherever the file has it now")
    func reload() throws {
        var rig = try BookRig()
        let other = T.tunnel("z", [T.child(9)])
        try rig.follow([other, T.tunnel("a", [T.child(0), T.child(1)])], now: 50, workers: 3)
        _ = rig.advance(50)
        #expect(rig.book.entries[1].owners == [1, 2])
        let before = rig.book.pairs
        // Another name, another order, one more.
        try rig.follow([other, T.tunnel("b", [T.child(1), T.child(0), T.child(2)])], now: 51, workers: 3)
        _ = rig.advance(51)
        let kept = rig.book.pairs.filter { pair in before.contains { $0 === pair } }
        #expect(kept.count == 3 && rig.installer.installed == 4)
        #expect(Set(rig.book.entries[1].owners) == [0, 1, 2] && rig.states(1) == ["current", "current", "current"])
        #expect(Set(rig.book.entries[1].children.compactMap(\.pair?.owner)).count == 3)
        // The first goes: the other goes on alone, where it was.
        try rig.follow([other, T.tunnel("b", [T.child(1)])], now: 52, workers: 3)
        _ = rig.advance(52)
        #expect(rig.book.states[1].lanes.compactMap(\.outbound).map(\.id) == [kept[1].outbound.id])
    }

    /// What must hold whatever happens: seeds of files, times, limits, operators and reloads.
    @Test(
        "each key has one worker, each worker one lane, and what can send does",
        arguments: 1...40 as ClosedRange<UInt64>)
    func always(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
        var rig = try BookRig()
        let workers = 2 + below(3), lifetime = Lifetime(soft: .init(packets: 8), hard: .init(packets: 12))
        var file = [T.child(0)], next = 1, now: Int64 = 1000, owners: [SAIdentity: Int] = [:], several = 0
        func addToFile() {
            let latest = file.compactMap(\.notBefore).max()
            let at = below(3) > 0 ? latest : (latest ?? 1000) + 1 + Int64(below(60))
            file.append(T.child(next, notBefore: at))
            next += 1
        }
        for _ in 0..<4 { addToFile() }
        for step in 0..<120 {
            let context = "seed \(seed), step \(step)"
            switch below(6) {
            case 0: now += Int64(below(30))
            case 1:
                if next < 60 { addToFile() }
                fallthrough
            case 2:
                if file.count > 6 && below(3) == 0 { file.remove(at: 1 + below(file.count - 1)) }
                try rig.follow([T.tunnel("a", file, lifetime: lifetime)], now: now, workers: workers)
            case 3:
                guard let entry = rig.book.entries.first else { continue }
                let live = entry.children.indices.filter { entry.children[$0].pair != nil }
                rig.book.activate(live[below(live.count)], in: 0, now: now)
            default:
                let current = rig.states(0, of: "current")
                if !current.isEmpty { _ = try rig.send(below(7), current[below(current.count)]) }
            }
            _ = rig.advance(now)
            guard let entry = rig.book.entries.first else { continue }
            let state = rig.book.states[0], sending = state.lanes.compactMap(\.outbound)
            several += sending.count > 1 ? 1 : 0
            #expect(
                Set(state.lanes.map(\.owner)).count == state.lanes.count && state.lanes.count <= workers, "\(context)")
            #expect(Set(sending.map(\.id)).count == sending.count, "\(context): one key, one counter")
            for pair in rig.book.pairs {
                #expect(
                    owners[pair.sameness.outbound, default: pair.owner] == pair.owner, "\(context): an owner for life")
                owners[pair.sameness.outbound] = pair.owner
                let inbound = pair.inbound.reference.with { Int($0.owner) }
                #expect(inbound == pair.owner, "\(context): both of a pair")
                #expect(state.inbound.contains { $0 === pair.inbound }, "\(context): accepted")
            }
            for lane in state.lanes {
                guard let outbound = lane.outbound else { continue }
                let pair = rig.book.pairs.first { $0.outbound === outbound }
                #expect(
                    pair?.owner == lane.owner && pair?.outbound.reference.with { $0.isHardExpired } == false,
                    "\(context)")
            }
            let currents = entry.children.filter { $0.state == .current }
            #expect(Set(currents.map(\.lane)).count == currents.count, "\(context): one current pair a lane")
            #expect(sending.count == currents.count { !$0.outboundLimits.hard }, "\(context)")
            #expect(rig.advance(now).isEmpty, "\(context): at rest")
        }
        #expect(several > 10, "seed \(seed)")
    }
}

extension BookRig {
    /// Children of a tunnel that are in a state and have a pair.
    func states(_ tunnel: Int, of state: String) -> [Int] {
        guard book.entries.indices.contains(tunnel) else { return [] }
        return book.entries[tunnel].children.indices.filter {
            book.entries[tunnel].children[$0].state.rawValue == state && book.entries[tunnel].children[$0].pair != nil
        }
    }
}
