import ESP
import IPsec
import Wire

/// What the data plane must know of a site: ports, ways, tunnels, policies. Checked by whoever made it.
public struct Topology: Sendable {
    /// What the port to the kernel is called.
    public static let puntName = "punt"

    /// Which side of the protection boundary a port is on (RFC 4301 section 3.1). One of role `punt` is on neither: it
    /// leads to the kernel of this host, for what the gateway does not answer itself, IKE above all.
    public enum Role: String, Sendable { case protected, unprotected, punt }

    /// A port.
    public struct Port: Equatable, Sendable {
        /// The name in the site.
        public var name: String
        /// Its side of the boundary.
        public var role: Role
        /// A PCI address or the arguments of a DPDK vdev.
        public var device: String
        /// Its own addresses with the blocks they are connected to.
        public var addresses: [IPInterfaceAddress]
        /// The largest IP packet on its link.
        public var mtuOctets: Int
        /// Whether ARP, neighbour discovery and echo for its own addresses are answered.
        public var localServices: Bool
        /// The VLAN that its frames are tagged with (IEEE 802.1Q), 1 to 4094; nil for untagged frames.
        public var vlan: UInt16?

        /// A port.
        public init(
            name: String, role: Role, device: String, addresses: [IPInterfaceAddress], mtuOctets: Int,
            localServices: Bool, vlan: UInt16? = nil
        ) {
            self.name = name
            self.role = role
            self.device = device
            self.addresses = addresses
            self.mtuOctets = mtuOctets
            self.localServices = localServices
            self.vlan = vlan
        }
    }

    /// A static route.
    public struct Route: Equatable, Sendable {
        /// The block it is for.
        public var destination: IPPrefix
        /// The next hop.
        public var via: IPAddress
        /// Index of the port whose connected block holds `via`.
        public var port: Int

        /// A static route.
        public init(destination: IPPrefix, via: IPAddress, port: Int) {
            self.destination = destination
            self.via = via
            self.port = port
        }
    }

    /// A static neighbour.
    public struct Neighbor: Equatable, Sendable {
        /// Index of the port.
        public var port: Int
        /// Its address.
        public var address: IPAddress
        /// Its MAC address.
        public var mac: MACAddress

        /// A static neighbour.
        public init(port: Int, address: IPAddress, mac: MACAddress) {
            self.port = port
            self.address = address
            self.mac = mac
        }
    }

    /// The outbound half of a tunnel.
    public struct Outbound: Sendable {
        /// Names the SA at its receiver.
        public var spi: SPI
        /// AES key and salt.
        public var key: KeyMaterial

        /// The outbound half of a tunnel.
        public init(spi: SPI, key: KeyMaterial) {
            self.spi = spi
            self.key = key
        }
    }

    /// The inbound half of a tunnel.
    public struct Inbound: Sendable {
        /// Names the SA at its receiver.
        public var spi: SPI
        /// AES key and salt.
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

    /// A pair of SAs of a tunnel, one each way: its first keys, or those that follow.
    public struct Child: Sendable {
        /// When both ends begin to send under it, in seconds since 1970; nil when nobody has said. It is accepted from
        /// the beginning, because clocks differ.
        public var notBefore: Int64?
        /// The SA towards the peer.
        public var outbound: Outbound
        /// The SA from the peer.
        public var inbound: Inbound

        /// A pair.
        public init(notBefore: Int64? = nil, outbound: Outbound, inbound: Inbound) {
            self.notBefore = notBefore
            self.outbound = outbound
            self.inbound = inbound
        }
    }

    /// Whether a NIC is to do a tunnel's cryptography, each way.
    public struct Offload: Hashable, Sendable {
        /// Of packets to the peer, and from it.
        public var outbound = OffloadChoice.off, inbound = OffloadChoice.off

        /// Software does.
        public init() {}

        /// A NIC does, where it can.
        public static let wanted = {
            var offload = Offload()
            (offload.outbound, offload.inbound) = (.auto, .auto)
            return offload
        }()

        /// Whether a NIC's engine is to do one direction at least.
        public var wantsNIC: Bool { [outbound, inbound].contains { $0 == .auto || $0 == .required } }

        /// Of one direction.
        public subscript(_ direction: Direction) -> OffloadChoice {
            get { direction == .outbound ? outbound : inbound }
            set { if direction == .outbound { outbound = newValue } else { inbound = newValue } }
        }
    }

    /// A tunnel: the subnets it joins and the SAs it does so with.
    public struct Tunnel: Sendable {
        /// The name in the site.
        public var name: String
        /// Outer address of this end.
        public var localAddress: IPAddress
        /// Outer address of the peer.
        public var remoteAddress: IPAddress
        /// UDP port of the peer, where ESP travels in UDP (RFC 3948).
        public var remotePort: UInt16 = 4500
        /// Whether the peer was found elsewhere than the site says.
        public var peerHasMoved = false
        /// Whether a NIC is to do its cryptography, each way.
        public var offload = Offload()
        /// Inner addresses on this side.
        public var localSubnets: [IPPrefix]
        /// Inner addresses on the peer's side.
        public var remoteSubnets: [IPPrefix]
        /// At least one, in the order in which they follow each other.
        public var children: [Child]
        /// How its SAs treat packets.
        public var profile: AssociationProfile
        /// Of each of its SAs.
        public var lifetime: Lifetime
        /// Whether the segment size that inner TCP connections agree on is lowered to what fits.
        public var clampsMSS: Bool
        /// Whether ICMP errors may lower `innerMTUOctets`.
        public var learnsPathMTU: Bool
        /// Largest inner packet that fits the way to the remote address, in octets.
        public var innerMTUOctets: Int

        /// A tunnel.
        public init(
            name: String, localAddress: IPAddress, remoteAddress: IPAddress, localSubnets: [IPPrefix],
            remoteSubnets: [IPPrefix], children: [Child], profile: AssociationProfile = AssociationProfile(),
            lifetime: Lifetime = Lifetime(), clampsMSS: Bool = false, learnsPathMTU: Bool = true, innerMTUOctets: Int
        ) {
            self.name = name
            self.localAddress = localAddress
            self.remoteAddress = remoteAddress
            self.localSubnets = localSubnets
            self.remoteSubnets = remoteSubnets
            self.children = children
            self.profile = profile
            self.lifetime = lifetime
            self.clampsMSS = clampsMSS
            self.learnsPathMTU = learnsPathMTU
            self.innerMTUOctets = innerMTUOctets
        }
    }

    /// Ports; others name them by index.
    public var ports: [Port]
    /// Static routes.
    public var routes: [Route]
    /// Static neighbours.
    public var neighbors: [Neighbor]
    /// Tunnels; policies name them by index.
    public var tunnels: [Tunnel]
    /// Policies in front of the tunnels' own selectors, in the order they were written.
    public var policies: [Policy]
    /// What the port to the kernel gets in a second at most.
    public var puntRatePacketsPerSecond: Int

    /// A topology.
    public init(
        ports: [Port], routes: [Route], neighbors: [Neighbor], tunnels: [Tunnel], policies: [Policy],
        puntRatePacketsPerSecond: Int = 1000
    ) {
        self.ports = ports
        self.routes = routes
        self.neighbors = neighbors
        self.tunnels = tunnels
        self.policies = policies
        self.puntRatePacketsPerSecond = puntRatePacketsPerSecond
    }
}
