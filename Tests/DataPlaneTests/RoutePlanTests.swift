import CDPDK
import IPsec
import SeededRandom
import Testing

@testable import DataPlane

/// What an address means, found by looking at everything: the judge of the compiled table.
private struct PlainRoutes {
    let topology: Topology

    /// An entry with its gateway spelled out.
    struct Way: Equatable {
        var kind: RouteEntry.Kind
        var port: Int
        var gateway: IPAddress?
    }

    /// Without tunnels: connected blocks and static routes, the longest wins, a connected block among equals.
    func inClear(_ address: IPAddress) -> (way: Way, length: Int)? {
        var best: (way: Way, length: Int)?
        for route in topology.routes where route.destination.contains(address) {
            if route.destination.length > best?.length ?? -1 {
                best = (
                    Way(kind: kind(route.port), port: route.port, gateway: route.via), route.destination.length
                )
            }
        }
        for (index, port) in topology.ports.enumerated() {
            for own in port.addresses where own.prefix.contains(address) {
                if own.prefix.length >= best?.length ?? -1 {
                    best = (Way(kind: kind(index), port: index, gateway: nil), own.prefix.length)
                }
            }
        }
        return best
    }

    func lookUp(_ address: IPAddress) -> Way {
        for (index, port) in topology.ports.enumerated() where port.addresses.contains(where: { isOwn($0, address) }) {
            return Way(kind: .local, port: index, gateway: nil)
        }
        for (index, port) in topology.ports.enumerated()
        where port.addresses.contains(where: { $0.broadcast == address }) {
            return Way(kind: .broadcast, port: index, gateway: nil)
        }
        let clear = inClear(address)
        let tunnel = topology.tunnels.flatMap(\.remoteSubnets).filter { $0.contains(address) }.map(\.length).max()
        let nowhere = Way(kind: .none, port: 0, gateway: nil)
        // A tunnel that is more specific leads to the boundary: never out of a protected port.
        if let tunnel, tunnel > clear?.length ?? -1 {
            return clear.flatMap { $0.way.kind == .unprotected ? $0.way : nil } ?? nowhere
        }
        return clear?.way ?? nowhere
    }

    /// RFC 4291 2.6.1: the first address of an IPv6 block is its routers'.
    private func isOwn(_ own: IPInterfaceAddress, _ address: IPAddress) -> Bool {
        own.address == address || address.family == .v6 && own.prefix.length < 127 && own.prefix.address == address
    }

    private func kind(_ port: Int) -> RouteEntry.Kind {
        topology.ports[port].role == .protected ? .protected : .unprotected
    }
}

/// The compiled tables of both families, asked one address at a time.
@safe
private final class CompiledRoutes {
    let plan: RoutePlan
    private let compiled: RoutePlan.Compiled
    private let fib: UnsafeMutableRawPointer
    private let fib6: UnsafeMutableRawPointer?

    init(_ topology: Topology) throws {
        plan = RoutePlan(topology)
        compiled = plan.compile()
        let name = TestEnvironment.name()
        unsafe fib = unsafe try compiled.makeFIB(name: name)
        unsafe fib6 = unsafe try compiled.makeFIB6(name: name)
    }

    deinit {
        unsafe cdpdk_fib_free(fib)
        if let fib6 = unsafe fib6 { unsafe cdpdk_fib6_free(fib6) }
    }

    var hasIPv6: Bool { unsafe fib6 != nil }

    func lookUp(_ address: IPAddress) -> PlainRoutes.Way {
        var hop: UInt64 = 0
        if var number = address.v4 {
            unsafe cdpdk_fib_lookup(fib, &number, &hop, 1)
        } else if let fib6 = unsafe fib6 {
            var octets = address.rawValue.bigEndian
            unsafe cdpdk_fib6_lookup(fib6, &octets, &hop, 1)
        }
        let entry = compiled.entries[Int(hop)]
        let gateway = entry.gateway == RouteEntry.onLink ? nil : plan.pinned[Int(entry.gateway)]
        precondition(gateway.map { $0.port == entry.port } ?? true)
        return PlainRoutes.Way(kind: entry.kind, port: Int(entry.port), gateway: gateway?.address)
    }
}

extension OnDPDK {
    @Suite("Routes")
    struct RoutePlanTests {
        init() throws { try TestEnvironment.start() }

        @Test("the table finds what looking at everything finds", arguments: seeds(1...40))
        func agreesWithPlain(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let site = try RandomSite.topology(&random), lift = Lift(base: random.pick([0, 16, 28, 61, 90]))
            for topology in [site, lift(site), lift.both(site)] {
                let plain = PlainRoutes(topology: topology), table = try CompiledRoutes(topology)
                #expect(table.hasIPv6 == topology.ports.contains { $0.addresses.contains { $0.address.family == .v6 } })
                let asked = RandomSite.addresses(&random, site)
                for address in asked + asked.map(lift.address) {
                    let found = table.lookUp(address), expected = plain.lookUp(address)
                    guard found == expected else {
                        Issue.record("seed \(seed): \(address) is \(found), not \(expected), in \(topology.summary)")
                        return
                    }
                }
            }
        }

