import ESP
import IPsec

@testable import DataPlane

/// What tunnels send and accept under: their first children, all numbers granted, shared out among `workers`.
func firstStates(_ topology: Topology, arena: AssociationArena, workers: Int) throws -> [TunnelState] {
    try topology.tunnels.enumerated().map { index, tunnel in
        let (outbound, inbound) = try pair(tunnel, arena: arena, owner: index % workers)
        return TunnelState(outbound: outbound, inbound: [inbound], owner: index % workers)
    }
}

/// The SAs of a tunnel's child; all numbers granted.
func pair(
    _ tunnel: Topology.Tunnel, child: Int = 0, arena: AssociationArena, owner: Int
) throws -> (OutboundAssociation, InboundAssociation) {
    let child = tunnel.children[child]
    let outbound = try arena.makeOutbound(
        child.outbound, profile: tunnel.profile, local: tunnel.localAddress, remote: tunnel.remoteAddress)
    outbound.reference.with { $0.grant(sequence: UInt64(UInt32.max), initializationVector: .max) }
    let inbound = try arena.makeInbound(
        child.inbound, profile: tunnel.profile, local: tunnel.localAddress, remote: tunnel.remoteAddress, owner: owner,
        behind: 0,
        allowance: Allowance())
    inbound.reference.with { $0.setCeiling(.max, notice: .max) }
    return (outbound, inbound)
}

extension ForwardingTables {
    /// Tables of a topology whose tunnels have their first children.
    convenience init(_ topology: Topology, workers: Int, name: String) throws {
        let states = try firstStates(topology, arena: AssociationArena(), workers: workers)
        try self.init(topology, states: states, name: name)
    }
}
