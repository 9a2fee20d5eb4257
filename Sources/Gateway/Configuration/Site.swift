import DataPlane

/// A site as its file describes it, checked and resolved: everything the gateway needs to know before the first packet.
///
/// Made by `SiteReader`; whoever holds one need not check again.
public struct Site: Sendable {
    /// The `[gateway]` table.
    public struct Gateway: Sendable {
        /// In logs.
        public var name: String
        /// What must survive a restart lives there.
        public var stateDirectory: String
        /// Path of the control socket.
        public var controlSocket: String
        /// Address and TCP port, "127.0.0.1:9464" or "[::1]:9464".
        public var metricsAddress: String
        /// A program's absolute path and its arguments, run at events; empty: none.
        public var hookCommand: [String] = []
    }

    /// The `[dpdk]` table.
    public struct DPDK: Sendable {
        /// One worker for each, in this order.
        public var workerCores: [Int]
        /// False: ordinary memory.
        public var hugePages: Bool
        /// Nil: sized from ports, cores and SAs.
        public var memoryMiB: Int?
        /// Crypto devices, PCI addresses or vdevs; each is EAL's as well.
        public var cryptoDevices: [String] = []
        /// Passed through to EAL.
        public var ealArguments: [String]
        /// What workers do while nothing comes.
        public var idle = WorkerIdle.poll
    }

    /// The `[gateway]` table.
    public var gateway: Gateway
    /// The `[dpdk]` table.
    public var dpdk: DPDK
    /// Ports, routes, neighbours, tunnels and policies.
    public var topology: Topology
}
