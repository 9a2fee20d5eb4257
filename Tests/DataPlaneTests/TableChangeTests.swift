import ESP
import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Tables follow each other")
    struct TableChangeTests {
        init() throws { try TestEnvironment.start() }

        private static func site(children: Int = 2) throws -> Topology {
            let here = address("192.0.2.1"), there = address("192.0.2.2")
            let tunnels = try (0..<2).map { number in
                try tunnel(
                    number, local: here, remote: there, localSubnets: [prefix("10.0.1.0/24")],
                    remoteSubnets: [prefix("10.0.\(10 + number).0/24")]
                ).withChildren(children, number: number)
            }
            return Topology(
                ports: [port("lan", .protected, ["10.0.1.1/24"]), port("wan", .unprotected, ["192.0.2.1/24"])],
                routes: [], neighbors: [], tunnels: tunnels, policies: [])
        }

        @Test("what did not change is the same object, what did is another")
        func sharing() throws {
            let site = try TableChangeTests.site(), arena = try AssociationArena()
            let pairs = try ChildPairs(site, arena: arena, workers: 1), name = TestEnvironment.name()
            let first = try ForwardingTables(site, states: pairs.states(sending: [0, 0]), name: name)
            func follow(_ change: (inout Topology) throws -> Void, sending: [Int?] = [0, 0]) throws -> ForwardingTables
            {
                var next = site
                try change(&next)
                return try ForwardingTables(next, states: pairs.states(sending: sending), name: name, previous: first)
            }
            func expect(
                _ next: ForwardingTables, routes: Bool, policies: Bool, _ what: Comment,
                at location: SourceLocation = #_sourceLocation
            ) {
                #expect((next.routing === first.routing) == routes, what, sourceLocation: location)
                #expect((next.policies === first.policies) == policies, what, sourceLocation: location)
                #expect(next.generation == 2, sourceLocation: location)
            }
            expect(try follow({ _ in }, sending: [1, nil]), routes: true, policies: true, "SAs")
            expect(
                try follow {
                    $0.tunnels[0].innerMTUOctets = 1300
                    $0.tunnels[0].name = "renamed"
                }, routes: true, policies: true, "MTU")
            let discard = Policy(
                action: .discard, direction: .outbound,
                selector: TrafficSelector(source: prefix("0.0.0.0/0"), destination: prefix("10.0.11.7/32")), priority: 1
            )
            expect(try follow { $0.policies = [discard] }, routes: true, policies: false, "a policy")
            expect(
                try follow { $0.tunnels[0].localSubnets = [prefix("10.0.0.0/16")] }, routes: true, policies: false,
                "local subnets")
            expect(
                try follow { $0.tunnels[0].remoteSubnets = [prefix("10.9.0.0/16")] }, routes: false, policies: false,
                "remote subnets")
            expect(
                try follow { $0.tunnels[0].remoteAddress = address("192.0.2.3") }, routes: false, policies: true,
                "the peer's address")
            expect(
                try follow {
                    $0.neighbors = [
                        .init(port: 1, address: address("192.0.2.2"), mac: .init(rawValue: 0x0200_0000_0099))
                    ]
                }, routes: false, policies: true, "a neighbour")
            expect(
                try follow {
                    $0.routes = [.init(destination: prefix("10.7.0.0/16"), via: address("10.0.1.9"), port: 0)]
                }, routes: false, policies: true, "a route")
            expect(
                try follow { $0.ports[0].addresses = [] }, routes: false, policies: true, "a port's addresses")
        }

        /// Objects that should be gone, or be there.
        private struct Watch {
            weak var tables: ForwardingTables?
            weak var routing: RouteTable?
            weak var policies: PolicyTable?
            weak var outbound: OutboundAssociation?

            var isThere: Bool { tables != nil && routing != nil && policies != nil && outbound != nil }
            var isGone: Bool { tables == nil && routing == nil && policies == nil && outbound == nil }
        }

        /// Publishes a site with SAs of its own that nobody else keeps.
        private static func publish(_ site: Topology, _ rig: Rig) throws -> (Watch, ids: Set<Int>) {
            let states = try firstStates(site, arena: rig.group.arena, workers: 1)
            let tables = try rig.publish(site, states)
            let ids = states.flatMap { [$0.outbound?.id, $0.inbound[0].id].compactMap { $0 } }
            return (
                Watch(
                    tables: tables, routing: tables.routing, policies: tables.policies, outbound: states[0].outbound),
                Set(ids)
            )
        }

        /// Another site: nothing of its tables can be shared.
        private static func variant(_ number: Int) throws -> Topology {
            var site = try site(children: 1)
            site.routes = [.init(destination: prefix("10.7.\(number).0/24"), via: address("10.0.1.9"), port: 0)]
            site.policies = [
                Policy(
                    action: .discard, direction: .outbound,
                    selector: TrafficSelector(source: prefix("0.0.0.0/0"), destination: prefix("10.9.9.\(number)/32")),
                    priority: 1)
            ]
            return site
        }

        @Test("old tables, and SAs that only they name, go when the last worker has gone over", arguments: [1, 2])
        func reclaimed(workers: Int) throws {
            let rig = try Rig(try TableChangeTests.site(children: 1), workers: workers)
            func publish(_ number: Int) throws -> (Watch, ids: Set<Int>) {
                try TableChangeTests.publish(try TableChangeTests.variant(number), rig)
            }
            rig.poll(now: 0)
            let (first, firstIDs) = try publish(1)
            rig.poll(now: 1)
            #expect(rig.group.reclaim() && first.isThere)
            // Two that follow without a round between them: the first of them no worker ever has.
            let (second, secondIDs) = try publish(2)
            let (third, _) = try publish(3)
            #expect(!rig.group.reclaim() && first.isThere && second.isThere && third.isThere)
            if workers == 2 {
                rig.first.poll(now: 2)
                #expect(!rig.group.reclaim() && first.isThere && second.isThere)
                rig.second?.poll(now: 2)
            } else {
                rig.first.poll(now: 2)
            }
            #expect(first.isThere, "nobody has reclaimed yet")
            #expect(rig.group.reclaim() && first.isGone && second.isGone && third.isThere)
            // Their numbers are free again, and the next SAs have them.
            let site = rig.group.tables.topology
            let taken = try (0..<4).map { _ in try pair(site.tunnels[0], arena: rig.group.arena, owner: 0) }
            let ids = Set(taken.flatMap { [$0.0.id, $0.1.id] })
            #expect(ids == firstIDs.union(secondIDs) && ids.count == 8)
            #expect(rig.group.reclaim() && third.isThere)
            _ = rig.close("reclaim")
        }

        @Test("an SA that both tables name is one and goes on", arguments: [1, 2])
        func kept(workers: Int) throws {
            let site = try TableChangeTests.site()
            var pairs: ChildPairs?
            let rig = try Rig(site, workers: workers) { arena in
                let made = try ChildPairs(site, arena: arena, workers: workers)
                pairs = made
                return made.states(sending: [0, 0])
            }
            let made = try #require(pairs)
            func send(_ count: Int, _ tunnel: Int) {
                let packet = Packet.IPv4(
                    source: 0x0a00_0107, destination: 0x0a00_0a05 + UInt32(tunnel) << 8, payload: [1, 2, 3])
                rig.feed(Array(repeating: Packet.frame(to: 0, packet.octets), count: count), port: 0)
                for now: UInt64 in 0..<3 { rig.poll(now: now) }
            }
            func packets(_ tunnel: Int, _ child: Int) -> UInt64 {
                made.outbound[tunnel][child].reference.with { $0.packets }
            }
            for tunnel in 0..<2 { send(5, tunnel) }
            var variant = try TableChangeTests.variant(1)
            variant.tunnels = site.tunnels
            try rig.publish(variant, made.states(sending: [0, 1]))
            for tunnel in 0..<2 { send(7, tunnel) }
            #expect(packets(0, 0) == 12 && packets(1, 0) == 5 && packets(1, 1) == 7)
            try rig.publish(variant, made.states(sending: [nil, 0]))
            for tunnel in 0..<2 { send(3, tunnel) }
            #expect(packets(0, 0) == 12 && packets(1, 0) == 8)
            #expect(rig.group.counts.drops[.noOutboundSA] == 3)
            let sent = rig.take(1)
            #expect(sent.count == 12 + 15)
            _ = rig.close("kept")
        }

        @Test("a tunnel whose SA is over says so")
        func refusal() throws {
            let site = try TableChangeTests.site(children: 1)
            let rig = try Rig(site)
            var states = rig.group.tables.states
            (states[0].outbound, states[0].refusal) = (nil, .lifetimeExpired)
            try rig.publish(site, states)
            let packet = Packet.IPv4(source: 0x0a00_0107, destination: 0x0a00_0a05, payload: [1])
            rig.feed([Packet.frame(to: 0, packet.octets)], port: 0)
            rig.poll(now: 0)
            #expect(rig.group.counts.drops[.lifetimeExpired] == 1 && rig.take(1).isEmpty)
            _ = rig.close("refusal")
        }
    }
}
