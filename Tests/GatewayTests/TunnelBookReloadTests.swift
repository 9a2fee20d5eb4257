import DataPlane
import ESP
import IPsec
import SAStore
import Testing

@testable import Gateway

@Suite("Tunnels after a reload")
struct TunnelBookReloadTests {
    private typealias T = TestChildren

    private func identities(_ rig: BookRig, _ tunnel: Int = 0) -> [ObjectIdentifier?] {
        rig.book.entries[tunnel].children.map { $0.pair.map(ObjectIdentifier.init) }
    }

    @Test("what is asked for again goes on as it is: nothing is installed, nothing told")
    func same() throws {
        var rig = try BookRig()
        let tunnels = (0..<5).map { T.tunnel("t\($0)", [T.child(2 * $0), T.child(2 * $0 + 1, notBefore: 1000)]) }
        try rig.follow(tunnels, now: 50, workers: 2)
        _ = rig.advance(50)
        rig.book.activate(1, in: 3, now: 51)
        _ = rig.advance(51)
        let before = (0..<5).map { identities(rig, $0) }, owners = rig.book.entries.map(\.owners)
        #expect(owners == [[0], [1], [0], [1], [0]])
        // In another order as well, and under other names: an SA's owner is for its life.
        var renamed = Array(tunnels.reversed())
        renamed[1].name = "renamed"
        try rig.follow(renamed, now: 52, workers: 2)
        #expect(rig.installer.installed == 10 && rig.advance(52) == [])
        #expect((0..<5).map { identities(rig, $0) } == before.reversed())
        #expect(rig.book.entries.map(\.owners) == owners.reversed())
        #expect(rig.states(1) == ["old", "current"] && rig.sending(1) == 1)
    }

    @Test("only what changed is installed anew", arguments: ["key", "spi", "window", "remote", "added", "removed"])
    func changed(what: String) throws {
        var rig = try BookRig()
        var tunnels = [T.tunnel("a", [T.child(0), T.child(1)]), T.tunnel("b", [T.child(2)])]
        try rig.follow(tunnels, now: 50)
        _ = rig.advance(50)
        let before = identities(rig), other = identities(rig, 1)
        switch what {
        case "key": tunnels[0].children[1].outbound.key = T.key(1000)
        case "spi": tunnels[0].children[1].inbound.spi = SPI(rawValue: 0x9999)
        case "window": tunnels[0].children[1].inbound.replayWindowPackets = 128
        case "remote": tunnels[0].remoteAddress = IPAddress(v4: 0xc000_0299)
        case "added": tunnels[0].children.append(T.child(7))
        default: tunnels[0].children.removeLast()
        }
        try rig.follow(tunnels, now: 60)
        _ = rig.advance(60)
        let after = identities(rig)
        let expected = ["key": 1, "spi": 1, "window": 1, "remote": 2, "added": 1, "removed": 0][what]
        #expect(rig.installer.installed == 3 + (expected ?? -1) && identities(rig, 1) == other)
        #expect(after.allSatisfy { $0 != nil } && after.count == tunnels[0].children.count)
        #expect((after[0] == before[0]) == (what != "remote"))
        if after.count > 1 { #expect((after[1] == before[1]) == (what == "added")) }
        #expect(rig.sending() == 0)
    }

    @Test("what has been retired stays so; the same SPIs with other keys are other SAs")
    func retired() throws {
        var rig = try BookRig()
        let schedule = [T.child(0), T.child(1, notBefore: 100), T.child(2, notBefore: 200)]
        try rig.follow([T.tunnel("a", schedule)], now: 50)
        _ = rig.advance(50)
        rig.book.activate(1, in: 0, now: 60)
        rig.book.activate(2, in: 0, now: 61)
        #expect(rig.advance(61) == ["retired 0", "activated 2"])
        // By the schedule alone the first would be current.
        try rig.follow([T.tunnel("a", schedule)], now: 62)
        #expect(rig.advance(62) == [] && rig.states() == ["retired", "old", "current"])
        #expect(rig.installer.installed == 3)
        var next = schedule
        next[0].outbound.key = T.key(500)
        next[0].inbound.key = T.key(501)
        try rig.follow([T.tunnel("a", next)], now: 63)
        #expect(rig.installer.installed == 4)
        #expect(rig.book.entries[0].children[0].state != .retired)
    }

    @Test("a pair that was added by hand stays with its tunnel until the file or nobody has it")
    func byHand() throws {
        var rig = try BookRig()
        var tunnels = [T.tunnel("a", [T.child(0)]), T.tunnel("b", [T.child(1)])]
        try rig.follow(tunnels, now: 50)
        _ = rig.advance(50)
        func add(_ number: Int, to tunnel: Int) throws {
            let child = T.child(number), request = PairRequest(tunnels[tunnel], child, owner: tunnel)
            rig.book.add(child, try rig.installer.install([request], now: 51)[0], to: tunnel)
        }
        try add(5, to: 0)
        try add(6, to: 1)
        rig.book.activate(1, in: 0, now: 52)
        #expect(rig.advance(52) == ["activated 5"])
        let added = identities(rig)[1]
        try rig.follow(tunnels, now: 53)
        #expect(rig.advance(53) == [] && identities(rig)[1] == added && rig.sending() == 1)
        // Now the file has it: the same SAs, and the file's.
        tunnels[0].children.append(T.child(5))
        try rig.follow(tunnels, now: 54)
        #expect(rig.advance(54) == [] && identities(rig) == [identities(rig)[0], added])
        #expect(rig.book.entries[0].children[1].origin == .file && rig.sending() == 1)
        // The file gives tunnel a an SPI that tunnel b has by hand: it is tunnel a's.
        var child = T.child(7)
        child.inbound.spi = T.child(6).inbound.spi
        tunnels[0].children.append(child)
        try rig.follow(tunnels, now: 55)
        _ = rig.advance(55)
        let spis = rig.book.entries.flatMap { $0.children.filter { $0.pair != nil }.map(\.description.inbound.spi) }
        #expect(Set(spis).count == spis.count && rig.book.entries[1].children.count == 1)
        // And so with a key.
        try add(8, to: 1)
        tunnels[0].children[2].outbound.key = T.child(8).outbound.key
        try rig.follow(tunnels, now: 56)
        #expect(rig.book.entries[1].children.count == 1)
        // Without its tunnel it goes.
        try add(9, to: 1)
        try rig.follow([tunnels[0]], now: 57)
        #expect(rig.book.entries.count == 1 && rig.book.index(of: "b") == nil)
    }

    @Test(
        "a pair that was added by hand goes when its tunnel is not what it was made for, and that is told",
        arguments: ["numbers", "nat", "local", "remote", "lifetime"])
    func noLongerFits(what: String) throws {
        var rig = try BookRig()
        var tunnels = [T.tunnel("a", [T.child(0)]), T.tunnel("b", [T.child(1)])]
        try rig.follow(tunnels, now: 50)
        for tunnel in 0..<2 {
            let child = T.child(5 + tunnel), request = PairRequest(tunnels[tunnel], child, owner: tunnel)
            rig.book.add(child, try rig.installer.install([request], now: 51)[0], to: tunnel)
        }
        rig.book.activate(1, in: 0, now: 52)
        _ = rig.advance(52)
        let before = rig.book, other = identities(rig, 1)
        switch what {
        case "numbers": tunnels[0].profile.extendedSequenceNumbers = true
        case "nat": tunnels[0].profile.natTraversal = true
        case "local": tunnels[0].localAddress = IPAddress(v4: 0xc000_0299)
        case "remote": tunnels[0].remoteAddress = IPAddress(v4: 0xc000_0299)
        default: tunnels[0].lifetime = Lifetime(hard: .init(seconds: 1000))
        }
        try rig.follow(tunnels, now: 53)
        _ = rig.advance(53)
        #expect(identities(rig, 1) == other)
        let told = rig.book.lostByHand(of: before, in: T.site(tunnels))
        guard what != "lifetime" else {
            #expect(rig.sending() == 1 && told.isEmpty)
            return
        }
        #expect(identities(rig).count == 1 && rig.sending() == 0)
        #expect(
            told == [
                "tunnel a: SAs 0x00010005 and 0x00020005, added at run time, are removed: they were made for "
                    + "other addresses or another profile than the tunnel has now"
            ])
    }

