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
    /// Nil for a site without IPv6.
    let fib6: UnsafeMutableRawPointer?
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
        let fib = try unsafe routes.makeFIB(name: name)
        do throws(DataPlaneError) {
            unsafe fib6 = try unsafe routes.makeFIB6(name: name)
        } catch {
            unsafe cdpdk_fib_free(fib)
            throw error
        }
        unsafe self.fib = unsafe fib
    }

    deinit {
        unsafe cdpdk_fib_free(fib)
        if let fib6 = unsafe fib6 { unsafe cdpdk_fib6_free(fib6) }
    }

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
