import IPsec

@testable import DataPlane

/// A gateway with both families on every port, and what hosts around it send.
enum Site6 {
    static let lan = 0, dmz = 1, wan = 2
    static let host = v6("fd00:1::5"), server = v6("fd00:3::7"), router = v6("2001:db8::fe")

    static func topology(vlan: UInt16? = nil, mtu: Int = 1500, tunnels: [Topology.Tunnel] = []) -> Topology {
        var site = Topology(
            ports: [
                port("lan", .protected, ["10.0.1.1/24", "fd00:1::1/64"]),
                port("dmz", .protected, ["10.0.3.1/24", "fd00:3::1/64"], mtu: mtu),
                port("wan", .unprotected, ["192.0.2.1/24", "2001:db8::1/64"]),
            ], routes: [], neighbors: [], tunnels: tunnels, policies: [])
        for index in site.ports.indices { site.ports[index].vlan = vlan }
        return site
    }

    static func mac(_ port: Int) -> UInt64 { 0x0200_0000_0100 + UInt64(port) }

    /// RFC 4291 appendix A of that.
    static func linkLocal(_ port: Int) -> UInt128 { v6("fe80::ff:fe00:100") + UInt128(port) }

    static func solicitedNode(_ address: UInt128) -> UInt128 { v6("ff02::1:ff00:0") | address & 0xff_ffff }

    static func groupMAC(_ group: UInt128) -> UInt64 {
        0x3333_0000_0000 | UInt64(truncatingIfNeeded: group & 0xffff_ffff)
    }

    static func udp(
        _ source: UInt128 = host, _ destination: UInt128 = server, hopLimit: UInt8 = 64, octets: Int = 20,
        extensions: [(number: UInt8, octets: [UInt8])] = []
    ) -> Packet.IPv6 {
        Packet.IPv6(
            hopLimit: hopLimit, nextHeader: 17, source: source, destination: destination, extensions: extensions,
            payload: Packet.udp(from: 9, to: 10, Array(repeating: 7, count: octets)))
    }

    static func frame(_ packet: Packet.IPv6, to port: Int = lan) -> [UInt8] {
        Packet.frame(to: mac(port), type: 0x86dd, packet.octets)
    }
}