        @Test("ESP goes where its outer destination is routed to, and only outside", arguments: seeds(1...200))
        func nextHops(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let site = try RandomSite.topology(&random), lift = Lift(base: random.pick([0, 16, 28, 61, 90]))
            let topology = lift.both(site)
            let plain = PlainRoutes(topology: topology)
            var plan = RoutePlan(topology)
            let asked = RandomSite.addresses(&random, site).prefix(200)
            for address in asked + asked.map(lift.address) {
                let hop = plan.nextHop(towards: address)
                let found = hop == RouteEntry.onLink ? nil : plan.pinned[Int(hop)]
                let way = plain.inClear(address)?.way
                let expected = way.flatMap { way in
                    way.kind == .unprotected
                        ? NeighborKey(port: UInt16(way.port), address: way.gateway ?? address) : nil
                }
                guard found == expected else {
                    Issue.record(
                        """
                        seed \(seed): ESP to \(address) by \(String(describing: found)), \
                        not \(String(describing: expected)), in \(topology.summary)
                        """
                    )
                    return
                }
            }
        }

        @Test("thousands of prefixes of every length, many of them below /24")
        func manyPrefixes() throws {
            var random = SplitMix64(seed: 24)
            var topology = try RandomSite.topology(&random)
            var routes: [IPPrefix: Topology.Route] = [:]
            for _ in 0..<6000 {
                let length = random.pick([8, 12, 16, 20, 24, 25, 26, 28, 29, 30, 31, 32])
                let block = IPPrefix(
                    containing: IPAddress(v4: 0x2000_0000 | UInt32(random.below(1 << 22))), length: length)
                let gateway = IPAddress(v4: 0x0a00_0100 + UInt32(random.below(200)))
                routes[block] = Topology.Route(
                    destination: block, via: gateway, port: random.below(topology.ports.count))
            }
            topology.routes += routes.values
            let lift = Lift(base: 28)
            let both = lift.both(topology)
            let plain = PlainRoutes(topology: both), table = try CompiledRoutes(both)
            for _ in 0..<300 {
                let address = IPAddress(v4: 0x2000_0000 | UInt32(random.below(1 << 22)))
                for address in [address, lift.address(address)] {
                    let found = table.lookUp(address), expected = plain.lookUp(address)
                    #expect(found == expected, "\(address)")
                }
            }
        }

        @Test(
            "at the edges of what an entry can say and of what DPDK counts tables in",
            arguments: (110...130).flatMap { [($0, 1), (2, $0)] } + (56...66).map { (2, $0) } + [(300, 300)])
        func narrowEntries(gateways: Int, parted: Int) throws {
            var topology = Topology(
                ports: [port("lan", .protected, ["10.0.0.0/31"]), port("wan", .unprotected, ["172.16.0.0/16"])],
                routes: [], neighbors: [], tunnels: [], policies: [])
            for number in 0..<max(gateways, parted) {
                topology.routes.append(
                    Topology.Route(
                        destination: IPPrefix(
                            containing: IPAddress(v4: 0x2000_0080 + UInt32(number) << 8),
                            length: number < parted ? 25 : 24),
                        via: IPAddress(v4: 0xac10_0001 + UInt32(number % gateways)), port: 1))
            }
            let plain = PlainRoutes(topology: topology), table = try CompiledRoutes(topology)
            for number in 0..<UInt32(max(gateways, parted)) {
                for last: UInt32 in [0, 127, 128, 255] {
                    let address = IPAddress(v4: 0x2000_0000 + number << 8 + last)
                    #expect(table.lookUp(address) == plain.lookUp(address), "\(address)")
                }
            }
        }

        @Test("link-local addresses are in no table")
        func linkLocal() throws {
            let site = Topology(
                ports: [
                    port("lan", .protected, ["fe80::1/64", "fd00:1::1/64"]), port("wan", .unprotected, ["fe80::1/64"]),
                ],
                routes: [Topology.Route(destination: prefix("fd00::/16"), via: address("fe80::9"), port: 1)],
                neighbors: [], tunnels: [], policies: [])
            let table = try CompiledRoutes(site)
            for text in ["fe80::1", "fe80::9", "fe80::"] {
                #expect(table.lookUp(address(text)).kind == .none, "\(text)")
            }
            #expect(table.lookUp(address("fd00:7::1")).gateway == address("fe80::9"))
        }

        @Test("every static neighbour has a place, however many there are")
        func staticNeighbors() throws {
            let ports = [port("lan", .protected, ["10.0.0.1/16"]), port("wan", .unprotected, ["192.0.2.1/24"])]
            let neighbors = (0..<NeighborTable.dynamicLimit + 1000).map { index in
                Topology.Neighbor(
                    port: 0, address: IPAddress(v4: 0x0a00_0100 + UInt32(index)),
                    mac: .init(rawValue: 0x0200_0000_0000 + UInt64(index)))
            }
            let topology = Topology(ports: ports, routes: [], neighbors: neighbors, tunnels: [], policies: [])
            let tables = try ForwardingTables(topology, workers: 1, name: TestEnvironment.name())
            let places = Set(tables.routing.pinned)
            let missing = neighbors.count { !places.contains(NeighborKey(port: 0, address: $0.address)) }
            #expect(missing == 0)
            #expect(Set(tables.routing.pinned).count == tables.routing.pinned.count)
        }
    }
}
