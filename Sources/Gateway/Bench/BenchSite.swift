import DataPlane
import ESP
import IPsec
import Wire

/// Two gateways that are each other's peer, with as many tunnels as wanted: what benchmarks run on.
///
/// Hosts behind the near gateway are 10.0.0.0/16, behind the far one 100.64.0.0/10 in blocks of 64, one a tunnel. Both
/// reach their hosts through a router, so that the number of neighbours does not grow with the number of tunnels.
struct BenchSite {
    /// Most tunnels: blocks of 64 in a /10.
    static let tunnelLimit = 65536
    static let mtuOctets = 9216

    let near: Topology
    let far: Topology

    /// `offload` is wanted for all of them, both ways.
    init(tunnels count: Int, offload: OffloadChoice = .off) throws {
        precondition((1...BenchSite.tunnelLimit).contains(count))
        var near: [Topology.Tunnel] = [], far: [Topology.Tunnel] = []
        let hosts = IPPrefix(containing: IPAddress(v4: 0x0a00_0000), length: 16)
        for index in 0..<count {
            let there = try BenchSite.key(), back = try BenchSite.key()
            let block = IPPrefix(containing: BenchSite.destination(tunnel: index), length: 26)
            let thereSPI = SPI(rawValue: 0x1000 + UInt32(index)), backSPI = SPI(rawValue: 0x100_0000 + UInt32(index))
            near.append(
                Topology.Tunnel(
                    name: "bench-\(index)", localAddress: BenchSite.nearAddress, remoteAddress: BenchSite.farAddress,
                    localSubnets: [hosts], remoteSubnets: [block],
                    children: [
                        Topology.Child(
                            outbound: Topology.Outbound(spi: thereSPI, key: there),
                            inbound: Topology.Inbound(spi: backSPI, key: back, replayWindowPackets: 1024))
                    ],
                    innerMTUOctets: BenchSite.mtuOctets - 80))
            far.append(
                Topology.Tunnel(
                    name: "bench-\(index)", localAddress: BenchSite.farAddress, remoteAddress: BenchSite.nearAddress,
                    localSubnets: [block], remoteSubnets: [hosts],
                    children: [
                        Topology.Child(
                            outbound: Topology.Outbound(spi: backSPI, key: back),
                            inbound: Topology.Inbound(spi: thereSPI, key: there, replayWindowPackets: 1024))
                    ],
                    innerMTUOctets: BenchSite.mtuOctets - 80))
        }
        for index in near.indices {
            for direction in Direction.allCases {
                near[index].offload[direction] = offload
                far[index].offload[direction] = offload
            }
        }
        let beyond = IPPrefix(containing: BenchSite.destination(tunnel: 0), length: 10)
        self.near = BenchSite.topology(lan: 0x0afe_0001, wan: BenchSite.nearAddress, hosts: hosts, near)
        self.far = BenchSite.topology(lan: 0x0aff_0001, wan: BenchSite.farAddress, hosts: beyond, far)
    }

    /// A host behind the far gateway that tunnel `index` leads to.
    static func destination(tunnel index: Int) -> IPAddress {
        IPAddress(v4: 0x6440_0001 + UInt32(index) * 64)
    }

    /// A host behind the near gateway.
    static let source = IPAddress(v4: 0x0a00_0009)
    private static let nearAddress = IPAddress(v4: 0xc000_0201), farAddress = IPAddress(v4: 0xc000_0202)

    private static func topology(lan: UInt32, wan: IPAddress, hosts: IPPrefix, _ tunnels: [Topology.Tunnel])
        -> Topology
    {
        let router = IPAddress(v4: lan + 1)
        return Topology(
            ports: [
                port("lan", .protected, IPAddress(v4: lan), length: 30),
                port("wan", .unprotected, wan, length: 24),
            ], routes: [Topology.Route(destination: hosts, via: router, port: 0)], neighbors: [], tunnels: tunnels,
            policies: [])
    }

    private static func port(_ name: String, _ role: Topology.Role, _ address: IPAddress, length: Int)
        -> Topology.Port
    {
        let addresses = [IPInterfaceAddress(address: address, length: length)]
        return Topology.Port(
            name: name, role: role, device: "", addresses: addresses, mtuOctets: mtuOctets, localServices: true)
    }

    private static func key() throws -> KeyMaterial {
        guard let key = KeyMaterial(randomFor: .aes128GCM16) else { throw DataPlaneError.noCrypto }
        return key
    }
}
