import DataPlane
import IPsec
import Testing

@testable import Gateway

@Suite("Where peers are, and how much their paths take")
struct TunnelPathTests {
    private typealias T = TestChildren

    private func rig(_ change: (inout Topology.Tunnel) -> Void = { _ in }) throws -> (BookRig, Topology) {
        var rig = try BookRig()
        var tunnels = [T.tunnel("a", [T.child(0), T.child(1)]), T.tunnel("b", [T.child(2)])]
        for index in tunnels.indices {
            tunnels[index].profile.natTraversal = true
            change(&tunnels[index])
        }
        try rig.follow(tunnels, now: 50)
        _ = rig.advance(50)
        return (rig, T.site(tunnels))
    }

    private func moved(_ rig: BookRig, to address: String, _ port: UInt16) throws -> WorkerNotice {
        let pair = try rig.pair(1)
        return .peerMoved(
            spi: 0x2_0001, association: pair.inbound.id, to: try #require(IPAddress(address)), port: port)
    }

    private func path(_ rig: BookRig, _ octets: Int) throws -> WorkerNotice {
        .pathMTU(spi: 0x1_0000, association: try rig.pair(0).outbound.id, octets: octets)
    }

    @Test("a peer that moved is where tables send to, once told, also after a reload")
    func moves() throws {
        var (rig, topology) = try rig()
        let before = rig.book
        let notice = try moved(rig, to: "198.51.100.7", 61000)
        let events = rig.book.heed(notice, topology, now: 60)
        #expect(events.map(\.kind) == [.peerMoved] && events.map(\.detail) == ["198.51.100.7:61000"])
        #expect(!rig.book.saysSame(as: before) && rig.book.heed(notice, topology, now: 61).isEmpty)
        let seen = rig.book.applied(to: topology).tunnels
        #expect(seen[0].remoteAddress == IPAddress("198.51.100.7") && seen[0].remotePort == 61000)
        #expect(seen[1].remoteAddress == topology.tunnels[1].remoteAddress && seen[1].remotePort == 4500)

        try rig.follow(topology.tunnels, now: 70)
        #expect(rig.book.entries[0].peer?.port == 61000)
        topology.tunnels[0].remoteAddress = IPAddress(v4: 0xc000_0299)
        try rig.follow(topology.tunnels, now: 70)
        #expect(rig.book.entries[0].peer == nil)
    }

    @Test("nobody moves a peer by an SA that is not the one it was told of")
    func strangers() throws {
        var (rig, topology) = try rig()
        var notice = try moved(rig, to: "198.51.100.7", 61000)
        notice.spi += 1
        #expect(rig.book.heed(notice, topology, now: 60).isEmpty && rig.book.entries.allSatisfy { $0.peer == nil })
    }

    @Test("a path narrows, never widens, and is forgotten after ten minutes")
    func narrows() throws {
        var (rig, topology) = try rig()
        #expect(rig.book.heed(try path(rig, 1400), topology, now: 60).map(\.detail) == ["1400 octets"])
        #expect(rig.book.heed(try path(rig, 1401), topology, now: 61).isEmpty)
        #expect(rig.book.applied(to: topology).tunnels.map(\.innerMTUOctets) == [1338, 1400])
        #expect(rig.book.heed(try path(rig, 1000), topology, now: 100).map(\.kind) == [.pathMTU])
        #expect(rig.book.applied(to: topology).tunnels[0].innerMTUOctets == 938)
        #expect(rig.book.nextChange(after: 100) == 700)
        _ = rig.advance(699)
        #expect(rig.book.entries[0].path?.mtuOctets == 1000)
        _ = rig.advance(700)
        #expect(rig.book.entries[0].path == nil && rig.book.applied(to: topology).tunnels[0].innerMTUOctets == 1400)
    }

    @Test("a path is never more than the site says")
    func bounded() throws {
        var (rig, topology) = try rig()
        _ = rig.book.heed(try path(rig, 9000), topology, now: 60)
        #expect(rig.book.applied(to: topology).tunnels[0].innerMTUOctets == 1400)
    }

    @Test("a tunnel that learns no path MTU learns none")
    func refuses() throws {
        var (rig, topology) = try rig { $0.learnsPathMTU = false }
        #expect(rig.book.heed(try path(rig, 1000), topology, now: 60).isEmpty && rig.book.entries[0].path == nil)
    }
}
