import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("The port to the kernel")
    struct PuntTests {
        init() throws { try TestEnvironment.start() }

        private static let punt = 3
        private static let kernel = v6("fe80::5"), asked = v6("2001:db8::77")

        private func rig() throws -> Rig {
            var site = Site6.topology()
            site.ports.append(port(Topology.puntName, .punt, []))
            return try Rig(site)
        }

        /// A solicitation's octets, right in all but perhaps what it says it is.
        private func solicitation(nextHeader: UInt8 = 58, fragment: Bool = false) -> [UInt8] {
            let group = Site6.solicitedNode(Self.asked)
            let message = Packet.icmp6(
                135, 0, [0, 0, 0, 0] + bigEndian(Self.asked) + [1, 1, 2, 0, 0, 0, 0, 5], from: Self.kernel, to: group)
            return Packet.IPv6(
                hopLimit: 255, nextHeader: nextHeader, source: Self.kernel, destination: group,
                extensions: fragment ? [Packet.fragment(offset: 0, more: false)] : [], payload: message
            ).octets
        }

        private func comes(_ rig: Rig, _ packet: [UInt8], padding: Int = 0) -> [[UInt8]] {
            rig.feed(
                [Packet.frame(to: 0, type: 0x86dd, packet + Array(repeating: 0xee, count: padding))], port: Self.punt)
            rig.poll(now: 0)
            return rig.take(Self.punt)
        }

        @Test("whoever the kernel looks for, it is the gateway; frames may be padded")
        func answers() throws {
            let rig = try rig()
            for padding in [0, 7] {
                let frame = try #require(comes(rig, solicitation(), padding: padding).first)
                let answer = Array(frame[14...])
                #expect(answer.count == 72 && answer[40] == 136 && Packet.isIntact6(answer))
                #expect(Packet.uint128(answer, at: 48) == Self.asked && Packet.uint128(answer, at: 24) == Self.kernel)
            }
            _ = rig.close("answers")
        }

        // RFC 4861 7.1, RFC 6980
        @Test("what only looks like a solicitation is none")
        func lookalike() throws {
            let rig = try rig()
            #expect(comes(rig, solicitation(nextHeader: 17)).isEmpty)
            #expect(comes(rig, solicitation(nextHeader: 253)).isEmpty)
            #expect(comes(rig, solicitation(fragment: true)).isEmpty)
            #expect(rig.group.counts.drops[.noPolicy] == 3)
            _ = rig.close("lookalike")
        }

        @Test("headers are looked for in the packet, not in what pads its frame")
        func padding() throws {
            let rig = try rig()
            // No payload, and IKE from an own address behind it.
            var packet = Packet.IPv6(
                nextHeader: 60, source: v6("2001:db8::1"), destination: v6("2001:db8::9"),
                payload: [17, 0, 1, 4, 0, 0, 0, 0] + Packet.udp(from: 500, to: 500, [1, 2, 3, 4])
            ).octets
            packet.replaceSubrange(4..<6, with: [0, 0])
            #expect(comes(rig, packet).isEmpty && rig.take(Site6.wan).isEmpty)
            #expect(rig.group.counts.drops[.malformed] == 1)
            _ = rig.close("padding")
        }
    }
}
