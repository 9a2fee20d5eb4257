import ESP
import IPsec
import Testing

@testable import DataPlane

extension Topology.Tunnel {
    /// The same with `count` children in all, whose SPIs and keys follow from the tunnel's number; the other side of it
    /// has the same number and `isReversed`.
    func withChildren(_ count: Int, number: Int, isReversed: Bool = false) throws -> Topology.Tunnel {
        var tunnel = self
        for child in 1..<count {
            let there = SPI(rawValue: 0x2000 + UInt32(number * 0x100 + child))
            let back = SPI(rawValue: 0x20_0000 + UInt32(number * 0x100 + child))
            let first = UInt64(100_000 + number * 1000 + child * 2), keys = try (key(first), key(first + 1))
            tunnel.children.append(
                Topology.Child(
                    outbound: Topology.Outbound(
                        spi: isReversed ? back : there, key: isReversed ? keys.1 : keys.0),
                    inbound: Topology.Inbound(
                        spi: isReversed ? there : back, key: isReversed ? keys.0 : keys.1,
                        replayWindowPackets: children[0].inbound.replayWindowPackets)))
        }
        return tunnel
    }
}

/// The SAs of all children of a topology's tunnels, made once and told to tables as a test likes.
struct ChildPairs {
    let outbound: [[OutboundAssociation]]
    let inbound: [[InboundAssociation]]
    let owners: [Int]

    init(_ topology: Topology, arena: AssociationArena, workers: Int) throws {
        owners = topology.tunnels.indices.map { $0 % workers }
        let pairs = try topology.tunnels.enumerated().map { index, tunnel in
            try tunnel.children.indices.map {
                try pair(tunnel, child: $0, arena: arena, owner: index % workers)
            }
        }
        outbound = pairs.map { $0.map(\.0) }
        inbound = pairs.map { $0.map(\.1) }
    }

    /// Each tunnel sends under the child that `sending` says and accepts all those of `accepting`.
    func states(sending: [Int?], accepting: [[Int]]) -> [TunnelState] {
        owners.indices.map { tunnel in
            TunnelState(
                outbound: sending[tunnel].map { outbound[tunnel][$0] },
                inbound: accepting[tunnel].map { inbound[tunnel][$0] }, owner: owners[tunnel])
        }
    }

    /// Likewise, and accepts all.
    func states(sending: [Int?]) -> [TunnelState] {
        states(sending: sending, accepting: inbound.map { Array($0.indices) })
    }
}
