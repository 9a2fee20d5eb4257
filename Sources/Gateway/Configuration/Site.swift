import DataPlane

/// A site as its file describes it, checked and resolved: everything the gateway needs to know before the first packet.
///
/// Made by `SiteReader`; whoever holds one need not check again.
public struct Site: Sendable {
    /// The `[gateway]` table.
    public struct Gateway: Sendable {
        public var name: String
        public var stateDirectory: String
        public var controlSocket: String
        public var metricsAddress: String
    }

    /// The `[dpdk]` table.
    public struct DPDK: Sendable {
        /// One worker for each, in this order.
        public var workerCores: [Int]
        public var hugePages: Bool
        /// Nil: sized from ports, cores and SAs.
        public var memoryMiB: Int?
        public var ealArguments: [String]
    }

    /// The `[gateway]` table.
    public var gateway: Gateway
    /// The `[dpdk]` table.
    public var dpdk: DPDK
    /// Ports, routes, neighbours, tunnels and policies.
    public var topology: Topology
}
