import CDPDK
import IPsec

/// What a destination address means here.
struct RouteEntry: BitwiseCopyable {
    enum Kind: UInt8 {
        /// No port leads there in clear; a tunnel may.
        case none
        /// One of the gateway's own addresses.
        case local
        /// A directed broadcast of a connected block.
        case broadcast
        /// Out of a protected port: does not cross the boundary.
        case protected
        /// Out of an unprotected port: only with a verdict of the SPD.
        case unprotected
    }

    var kind: Kind
    /// Index of the port out; of its own port for `.local`.
    var port: UInt16
    /// Index of the gateway among the neighbours, or `RouteEntry.onLink` when the destination itself is the next hop.
    var gateway: UInt32

    static let onLink: UInt32 = .max
    static let nowhere = RouteEntry(kind: .none, port: 0, gateway: onLink)
}

/// The route table: DPDK's, and what its numbers mean.
@safe
final class RouteTable: @unchecked Sendable {
    let fib: UnsafeMutableRawPointer
    let entries: FixedArray<RouteEntry>
    /// Neighbours that routes and tunnels point at, in the order of their indices.
    let pinned: [NeighborKey]
    /// Towards each tunnel's remote address: index among the neighbours, `RouteEntry.onLink` when no way leads there.
    let nextHops: [UInt32]

    /// `name` must be unique among the tables that live.
    init(_ topology: Topology, name: String) throws(DataPlaneError) {
        var plan = RoutePlan(topology)
        let routes = plan.compile()
        nextHops = topology.tunnels.map { plan.nextHop(towards: $0.remoteAddress) }
        pinned = plan.pinned
        entries = FixedArray(routes.entries)
        unsafe fib = try unsafe routes.makeFIB(name: name)
    }

    deinit { unsafe cdpdk_fib_free(fib) }

    /// What of a topology decides what is in it.
    struct Basis: Equatable {
        let ports: [Topology.Port]
        let routes: [Topology.Route]
        let neighbors: [Topology.Neighbor]
        let remotes: [IPAddress]
        let subnets: [[IPPrefix]]

        init(_ topology: Topology) {
            ports = topology.ports
            routes = topology.routes
            neighbors = topology.neighbors
            remotes = topology.tunnels.map(\.remoteAddress)
            subnets = topology.tunnels.map(\.remoteSubnets)
        }
    }
}

/// The SPD: a classifier for each direction.
@safe
final class PolicyTable: @unchecked Sendable {
    let outbound: UnsafeMutableRawPointer
    let inbound: UnsafeMutableRawPointer

    /// `name` must be unique among the tables that live.
    init(_ topology: Topology, name: String) throws(DataPlaneError) {
        let plan = PolicyPlan(topology)
        let outbound = try unsafe plan.classifier(.outbound, name: name)
        do throws(DataPlaneError) {
            unsafe inbound = try unsafe plan.classifier(.inbound, name: name)
        } catch {
            unsafe cdpdk_classifier_free(outbound)
            throw error
        }
        unsafe self.outbound = unsafe outbound
    }

    deinit {
        unsafe cdpdk_classifier_free(outbound)
        unsafe cdpdk_classifier_free(inbound)
    }

    /// What of a topology decides what is in it.
    struct Basis: Equatable {
        let policies: [Policy]
        let local: [[IPPrefix]]
        let remote: [[IPPrefix]]

        init(_ topology: Topology) {
            policies = topology.policies
            local = topology.tunnels.map(\.localSubnets)
            remote = topology.tunnels.map(\.remoteSubnets)
        }
    }
}
