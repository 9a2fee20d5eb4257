import ESP
import IPsec
import SeededRandom
import Wire

@testable import DataPlane

/// Two gateways, and one tunnel or one transport mode SA pair between them over one family.
///
///     10.0.1.0/24, fd00:1::/64 -- lan [near] wan == wan [far] lan -- 10.9.0.0/24, fd00:9::/64
struct LookasideSite: CustomStringConvertible {
    static let lan = 0, wan = 1

    let mode: AssociationProfile.Mode
    let outer: IPFamily

    static let all = [AssociationProfile.Mode.tunnel, .transport].flatMap { mode in
        IPFamily.allCases.map { LookasideSite(mode: mode, outer: $0) }
    }

    var description: String { "\(mode) over \(outer)" }

    func topology(isFar: Bool) throws -> Topology {
        let hosts =
            outer == .v4
            ? [address("10.0.1.5"), address("10.9.0.7")] : [address("fd00:1::5"), address("fd00:9::7")]
        let gateways =
            outer == .v4
            ? [address("192.0.2.1"), address("192.0.2.2")] : [address("2001:db8::1"), address("2001:db8::2")]
        let ends = mode == .transport ? hosts : gateways
        let bits = outer == .v4 ? 32 : 128
        let blocks =
            mode == .transport
            ? hosts.map { [prefix("\($0)/\(bits)")] }
            : [
                [prefix("10.0.1.0/24"), prefix("fd00:1::/64")], [prefix("10.9.0.0/24"), prefix("fd00:9::/64")],
            ]
        let (here, there) = isFar ? (1, 0) : (0, 1)
        var made = try tunnel(
            0, local: ends[here], remote: ends[there], localSubnets: blocks[here], remoteSubnets: blocks[there],
            window: 2048, innerMTU: 1400, isReversed: isFar)
        made.profile.mode = mode
        (made.offload.outbound, made.offload.inbound) = (.lookaside, .lookaside)
        let names = [["10.0.1.1/24", "fd00:1::1/64"], ["10.9.0.1/24", "fd00:9::1/64"]]
        let outside = [["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.2/24", "2001:db8::2/64"]]
        return Topology(
            ports: [port("lan", .protected, names[here]), port("wan", .unprotected, outside[here])],
            routes: [
                .init(
                    destination: prefix(isFar ? "10.0.1.0/24" : "10.9.0.0/24"),
                    via: address(isFar ? "192.0.2.1" : "192.0.2.2"), port: LookasideSite.wan),
                .init(
                    destination: prefix(isFar ? "fd00:1::/64" : "fd00:9::/64"),
                    via: address(isFar ? "2001:db8::1" : "2001:db8::2"), port: LookasideSite.wan),
            ], neighbors: [], tunnels: [made], policies: [])
    }

    /// A packet of the near host for the far one, of the family that the SAs carry, with its number in front.
    func frame(_ number: UInt32, octets: Int, isIPv6: Bool? = nil) -> [UInt8] {
        let payload = Traffic.secret + bigEndian(UInt64(number)) + [UInt8](repeating: 0x77, count: octets)
        let isSix = mode == .transport ? outer == .v6 : isIPv6 ?? (number % 2 == 1)
        if isSix {
            let packet = Packet.IPv6(
                trafficClass: 0xb8, nextHeader: 253, source: v6("fd00:1::5"), destination: v6("fd00:9::7"),
                payload: payload)
            return Packet.frame(to: 0x0200_0000_0100, type: 0x86dd, packet.octets)
        }
        let packet = Packet.IPv4(
            typeOfService: 0xb8, source: 0x0a00_0105, destination: 0x0a09_0007, payload: payload)
        return Packet.frame(to: 0x0200_0000_0100, packet.octets)
    }

    /// The number of a packet in clear; nil when it is not one of these.
    static func number(_ frame: [UInt8]) -> UInt32? {
        guard let place = Traffic.place(of: Traffic.secret, in: frame) else { return nil }
        return UInt32(truncatingIfNeeded: Packet.uint64(frame, at: place + Traffic.secret.count))
    }

    /// Where ESP begins in a frame of the unprotected port.
    var espStart: Int { 14 + (outer == .v4 ? 20 : 40) }
}

/// A gateway of such a site whose SAs a crypto device has.
struct LookasideRig {
    let rig: Rig
    let keeper: OffloadKeeper
    let wishes: [OffloadWish]

    init(_ topology: Topology, device: String, workers: Int = 1) throws {
        rig = try Rig(topology, workers: workers, cryptoDevices: [device])
        keeper = OffloadKeeper(rig.group, ports: rig.ports.map(\.port), workers: workers)
        wishes = LookasideRig.wishes(rig.group.tables.states, topology)
        keeper.follow(wishes)
    }

    static func wishes(
        _ states: [TunnelState], _ topology: Topology, _ choice: OffloadChoice = .lookaside
    ) -> [OffloadWish] {
        zip(states, topology.tunnels).flatMap { state, tunnel in
            var wishes: [OffloadWish] = []
            func add(_ association: OffloadWish.Association, _ spi: SPI, _ key: KeyMaterial) {
                wishes.append(
                    OffloadWish(
                        association: association, spi: spi, key: key, profile: tunnel.profile,
                        local: tunnel.localAddress, remote: tunnel.remoteAddress, port: LookasideSite.wan,
                        choice: choice, rank: 0))
            }
            let child = tunnel.children[0]
            if let outbound = state.outbound { add(.outbound(outbound), child.outbound.spi, child.outbound.key) }
            for inbound in state.inbound { add(.inbound(inbound), child.inbound.spi, child.inbound.key) }
            return wishes
        }
    }

    /// Packets that the device was given.
    var offloaded: UInt64 { wishes.reduce(0) { $0 + $1.counts.offloaded } }
    var drops: [DropReason: UInt64] { rig.group.counts.drops.filter { $0.value > 0 } }
}