    @Test("a tunnel whose SAs can't be installed changes nothing")
    func fails() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", [T.child(0)])], now: 50, workers: 2)
        _ = rig.advance(50)
        let before = identities(rig)
        rig.installer.fail(true)
        #expect(throws: CountingInstaller.Refused.self) {
            try rig.follow([T.tunnel("a", [T.child(1)]), T.tunnel("b", [T.child(2)])], now: 60, workers: 2)
        }
        #expect(identities(rig) == before && rig.book.entries.count == 1 && rig.advance(60) == [])
        rig.installer.fail(false)
        try rig.follow([T.tunnel("a", [T.child(1)]), T.tunnel("b", [T.child(2)])], now: 61, workers: 2)
        #expect(rig.book.entries.map(\.owners) == [[0], [1]])
    }

    @Test("a longer lifetime brings an SA back that was over by the old one, a shorter one ends it")
    func lifetimes() throws {
        var rig = try BookRig()
        func tunnel(_ seconds: UInt64, _ packets: UInt64) -> Topology.Tunnel {
            T.tunnel("a", [T.child(0)], lifetime: Lifetime(hard: .init(packets: packets, seconds: seconds)))
        }
        try rig.follow([tunnel(10, 5)], now: 50)
        _ = rig.advance(50)
        #expect(try rig.send(9, 0) == 5)
        _ = rig.advance(60)
        #expect(rig.sending() == nil)
        try rig.follow([tunnel(100, 8)], now: 61)
        let pair = try rig.pair(0)
        pair.limit(rig.book.entries[0].lifetime)
        pair.inbound.reference.with { $0.setCeiling(.max, notice: .max) }
        #expect(rig.advance(61) == [] && rig.sending() == 0)
        #expect(try rig.send(9, 0) == 3 && rig.accept(1...2, 0) == [nil, nil])
        try rig.follow([tunnel(5, 100)], now: 62)
        pair.limit(rig.book.entries[0].lifetime)
        #expect(rig.advance(62) == ["hardLimit inbound 0"] || rig.sending() == nil)
        #expect(try rig.accept(3...3, 0) == [.lifetimeExpired])
    }

    @Test("tables say the same exactly when nothing of them has changed")
    func saysSame() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1)])], now: 50)
        let raw = rig.book
        _ = rig.advance(50)
        let first = rig.book
        #expect(!first.saysSame(as: raw) && first.saysSame(as: rig.book))
        rig.book.activate(1, in: 0, now: 51)
        _ = rig.advance(51)
        #expect(!first.saysSame(as: rig.book))
        rig.book.activate(0, in: 0, now: 52)
        _ = rig.advance(52)
        #expect(first.saysSame(as: rig.book))
        rig.book.remove(1, from: 0)
        #expect(!first.saysSame(as: rig.book))
    }
}
