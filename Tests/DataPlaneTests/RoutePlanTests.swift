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
        var gateway: UInt32?
    }

    /// Without tunnels: connected blocks and static routes, the longest wins, a connected block among equals.
    func inClear(_ address: IPAddress) -> (way: Way, length: Int)? {
        var best: (way: Way, length: Int)?
        for route in topology.routes where route.destination.contains(address) {
            if route.destination.length > best?.length ?? -1 {
                best = (
                    Way(kind: kind(route.port), port: route.port, gateway: route.via.v4Number), route.destination.length
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
        for (index, port) in topology.ports.enumerated() where port.addresses.contains(where: { $0.address == address })
        {
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

    private func kind(_ port: Int) -> RouteEntry.Kind {
        topology.ports[port].role == .protected ? .protected : .unprotected
    }
}

extension OnDPDK {
    @Suite("Routes")
    struct RoutePlanTests {
        init() throws { try TestEnvironment.start() }

        @Test("the table finds what looking at everything finds", arguments: seeds(1...40))
        func agreesWithPlain(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let topology = try RandomSite.topology(&random)
            let plain = PlainRoutes(topology: topology)
            let plan = RoutePlan(topology)
            let compiled = plan.compile()
            let fib = unsafe try compiled.makeFIB(name: TestEnvironment.name())
            defer { unsafe cdpdk_fib_free(fib) }

            for address in RandomSite.addresses(&random, topology) {
                var number = address.v4Number
                var hop: UInt64 = 0
                unsafe cdpdk_fib_lookup(fib, &number, &hop, 1)
                let entry = compiled.entries[Int(hop)]
                let gateway = entry.gateway == RouteEntry.onLink ? nil : plan.pinned[Int(entry.gateway)]
                let found = PlainRoutes.Way(kind: entry.kind, port: Int(entry.port), gateway: gateway?.address)
                let expected = plain.lookUp(address)
                guard found == expected, gateway.map({ $0.port == entry.port }) ?? true else {
                    Issue.record("seed \(seed): \(address) is \(found), not \(expected), in \(topology.summary)")
                    return
                }
            }
        }

        @Test("ESP goes where its outer destination is routed to, and only outside", arguments: seeds(1...200))
        func nextHops(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let topology = try RandomSite.topology(&random)
            let plain = PlainRoutes(topology: topology)
            var plan = RoutePlan(topology)
            for address in RandomSite.addresses(&random, topology).prefix(200) {
                let hop = plan.nextHop(towards: address)
                let found = hop == RouteEntry.onLink ? nil : plan.pinned[Int(hop)]
                let way = plain.inClear(address)?.way
                let expected = way.flatMap { way in
                    way.kind == .unprotected
                        ? NeighborKey(port: UInt16(way.port), address: way.gateway ?? address.v4Number) : nil
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
            let plan = RoutePlan(topology)
            let compiled = plan.compile()
            let fib = unsafe try compiled.makeFIB(name: TestEnvironment.name())
            defer { unsafe cdpdk_fib_free(fib) }
            let plain = PlainRoutes(topology: topology)
            for _ in 0..<300 {
                let address = IPAddress(v4: 0x2000_0000 | UInt32(random.below(1 << 22)))
                var number = address.v4Number
                var hop: UInt64 = 0
                unsafe cdpdk_fib_lookup(fib, &number, &hop, 1)
                let entry = compiled.entries[Int(hop)], expected = plain.lookUp(address)
                #expect(entry.kind == expected.kind && Int(entry.port) == expected.port, "\(address)")
                let gateway = entry.gateway == RouteEntry.onLink ? nil : plan.pinned[Int(entry.gateway)].address
                #expect(gateway == expected.gateway, "\(address)")
            }
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
            let missing = neighbors.count { !places.contains(NeighborKey(port: 0, address: $0.address.v4Number)) }
            #expect(missing == 0)
            #expect(Set(tables.routing.pinned).count == tables.routing.pinned.count)
        }
    }
}
