import ESP
import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Packets that are cut")
    struct CutTests {
        init() throws { try TestEnvironment.start() }

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
