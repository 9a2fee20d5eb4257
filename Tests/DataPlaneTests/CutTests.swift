import ESP
import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Packets that are cut")
    struct CutTests {
        init() throws { try TestEnvironment.start() }

        // RFC 2473 7.1, RFC 4303 3.3.4
        @Test("what is cut behind ESP arrives whole and in order", arguments: IPFamily.allCases, [false, true])
        func outer(family: IPFamily, isTransport: Bool) throws {
            guard family == .v4 || !isTransport else { return }
            let isV4 = family == .v4
            let here = isTransport ? address("10.0.1.5") : address(isV4 ? "192.0.2.1" : "2001:db8::1")
            let there = isTransport ? address("10.9.0.7") : address(isV4 ? "192.0.2.2" : "2001:db8::2")
            func site(_ isFar: Bool) throws -> Topology {
                let near = [prefix(isTransport ? "10.0.1.5/32" : "fd00:1::/64")]
                let far = [prefix(isTransport ? "10.9.0.7/32" : "fd00:9::/64")]
                var side = try tunnel(
                    0, local: isFar ? there : here, remote: isFar ? here : there, localSubnets: isFar ? far : near,
                    remoteSubnets: isFar ? near : far, innerMTU: 600, isReversed: isFar)
                if isTransport { side.profile.mode = .transport }
                return Topology(
                    ports: [
                        port(
                            "lan", .protected,
                            isFar ? ["10.9.0.1/24", "fd00:9::1/64"] : ["10.0.1.1/24", "fd00:1::1/64"]),
                        port(
                            "wan", .unprotected,
                            isFar ? ["192.0.2.2/24", "2001:db8::2/64"] : ["192.0.2.1/24", "2001:db8::1/64"]),
                    ],
                    routes: [
                        .init(
                            destination: prefix(isFar ? "10.0.1.0/24" : "10.9.0.0/24"),
                            via: address(isFar ? "192.0.2.1" : "192.0.2.2"), port: 1)
                    ], neighbors: [], tunnels: [side], policies: [])
            }
            let rig = try Rig(try site(false)), peer = try Rig(try site(true))
            let sizes = [100, 600, 1200, 100, 1280, 700, 100]
            let packets = sizes.enumerated().map { number, octets in
                let filling = Array(repeating: UInt8(number), count: octets)
                return isTransport
                    ? Packet.IPv4(
                        identification: UInt16(number), source: here.v4Number, destination: there.v4Number,
                        payload: filling.dropLast(20)
                    ).octets
                    : Packet.IPv6(
                        nextHeader: 253, source: v6("fd00:1::5"), destination: v6("fd00:9::7"),
                        payload: filling.dropLast(40)
                    ).octets
            }
            rig.feed(packets.map { Packet.frame(to: 0, type: isTransport ? 0x0800 : 0x86dd, $0) }, port: 0)
            rig.poll(now: 0)
            let outer = rig.take(1)
            #expect(outer.count > sizes.count && outer.allSatisfy { $0.count <= 14 + 676 })
            #expect(rig.group.counts.originated == UInt64(outer.count - sizes.count))
            peer.feed(outer, port: 1)
            peer.poll(now: 0)
            let arrived = peer.take(0).map { Array($0[14...]) }
            #expect(arrived.map(\.count) == sizes && arrived.map(\.last) == packets.map(\.last))
            _ = rig.close("near")
            _ = peer.close("far")
        }

        @Test("pieces lie in buffers of the gateway's own, and say so when they are dropped")
        func pieces() throws {
            let side = try tunnel(
                0, local: address("192.0.2.1"), remote: address("192.0.2.2"), localSubnets: [prefix("10.0.1.0/24")],
                remoteSubnets: [prefix("10.9.0.0/24")], innerMTU: 600)
            let site = Topology(
                ports: [port("lan", .protected, ["10.0.1.1/24"]), port("wan", .unprotected, ["192.0.2.1/24"])],
                routes: [], neighbors: [], tunnels: [side], policies: [])
            let rig = try Rig(site) { arena in
                let (outbound, inbound) = try pair(side, arena: arena, owner: 0)
                outbound.reference.with { $0.grant(sequence: 1, initializationVector: .max) }
                return [TunnelState(outbound: outbound, inbound: [inbound], owner: 0)]
            }
            let packet = Packet.IPv4(
                source: 0x0a00_0105, destination: 0x0a09_0007, payload: Array(repeating: 3, count: 1400))
            rig.feed([Packet.frame(to: 0, packet.octets)], port: 0)
            rig.first.poll(now: 0)
            #expect(rig.take(1).count == 1 && rig.group.counts.originated == 2)
            #expect(rig.first.dropped.count == 2)
            for index in 0..<rig.first.dropped.count { #expect(rig.first.dropped[index].isOriginated) }
            rig.first.releaseDropped()
            #expect(rig.group.counts.drops[.sequenceExhausted] == 2)
            _ = rig.close("pieces")
        }
    }
}
