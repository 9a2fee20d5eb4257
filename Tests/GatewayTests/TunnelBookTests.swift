import DataPlane
import ESP
import IPsec
import SAStore
import Testing

@testable import Gateway

/// A book with what it needs, as the tests drive it.
struct BookRig {
    let installer: CountingInstaller
    var book = TunnelBook()

    init() throws { installer = try CountingInstaller() }

    mutating func follow(_ tunnels: [Topology.Tunnel], now: Int64, workers: Int = 1) throws {
        try book.follow(TestChildren.site(tunnels), workers: workers, installer: installer, now: now)
    }

    mutating func advance(_ now: Int64) -> [String] {
        book.advance(to: now).map { event in
            "\(event.kind.rawValue) \(event.direction.map { "\($0.rawValue) " } ?? "")\(event.spi.rawValue & 0xffff)"
        }
    }

    /// What children of a tunnel are.
    func states(_ tunnel: Int = 0) -> [String] { book.entries[tunnel].children.map(\.state.rawValue) }

    func pair(_ child: Int, of tunnel: Int = 0) throws -> AssociationPair {
        try #require(book.entries[tunnel].children[child].pair)
    }

    /// Index of the child whose SA tables send under; nil: none.
    func sending(_ tunnel: Int = 0) -> Int? {
        book.entries[tunnel].children.firstIndex {
            $0.pair != nil && $0.pair?.outbound === book.states[tunnel].outbound
        }
    }

    /// Sends packets of 100 octets.
    func send(_ count: Int, _ child: Int, of tunnel: Int = 0) throws -> Int {
        var worker = TestWorker(installer.arena)
        return worker.send(count, under: try pair(child, of: tunnel)).sent.count
    }

    func accept(_ numbers: ClosedRange<UInt64>, _ child: Int) throws -> [DropReason?] {
        var worker = TestWorker(installer.arena)
        let pair = try pair(child)
        return numbers.map { worker.accept($0, under: pair) }
    }
}

@Suite("Which SAs a tunnel has, and which it sends under")
struct TunnelBookTests {
    private typealias T = TestChildren
    private static let schedule = [
        T.child(0), T.child(1, notBefore: 100), T.child(2, notBefore: 200), T.child(3, notBefore: 300),
    ]

