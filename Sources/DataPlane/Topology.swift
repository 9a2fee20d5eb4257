import ESP
import IPsec
import Wire

/// What the data plane must know of a site: ports, ways, tunnels, policies. Checked by whoever made it.
public struct Topology: Sendable {
    /// Which side of the protection boundary a port is on (RFC 4301 section 3.1).
    public enum Role: String, Sendable { case protected, unprotected }

    /// A port.
    public struct Port: Sendable {
        public var name: String
        public var role: Role
        /// A PCI address or the arguments of a DPDK vdev.
        public var device: String
        public var addresses: [IPv4InterfaceAddress]
        public var mtuOctets: Int
        /// Whether ARP and echo for its own addresses are answered.
        public var localServices: Bool

        /// A port.
        public init(
            name: String, role: Role, device: String, addresses: [IPv4InterfaceAddress], mtuOctets: Int,
            localServices: Bool
        ) {
            self.name = name
            self.role = role
            self.device = device
            self.addresses = addresses
            self.mtuOctets = mtuOctets
            self.localServices = localServices
        }
    }

    /// A static route.
    public struct Route: Sendable {
        public var destination: IPv4Prefix
        public var via: IPv4Address
        /// Index of the port whose connected block holds `via`.
        public var port: Int

        /// A static route.
        public init(destination: IPv4Prefix, via: IPv4Address, port: Int) {
            self.destination = destination
            self.via = via
            self.port = port
        }
    }

    /// A static neighbour.
    public struct Neighbor: Sendable {
        /// Index of the port.
        public var port: Int
        public var address: IPv4Address
        public var mac: MACAddress

        /// A static neighbour.
        public init(port: Int, address: IPv4Address, mac: MACAddress) {
            self.port = port
            self.address = address
            self.mac = mac
        }
    }

    /// The outbound half of a tunnel.
    public struct Outbound: Sendable {
        public var spi: SPI
        public var key: KeyMaterial

        /// The outbound half of a tunnel.
        public init(spi: SPI, key: KeyMaterial) {
            self.spi = spi
            self.key = key
        }
    }

    /// The inbound half of a tunnel.
    public struct Inbound: Sendable {
        public var spi: SPI
        public var key: KeyMaterial
        /// A power of two, 64 to 8192.
        public var replayWindowPackets: Int

        /// The inbound half of a tunnel.
        public init(spi: SPI, key: KeyMaterial, replayWindowPackets: Int) {
            self.spi = spi
            self.key = key
            self.replayWindowPackets = replayWindowPackets
        }
    }

    /// A tunnel: one SA each way and the subnets they join.
    public struct Tunnel: Sendable {
        public var name: String
        public var localAddress: IPv4Address
        public var remoteAddress: IPv4Address
        public var localSubnets: [IPv4Prefix]
        public var remoteSubnets: [IPv4Prefix]
        public var outbound: Outbound
        public var inbound: Inbound
        /// Largest inner packet that fits the way to the remote address, in octets.
        public var innerMTUOctets: Int

        /// A tunnel.
        public init(
            name: String, localAddress: IPv4Address, remoteAddress: IPv4Address, localSubnets: [IPv4Prefix],
            remoteSubnets: [IPv4Prefix], outbound: Outbound, inbound: Inbound, innerMTUOctets: Int
        ) {
            self.name = name
            self.localAddress = localAddress
            self.remoteAddress = remoteAddress
            self.localSubnets = localSubnets
            self.remoteSubnets = remoteSubnets
            self.outbound = outbound
            self.inbound = inbound
            self.innerMTUOctets = innerMTUOctets
        }
    }

    public var ports: [Port]
    public var routes: [Route]
    public var neighbors: [Neighbor]
    public var tunnels: [Tunnel]
    /// Policies in front of the tunnels' own selectors, in the order they were written.
    public var policies: [Policy]

    /// A topology.
    public init(ports: [Port], routes: [Route], neighbors: [Neighbor], tunnels: [Tunnel], policies: [Policy]) {
        self.ports = ports
        self.routes = routes
        self.neighbors = neighbors
        self.tunnels = tunnels
        self.policies = policies
    }
}
