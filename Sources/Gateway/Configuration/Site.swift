import ESP
import IPsec

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

    /// Which side of the protection boundary a port is on (RFC 4301 section 3.1).
    public enum Role: String, Sendable { case protected, unprotected }

    /// One `[[port]]`.
    public struct Port: Sendable {
        public var name: String
        public var role: Role
        /// A PCI address or the arguments of a DPDK vdev.
        public var device: String
        public var addresses: [IPv4InterfaceAddress]
        public var mtuOctets: Int
        public var localServices: Bool
    }

    /// One `[[route]]`.
    public struct Route: Sendable {
        public var destination: IPv4Prefix
        public var via: IPv4Address
        /// Index of the port whose connected block holds `via`.
        public var port: Int
    }

    /// One `[[neighbor]]`.
    public struct Neighbor: Sendable {
        /// Index of the port.
        public var port: Int
        public var address: IPv4Address
        /// Six octets, first on the wire first.
        public var mac: [UInt8]
    }

    /// The outbound half of a tunnel.
    public struct OutboundSA: Sendable {
        public var spi: SPI
        public var key: KeyMaterial
    }

    /// The inbound half of a tunnel.
    public struct InboundSA: Sendable {
        public var spi: SPI
        public var key: KeyMaterial
        /// A power of two, 64 to 8192.
        public var replayWindowPackets: Int
    }

    /// One `[[tunnel]]`.
    public struct Tunnel: Sendable {
        public var name: String
        public var localAddress: IPv4Address
        public var remoteAddress: IPv4Address
        public var localSubnets: [IPv4Prefix]
        public var remoteSubnets: [IPv4Prefix]
        public var outbound: OutboundSA
        public var inbound: InboundSA
        /// Largest inner packet that fits the way to the remote address, in octets.
        public var innerMTUOctets: Int
    }

    public var gateway: Gateway
    public var dpdk: DPDK
    public var ports: [Port]
    public var routes: [Route]
    public var neighbors: [Neighbor]
    public var tunnels: [Tunnel]
    /// The `[[policy]]` entries, in the file's order; the tunnels' own selectors are not among them.
    public var policies: [Policy]
}