    @Test("the schedule moves it from one to the next; two generations back one is over")
    func schedule() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", Self.schedule)], now: 50)
        #expect(rig.states() == ["next", "next", "next", "next"] && rig.installer.installed == 4)
        #expect(rig.advance(50) == ["activated 0"] && rig.book.nextChange(after: 50) == 100)
        #expect(rig.states() == ["current", "next", "next", "next"] && rig.sending() == 0)
        #expect(rig.advance(99) == [] && rig.advance(100) == ["activated 1"])
        #expect(rig.states() == ["old", "current", "next", "next"] && rig.sending() == 1)
        #expect(rig.book.states[0].inbound.count == 4)
        #expect(rig.book.nextChange(after: 100) == 200)
        #expect(rig.advance(200) == ["retired 0", "activated 2"])
        #expect(rig.states() == ["retired", "old", "current", "next"])
        #expect(rig.book.entries[0].children[0].pair == nil && rig.book.states[0].inbound.count == 3)
        #expect(rig.advance(10_000) == ["retired 1", "activated 3"] && rig.book.nextChange(after: 10_000) == nil)
    }

    @Test("one that starts late has no SAs that are over already")
    func lateStart() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", Self.schedule)], now: 250)
        #expect(rig.installer.installed == 3)
        #expect(rig.advance(250) == ["activated 2"])
        #expect(rig.states() == ["retired", "old", "current", "next"] && rig.sending() == 2)
        // Nor does it get them with a reload.
        try rig.follow([T.tunnel("a", Self.schedule)], now: 251)
        #expect(rig.installer.installed == 3 && rig.advance(251) == [])
    }

    @Test("one without a time waits until it is activated; the last that was is current, in the same second too")
    func byHand() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1), T.child(2)])], now: 50)
        _ = rig.advance(50)
        #expect(rig.states() == ["current", "standby", "standby"] && rig.book.states[0].inbound.count == 3)
        rig.book.activate(2, in: 0, now: 60)
        rig.book.activate(1, in: 0, now: 60)
        #expect(rig.advance(60) == ["retired 0", "activated 1"])
        #expect(rig.states() == ["retired", "current", "old"])
        rig.book.activate(2, in: 0, now: 60)
        #expect(rig.advance(60) == ["activated 2"] && rig.states() == ["retired", "old", "current"])
    }

    @Test("a clock that is set back neither brings back nor undoes, and what is done by hand counts")
    func clockBack() throws {
        var rig = try BookRig()
        var children = Self.schedule
        children.append(T.child(9))
        try rig.follow([T.tunnel("a", children, lifetime: Lifetime(hard: .init(seconds: 1000)))], now: 50)
        _ = rig.advance(250)
        let before = rig.states()
        #expect(before == ["retired", "old", "current", "next", "standby"])
        for now: Int64 in [249, 100, 0, -5, .min] { #expect(rig.advance(now) == [] && rig.states() == before) }
        rig.book.activate(4, in: 0, now: 60)
        #expect(rig.advance(60) == ["retired 1", "activated 9"])
        rig.book.activate(2, in: 0, now: 55)
        #expect(rig.advance(55) == ["activated 2"] && rig.sending() == 2)
        #expect(rig.advance(250) == [])
        #expect(rig.advance(300) == ["activated 3", "retired 9"])
    }

    @Test("with the first retired, a clock that is set back does not leave the tunnel without an SA")
    func clockBackWithoutFirst() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", Self.schedule)], now: 350)
        _ = rig.advance(350)
        #expect(rig.advance(10) == [] && rig.sending() == 3)
        // A reload at that time keeps what is there.
        try rig.follow([T.tunnel("a", Self.schedule)], now: 10)
        #expect(rig.advance(10) == [] && rig.sending() == 3)
    }

    @Test("when the first is removed, what waits goes on to wait")
    func removeFirst() throws {
        var rig = try BookRig()
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1), T.child(2), T.child(3)])], now: 50)
        _ = rig.advance(50)
        rig.book.activate(3, in: 0, now: 60)
        _ = rig.advance(60)
        rig.book.remove(0, from: 0)
        #expect(rig.advance(61) == [] && rig.states() == ["standby", "standby", "current"])
        rig.book.activate(1, in: 0, now: 62)
        #expect(rig.advance(62) == ["activated 2"] && rig.states() == ["standby", "current", "old"])
        #expect(rig.book.child(with: SPI(rawValue: 0x2_0001), in: 0) == 0)
        #expect(rig.book.child(with: SPI(rawValue: 0x1_0000), in: 0) == nil)
    }

    // MARK: Limits

    @Test("at the soft limit the next that waits takes over; told once", arguments: [true, false])
    func softLimit(byPackets: Bool) throws {
        var rig = try BookRig()
        let soft = byPackets ? Lifetime.Limits(packets: 10) : Lifetime.Limits(octets: 1000)
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1)], lifetime: Lifetime(soft: soft))], now: 50)
        _ = rig.advance(50)
        #expect(try rig.send(10, 0) == 10 && rig.advance(51) == [])
        // The eleventh makes it known.
        #expect(try rig.send(1, 0) == 1)
        #expect(rig.advance(52) == ["softLimit outbound 0", "activated 1"])
        #expect(rig.states() == ["old", "current"] && rig.advance(53) == [])
        // With nobody left it goes on.
        #expect(try rig.send(11, 1) == 11)
        #expect(rig.advance(54) == ["softLimit outbound 1"] && rig.sending() == 1 && rig.advance(55) == [])
    }

    @Test("at the hard limit alone the next takes over too; without one nothing is sent, and that is told")
    func hardLimit() throws {
        var rig = try BookRig()
        let lifetime = Lifetime(hard: .init(packets: 5))
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1)], lifetime: lifetime)], now: 50)
        _ = rig.advance(50)
        #expect(try rig.send(9, 0) == 5)
        #expect(rig.advance(51) == ["hardLimit outbound 0", "activated 1"] && rig.sending() == 1)
        #expect(try rig.send(9, 1) == 5)
        #expect(rig.advance(52) == ["hardLimit outbound 1"])
        #expect(rig.book.states[0].outbound == nil && rig.book.states[0].refusal == .lifetimeExpired)
        #expect(rig.book.states[0].inbound.count == 2)
    }

    @Test("one whose time is to come takes over at the hard limit, not at the soft one")
    func hardLimitTakesNext() throws {
        var rig = try BookRig()
        let lifetime = Lifetime(soft: .init(packets: 3), hard: .init(packets: 6))
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1, notBefore: 1000)], lifetime: lifetime)], now: 50)
        _ = rig.advance(50)
        #expect(try rig.send(4, 0) == 4)
        #expect(rig.advance(51) == ["softLimit outbound 0"] && rig.sending() == 0)
        #expect(try rig.send(9, 0) == 2)
        #expect(rig.advance(52) == ["hardLimit outbound 0", "activated 1"] && rig.sending() == 1)
        // Its own time changes nothing any more.
        #expect(rig.advance(1000) == [])
    }

    @Test("seconds count from the first installation; the inbound SA ends with them")
    func seconds() throws {
        var rig = try BookRig()
        let lifetime = Lifetime(soft: .init(seconds: 10), hard: .init(seconds: 20))
        try rig.follow([T.tunnel("a", [T.child(0)], lifetime: lifetime)], now: 50)
        _ = rig.advance(50)
        #expect(rig.book.nextChange(after: 50) == 60 && rig.advance(59) == [])
        #expect(rig.advance(60) == ["softLimit outbound 0", "softLimit inbound 0"])
        #expect(try rig.accept(1...3, 0) == [nil, nil, nil])
        #expect(rig.book.nextChange(after: 60) == 70)
        #expect(rig.advance(70) == ["hardLimit outbound 0", "hardLimit inbound 0"])
        #expect(rig.book.states[0].outbound == nil && rig.book.states[0].refusal == .lifetimeExpired)
        #expect(try rig.accept(4...5, 0) == [.lifetimeExpired, .lifetimeExpired])
        #expect(rig.advance(71) == [] && rig.book.nextChange(after: 71) == nil)
    }

    @Test("an inbound SA at its limit is told of, and says nothing about what is sent under")
    func inboundLimit() throws {
        var rig = try BookRig()
        let lifetime = Lifetime(soft: .init(packets: 3), hard: .init(packets: 5))
        try rig.follow([T.tunnel("a", [T.child(0), T.child(1)], lifetime: lifetime)], now: 50)
        _ = rig.advance(50)
        #expect(
            try rig.accept(1...8, 0) == [nil, nil, nil, nil, nil, .lifetimeExpired, .lifetimeExpired, .lifetimeExpired])
        #expect(rig.advance(51) == ["softLimit inbound 0", "hardLimit inbound 0"] && rig.sending() == 0)
    }

    @Test("limits and dates at the ends of their types trap nowhere")
    func extremes() throws {
        for seconds: UInt64 in [0, 1, UInt64(Int64.max), .max] {
            for now: Int64 in [.min, -1, 0, 1_800_000_000, .max] {
                var rig = try BookRig()
                let limits = Lifetime.Limits(packets: .max, octets: .max, seconds: seconds)
                let children = [T.child(0), T.child(1, notBefore: .min), T.child(2, notBefore: .max)]
                try rig.follow(
                    [T.tunnel("a", children, lifetime: Lifetime(soft: limits, hard: limits))], now: now)
                _ = rig.advance(now)
                #expect(rig.sending() != nil || seconds == 0 || now == .max)
                for later: Int64 in [.min, 0, .max] {
                    _ = rig.book.nextChange(after: later)
                    _ = rig.advance(later)
                }
                rig.book.activate(0, in: 0, now: .max)
                _ = rig.advance(.max)
                #expect(rig.book.entries[0].children.filter { $0.state == .current }.count == 1)
            }
        }
    }
}
