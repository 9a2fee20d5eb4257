/// What follows from a topology alone, whatever its SAs are: routes and SPD.
public final class TopologyTables: Sendable {
    let topology: Topology
    let generation: UInt64
    let routing: RouteTable
    let routeBasis: RouteTable.Basis
    let policies: PolicyTable
    let policyBasis: PolicyTable.Basis

    /// Builds them, or takes over what `previous` has and did not change. `name` as for `ForwardingTables`. Any thread
    /// may.
    public init(_ topology: Topology, name: String, previous: ForwardingTables? = nil) throws(DataPlaneError) {
        let generation = (previous?.generation ?? 0) + 1, unique = "\(name)-\(generation)"
        self.topology = topology
        self.generation = generation
        routeBasis = RouteTable.Basis(topology)
        policyBasis = PolicyTable.Basis(topology)
        if let previous, previous.built.routeBasis == routeBasis {
            routing = previous.routing
        } else {
            routing = try RouteTable(topology, name: unique)
        }
        if let previous, previous.built.policyBasis == policyBasis {
            policies = previous.policies
        } else {
            policies = try PolicyTable(topology, name: unique, previous: previous?.policies)
        }
    }
}
