import DataPlane
import ESP
import IPsec
import SAStore
import SeededRandom
import Testing

@testable import Gateway

/// A tunnel's children as an engineer would keep them on paper: who was begun with when, in that order.
private struct PlainTunnel {
    struct Child {
        let number: Int
        let notBefore: Int64?
        let isByHand: Bool
        var begun: (at: Int64, order: Int)?
        var isSoft = false, isHard = false, isGone = false
    }

    var children: [Child] = []
    var clock = Int64.min
    private var acts = 0

    func index(_ number: Int) -> Int? { children.firstIndex { $0.number == number } }

    mutating func activate(_ number: Int, now: Int64) {
        acts += 1
        clock = max(clock, now)
        if let index = index(number) { children[index].begun = (clock, acts) }
    }

    private var order: [Int] {
        children.indices.filter { children[$0].begun != nil && !children[$0].isGone }.sorted {
            (children[$0].begun?.at ?? 0, children[$0].begun?.order ?? 0, $0)
                < (children[$1].begun?.at ?? 0, children[$1].begun?.order ?? 0, $1)
        }
    }

    /// The file's first, when nothing else was begun with.
    private var fallback: Int? {
        guard let first = children.first, !first.isByHand, !first.isGone, first.notBefore == nil else { return nil }
        return 0
    }

    /// Number of the child that is sent under; nil: none may be.
    mutating func advance(_ now: Int64) -> Int? {
        clock = max(clock, now)
        for index in children.indices where children[index].begun == nil {
            if let at = children[index].notBefore, at <= clock { children[index].begun = (at, 0) }
        }
        if let last = order.last ?? fallback, children[last].isSoft || children[last].isHard {
            let later = children.indices.filter {
                $0 > last && !children[$0].isGone && !children[$0].isSoft && !children[$0].isHard
            }
            let next = later.first { children[$0].notBefore == nil } ?? (children[last].isHard ? later.first : nil)
            if let next { activate(children[next].number, now: clock) }
        }
        for index in order.dropLast(2) { children[index].isGone = true }
        guard let last = order.last ?? fallback, !children[last].isHard else { return nil }
        return children[last].number
    }
}

@Suite("Tunnels against a plain model")
struct TunnelBookPropertyTests {
    private struct Walk {
        var rig: BookRig
        var plain = PlainTunnel()
        var random: SplitMix64
        var now: Int64 = 1000
        var file: [Topology.Child] = []
        var next = 0
        let lifetime: Lifetime
        var changes = 0

        init(seed: UInt64) throws {
            random = SplitMix64(seed: seed)
            lifetime = Lifetime(soft: .init(packets: 8), hard: .init(packets: 12))
            rig = try BookRig()
            for _ in 0..<3 { addToFile() }
            try follow()
        }

        mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }

        /// Times go up in a file; some children have none. The first is sent under from the beginning.
        mutating func addToFile() {
            let latest = file.compactMap(\.notBefore).max() ?? 1000
            let at: Int64? = file.isEmpty || below(2) == 0 ? nil : latest + 1 + Int64(below(60))
            file.append(TestChildren.child(next, notBefore: at))
            // By-hand children stand behind the file's.
            let place = plain.children.firstIndex { $0.isByHand } ?? plain.children.count
            plain.children.insert(.init(number: next, notBefore: at, isByHand: false), at: place)
            if place == 0 { plain.children[0].begun = (.min, 0) }
            next += 1
        }

        mutating func follow() throws { try rig.follow([TestChildren.tunnel("a", file, lifetime: lifetime)], now: now) }

        func number(_ child: TunnelBook.Child) -> Int { Int(child.description.outbound.spi.rawValue) - 0x1_0000 }

        mutating func step() throws -> String? {
            let children = rig.book.entries[0].children
            switch below(10) {
            case 0, 1: now += Int64(below(40))
            case 2: now -= Int64(below(30))
            case 3:
                let live = children.indices.filter { children[$0].pair != nil }
                let chosen = live[below(live.count)]
                rig.book.activate(chosen, in: 0, now: now)
                plain.activate(number(children[chosen]), now: now)
            case 4:
                let idle = children.indices.filter { children[$0].pair != nil && children[$0].state != .current }
                guard !idle.isEmpty, let place = idle.randomElement(using: &random) else { break }
                // What the file names comes back with it; so it is taken out of both.
                file.removeAll { $0.outbound.spi == children[place].description.outbound.spi }
                if let index = plain.index(number(children[place])) { plain.children.remove(at: index) }
                rig.book.remove(place, from: 0)
            case 5 where next < 40:
                let child = TestChildren.child(next, notBefore: below(2) == 0 ? nil : now + Int64(below(50)) - 20)
                let request = PairRequest(TestChildren.tunnel("a", [], lifetime: lifetime), child, owner: 0)
                rig.book.add(child, try rig.installer.install([request], now: now)[0], to: 0)
                plain.children.append(.init(number: next, notBefore: child.notBefore, isByHand: true))
                next += 1
            case 6 where next < 40 && !file.isEmpty:
                addToFile()
                try follow()
            case 7: if !file.isEmpty { try follow() }
            default: try send()
            }
            return judge()
        }

        /// Packets under what tables say.
        private mutating func send() throws {
            guard let place = rig.sending() else { return }
            _ = try rig.send(below(7), place)
            let pair = try rig.pair(place)
            let (soft, hard) = pair.outbound.reference.with { ($0.isSoftExpired, $0.isHardExpired) }
            if let index = plain.index(number(rig.book.entries[0].children[place])) {
                (plain.children[index].isSoft, plain.children[index].isHard) = (soft, hard)
            }
        }

        private mutating func judge() -> String? {
            let before = rig.book.entries[0].children.filter { $0.state == .current }.map(number)
            let events = rig.book.advance(to: now)
            let expected = plain.advance(now)
            let children = rig.book.entries[0].children
            let sending = rig.sending().map { number(children[$0]) }
            if sending != expected { return "sends under \(sending as Any), not \(expected as Any)" }
            let live = Set(children.filter { $0.pair != nil }.map(number))
            let plainLive = Set(plain.children.filter { !$0.isGone }.map(\.number))
            if live != plainLive { return "has \(live.sorted()), not \(plainLive.sorted())" }
            let current = children.filter { $0.state == .current }.map(number)
            if current.count > 1 || children.filter({ $0.state == .old }).count > 1 {
                return "\(children.map(\.state))"
            }
            if children.contains(where: { ($0.pair == nil) != ($0.state == .retired) }) {
                return "\(children.map(\.state))"
            }
            if Set(rig.book.states[0].inbound.map(\.id)).count != live.count { return "does not accept what it has" }
            let activated = events.filter { $0.kind == .activated }.count
            changes += activated
            if activated != (current == before ? 0 : 1) { return "\(before) to \(current) with \(events)" }
            return rig.book.advance(to: now).isEmpty ? nil : "not at rest"
        }
    }

    @Test("whatever time, operators, packets and reloads do", arguments: 1...40 as ClosedRange<UInt64>)
    func walk(seed: UInt64) throws {
        var walk = try Walk(seed: seed)
        _ = walk.rig.advance(walk.now)
        _ = walk.plain.advance(walk.now)
        for step in 0..<150 {
            if let complaint = try walk.step() {
                Issue.record("seed \(seed), step \(step): \(complaint)")
                return
            }
        }
        #expect(walk.changes > 2, "seed \(seed)")
    }
}
