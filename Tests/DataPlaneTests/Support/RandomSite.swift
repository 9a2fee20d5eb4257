import ESP
import IPsec
import SeededRandom

@testable import DataPlane

/// Sites in a small world, so that blocks, routes, tunnels and policies lie over and under each other.
enum RandomSite {
    /// A block within 10.0.0.0/10 or so; often one that holds another's addresses.
    static func block(_ random: inout SplitMix64, lengths: ClosedRange<Int> = 0...32) -> IPPrefix {
        IPPrefix(containing: address(&random), length: Int.random(in: lengths, using: &random))
    }

    /// Few bits vary, and they are spread over the address.
    static func address(_ random: inout SplitMix64) -> IPAddress {
        IPAddress(v4: 0x0a00_0000 | UInt32(truncatingIfNeeded: random.next()) & 0x0030_0fc7)
    }

    /// Two to four ports with blocks apart from each other, routes and tunnels anywhere; no policies.
    static func topology(_ random: inout SplitMix64) throws -> Topology {
        var ports: [Topology.Port] = []
        var taken: [IPPrefix] = []
        for index in 0..<2 + random.below(3) {
            let role: Topology.Role =
                index == 0 ? .protected : index == 1 ? .unprotected : random.pick([.protected, .unprotected])
            var described = port("p\(index)", role, [])
            for _ in 0..<1 + random.below(2) {
                let own = IPInterfaceAddress(
                    address: address(&random), length: Int.random(in: 20...32, using: &random))
                guard !taken.contains(where: { $0.overlaps(own.prefix) }) else { continue }
                taken.append(own.prefix)
                described.addresses.append(own)
            }
            ports.append(described)
        }
        var routes: [IPPrefix: Topology.Route] = [:]
        for _ in 0..<random.below(12) {
            let port = random.below(ports.count), destination = block(&random)
            routes[destination] = Topology.Route(destination: destination, via: address(&random), port: port)
        }
        // One key pair serves all: what is under test here never encrypts.
        let keys = try (key(1), key(2))
        let tunnels = try (0..<random.below(8)).map { number in
            try tunnel(
                number, local: address(&random), remote: address(&random),
                localSubnets: (0..<1 + random.below(3)).map { _ in block(&random, lengths: 4...32) },
                remoteSubnets: (0..<1 + random.below(3)).map { _ in block(&random, lengths: 4...32) }, keys: keys)
        }
        return Topology(
            ports: ports, routes: routes.values.sorted { $0.destination.description < $1.destination.description },
            neighbors: [], tunnels: tunnels, policies: [])
    }

    /// Addresses worth asking about: the edges of every block and what lies beside them, and any.
    static func addresses(_ random: inout SplitMix64, _ topology: Topology) -> [IPAddress] {
        let blocks =
            topology.routes.map(\.destination) + topology.tunnels.flatMap { $0.remoteSubnets + $0.localSubnets }
            + topology.ports.flatMap(\.addresses).map(\.prefix)
        let edges = blocks.flatMap { block -> [UInt32] in
            let first = block.address.v4Number, last = first | ~UInt32(truncatingIfNeeded: block.mask)
            return [first, first &- 1, first &+ 1, last, last &- 1, last &+ 1]
        }
        let own = topology.ports.flatMap(\.addresses).flatMap { [$0.address, $0.broadcast].compactMap(\.self) }
        return edges.map(IPAddress.init) + own + (0..<200).map { _ in address(&random) }
            + (0..<50).map { _ in IPAddress(v4: UInt32(truncatingIfNeeded: random.next())) }
    }

    /// As `TrafficSelector` may be: ports only where a protocol has them.
    static func selector(_ random: inout SplitMix64) -> TrafficSelector {
        var selector = TrafficSelector(
            source: block(&random, lengths: 0...32), destination: block(&random, lengths: 0...32))
        if random.once(in: 3) { selector.source = IPPrefix(containing: selector.source.address, length: 0) }
        if random.once(in: 3) { selector.destination = IPPrefix(containing: selector.destination.address, length: 0) }
        selector.ipProtocol = random.pick([nil, nil, 0, 1, 6, 17, 50, 132, 255])
        if let number = selector.ipProtocol, [6, 17, 132].contains(number) {
            if random.once(in: 2) { selector.sourcePorts = range(&random) }
            if random.once(in: 2) { selector.destinationPorts = range(&random) }
        }
        if selector.ipProtocol == 1, random.once(in: 2) {
            selector.icmpMessages = random.pick([0x0800...0x08ff, 0x0301...0x0304])
        }
        return selector
    }

    private static func range(_ random: inout SplitMix64) -> ClosedRange<UInt16> {
        let bounds = [transportPort(&random), transportPort(&random)].sorted()
        return bounds[0]...(random.once(in: 3) ? bounds[0] : bounds[1])
    }

    static func transportPort(_ random: inout SplitMix64) -> UInt16 {
        random.pick([0, 1, 500, 501, 1023, 4500, 0x7fff, 0x8000, 0xfffe, 0xffff])
    }
}

extension Topology {
    /// What a failed test shows: no keys.
    var summary: String {
        """
        ports \(ports.map { "\($0.name) \($0.role) \($0.addresses)" }), \
        routes \(routes.map { "\($0.destination) via \($0.via) port \($0.port)" }), \
        tunnels \(tunnels.map { "\($0.localSubnets) to \($0.remoteSubnets)" }), policies \(policies)
        """
    }
}
