import IPsec
import SeededRandom

@testable import DataPlane

/// Two gateways that are each other's peer, with every kind of policy; the second makes the ESP that the first is fed.
enum PropertySite {
    static let lan = 0, wan = 1
    static let wanAddress: UInt32 = 0xc000_0201, lanAddress: UInt32 = 0x0a00_0101
    static let remotes: [UInt32] = [0xc000_0202, 0xc633_6401], gateway: UInt32 = 0xc000_02fe

    static func near(_ random: inout SplitMix64) throws -> Topology {
        let here = IPAddress(v4: wanAddress)
        var site = Topology(
            ports: [
                port("lan", .protected, ["10.0.1.1/24"], mtu: random.pick([1500, 1280])),
                port("wan", .unprotected, ["192.0.2.1/24"]), port("dmz", .protected, ["10.0.3.1/24"]),
            ],
            routes: [
                Topology.Route(destination: prefix("0.0.0.0/0"), via: IPAddress(v4: gateway), port: wan),
                Topology.Route(destination: prefix("10.7.0.0/16"), via: address("10.0.1.254"), port: lan),
            ], neighbors: [],
            tunnels: [
                try tunnel(
                    0, local: here, remote: IPAddress(v4: remotes[0]),
                    localSubnets: [prefix("10.0.1.0/24"), prefix("10.0.3.0/24")], remoteSubnets: [prefix("10.0.2.0/24")]
                ),
                try tunnel(
                    1, local: here, remote: IPAddress(v4: remotes[1]), localSubnets: [prefix("10.0.0.0/16")],
                    remoteSubnets: [prefix("10.9.0.0/16")]),
            ], policies: [])
        if random.once(in: 2) {
            site.neighbors = [
                Topology.Neighbor(
                    port: wan, address: IPAddress(v4: gateway), mac: .init(rawValue: 0x0200_0000_00fe))
            ]
        }
        let bypass = TrafficSelector(
            source: prefix("10.0.1.0/24"), destination: prefix("203.0.113.0/24"), ipProtocol: 17,
            destinationPorts: 500...510)
        let telnet = TrafficSelector(
            source: prefix("0.0.0.0/0"), destination: prefix("10.0.2.0/24"), ipProtocol: 6, destinationPorts: 23...23)
        let banned = TrafficSelector(source: prefix("203.0.113.66/32"), destination: prefix("0.0.0.0/0"))
        site.policies = [
            Policy(action: .bypass, direction: .outbound, selector: bypass, priority: 10),
            Policy(action: .bypass, direction: .inbound, selector: bypass.reversed, priority: 10),
            Policy(action: .discard, direction: .outbound, selector: telnet, priority: 5),
            Policy(action: .discard, direction: .inbound, selector: banned, priority: 5),
        ]
        return site
    }

    /// The other end of both tunnels. It also sends what it should not: packets outside of tunnel 0's selectors.
    static func far() throws -> Topology {
        let here = IPAddress(v4: wanAddress)
        let stray = TrafficSelector(source: prefix("10.0.2.0/24"), destination: prefix("10.77.0.0/16"))
        return Topology(
            ports: [
                port("lan", .protected, ["10.0.2.1/24", "10.9.0.1/16"], mtu: 1600),
                port("wan", .unprotected, ["192.0.2.2/24", "198.51.100.1/24"]),
            ],
            routes: [Topology.Route(destination: prefix("0.0.0.0/0"), via: IPAddress(v4: gateway), port: wan)],
            neighbors: [],
            tunnels: [
                try tunnel(
                    0, local: IPAddress(v4: remotes[0]), remote: here, localSubnets: [prefix("10.0.2.0/24")],
                    remoteSubnets: [prefix("10.0.1.0/24"), prefix("10.0.3.0/24")], isReversed: true),
                try tunnel(
                    1, local: IPAddress(v4: remotes[1]), remote: here, localSubnets: [prefix("10.9.0.0/16")],
                    remoteSubnets: [prefix("10.0.0.0/16")], isReversed: true),
            ], policies: [Policy(action: .protect(tunnel: 0), direction: .outbound, selector: stray, priority: 1)])
    }

    /// What is wrong with a frame that left by the unprotected port; nil when it may be there.
    static func complaint(outside frame: [UInt8], _ site: Topology) -> String? {
        guard frame.count >= 14 else { return "\(frame.count) octets" }
        if Array(frame[6..<12]) != [2, 0, 0, 0, 1, 1] { return "not from the port's MAC address" }
        let packet = Array(frame.dropFirst(14))
        switch Packet.uint16(frame, at: 12) {
        case 0x0806:
            let isOurs = packet.count >= 28 && Packet.uint32(packet, at: 14) == wanAddress
            return isOurs && [1, 2].contains(packet[7]) ? nil : "ARP that is not ours"
        case 0x0800: break
        default: return "neither IPv4 nor ARP"
        }
        if let complaint = complaint(about: packet) { return complaint }
        let source = Packet.uint32(packet, at: 12), destination = Packet.uint32(packet, at: 16)
        let body = Array(packet.dropFirst(Int(packet[0] & 15) * 4))
        switch packet[9] {
        case 50:
            let isTunnel = site.tunnels.contains {
                $0.localAddress.v4Number == source && $0.remoteAddress.v4Number == destination
                    && $0.children[0].outbound.spi.rawValue == Packet.uint32(body, at: 0)
            }
            return isTunnel ? nil : "ESP of no tunnel"
        case 1:
            let isEcho = body.count >= 8 && body[0] == 0 && source == wanAddress && onesComplementSum(body) == 0xffff
            return isEcho ? nil : "ICMP that is no answer to an echo request"
        case 17:
            let isBypass =
                source >> 8 == 0x0a_0001 && destination >> 8 == 0xcb_0071
                && (500...510).contains(Packet.uint16(body, at: 2)) && Packet.uint16(packet, at: 6) & 0x1fff == 0
            return isBypass ? nil : "UDP that no policy lets through"
        default: return "protocol \(packet[9]) in clear"
        }
    }

    /// What is wrong with an IPv4 packet that fills its frame; nil when nothing is.
    static func complaint(about packet: [UInt8]) -> String? {
        guard packet.count >= 20, packet[0] >> 4 == 4, packet[0] & 15 >= 5, Int(packet[0] & 15) * 4 <= packet.count
        else { return "no IPv4 header" }
        if Int(Packet.uint16(packet, at: 2)) != packet.count {
            return "total length of \(Packet.uint16(packet, at: 2))"
        }
        if onesComplementSum(packet.prefix(Int(packet[0] & 15) * 4)) != 0xffff { return "header checksum" }
        return packet[8] == 0 ? "TTL 0" : nil
    }
}
