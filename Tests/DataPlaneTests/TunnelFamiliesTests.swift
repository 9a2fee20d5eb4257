import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Tunnels of both families")
    struct TunnelFamiliesTests {
        init() throws { try TestEnvironment.start() }

        private static let near4 = prefix("10.0.1.0/24"), near6 = prefix("fd00:1::/64")
        private static let far4 = prefix("10.9.0.0/24"), far6 = prefix("fd00:9::/64")

        /// Both ends of a tunnel that carries both families over one of them.
        private static func sites(over family: IPFamily, _ profile: AssociationProfile) throws -> (Topology, Topology) {
            let here = family == .v4 ? address("192.0.2.1") : address("2001:db8::1")
            let there = family == .v4 ? address("192.0.2.2") : address("2001:db8::2")
            func side(_ isReversed: Bool) throws -> Topology.Tunnel {
                let (one, other) = ([near4, near6], [far4, far6])
                var side = try tunnel(
                    0, local: isReversed ? there : here, remote: isReversed ? here : there,
                    localSubnets: isReversed ? other : one, remoteSubnets: isReversed ? one : other, innerMTU: 1400,
                    isReversed: isReversed)
                side.profile = profile
                side.children[0].outbound.key = try key(isReversed ? 1 : 0, for: profile.algorithm)
                side.children[0].inbound.key = try key(isReversed ? 0 : 1, for: profile.algorithm)
                return side
            }
            let far = Topology(
                ports: [
                    port("lan", .protected, ["10.9.0.1/24", "fd00:9::1/64"]),
                    port("wan", .unprotected, ["192.0.2.2/24", "2001:db8::2/64"]),
                ], routes: [], neighbors: [], tunnels: [try side(true)], policies: [])
            return (Site6.topology(tunnels: [try side(false)]), far)
        }

        private func packet(_ number: UInt8, isIPv6: Bool, ecn: UInt8 = 0) -> [UInt8] {
            isIPv6
                ? Packet.IPv6(
                    trafficClass: 0xb8 | ecn, flowLabel: 0x12345, nextHeader: 253, source: Site6.host,
                    destination: v6("fd00:9::7"), payload: [number] + Array(repeating: 3, count: Int(number))
                ).octets
                : Packet.IPv4(
                    typeOfService: 0xb8 | ecn, source: 0x0a00_0105, destination: 0x0a09_0007,
                    payload: [number] + Array(repeating: 3, count: Int(number))
                ).octets
        }

        private func number(_ frame: [UInt8]) -> UInt8 { frame[Packet.uint16(frame, at: 12) == 0x0800 ? 34 : 54] }

        @Test("whatever is inside arrives as it was, in order, over either", arguments: IPFamily.allCases)
        func arrives(family: IPFamily) throws {
            for algorithm in [Algorithm.aes128GCM16, try #require(Algorithm(.authenticationHMACSHA256))] {
                var profile = AssociationProfile()
                profile.algorithm = algorithm
                let (near, far) = try TunnelFamiliesTests.sites(over: family, profile)
                let rig = try Rig(near), peer = try Rig(far)
                let packets = (0..<30 as Range<UInt8>).map { packet($0, isIPv6: $0 % 3 != 0) }
                rig.feed(
                    packets.map { Packet.frame(to: 0, type: $0[0] >> 4 == 6 ? 0x86dd : 0x0800, $0) }, port: Site6.lan)
                rig.poll(now: 0)
                let outer = rig.take(Site6.wan)
                #expect(outer.count == 30)
                for frame in outer {
                    #expect(Packet.uint16(frame, at: 12) == (family == .v4 ? 0x0800 : 0x86dd))
                    #expect(frame[family == .v4 ? 23 : 20] == algorithm.securityProtocol.rawValue)
                }
                peer.feed(outer, port: 1)
                peer.poll(now: 0)
                let arrived = peer.take(0)
                #expect(arrived.map(number) == Array(0..<30))
                for (frame, sent) in zip(arrived, packets) {
                    var expected = sent
                    // One hop less at each gateway.
                    if expected[0] >> 4 == 6 {
                        expected[7] -= 2
                        #expect(Array(frame[14...]) == expected)
                    } else {
                        #expect(frame[22] == 62 && Array(frame[26...]) == Array(expected[12...]))
                    }
                }
                // What was sent before is known.
                peer.feed(outer, port: 1)
                peer.poll(now: 0)
                #expect(peer.group.counts.drops[.replayed] == 30)
                _ = rig.close("near")
                _ = peer.close("far")
            }
        }

        @Test("a congestion mark on the way is seen inside (RFC 6040)", arguments: IPFamily.allCases)
        func congestion(family: IPFamily) throws {
            let (near, far) = try TunnelFamiliesTests.sites(over: family, AssociationProfile())
            for isIPv6 in [false, true] {
                for (inner, expected) in [(0, nil), (1, 3), (2, 3), (3, 3)] as [(UInt8, UInt8?)] {
                    let rig = try Rig(near), peer = try Rig(far)
                    let sent = packet(1, isIPv6: isIPv6, ecn: inner)
                    rig.feed([Packet.frame(to: 0, type: isIPv6 ? 0x86dd : 0x0800, sent)], port: Site6.lan)
                    rig.poll(now: 0)
                    var frame = try #require(rig.take(Site6.wan).first)
                    if family == .v4 {
                        frame[15] |= 3
                        frame.replaceSubrange(24..<26, with: [0, 0])
                        frame.replaceSubrange(24..<26, with: bigEndian(~onesComplementSum(frame[14..<34])))
                    } else {
                        frame[15] |= 0x30
                    }
                    peer.feed([frame], port: 1)
                    peer.poll(now: 0)
                    let mark = peer.take(0).first.map { isIPv6 ? $0[15] >> 4 & 3 : $0[15] & 3 }
                    #expect(mark == expected)
                    #expect(peer.group.counts.drops[.ecnViolation] == (expected == nil ? 1 : 0))
                    _ = rig.close("near")
                    _ = peer.close("far")
                }
            }
        }

        @Test("ESP over IPv6 from elsewhere, under no SA, or cut short")
        func refused() throws {
            let (near, far) = try TunnelFamiliesTests.sites(over: .v6, AssociationProfile())
            let rig = try Rig(near), peer = try Rig(far)
            rig.feed([Packet.frame(to: 0, type: 0x86dd, packet(1, isIPv6: true))], port: Site6.lan)
            rig.poll(now: 0)
            let good = try #require(rig.take(Site6.wan).first)
            var elsewhere = good, unknown = good, short = Array(good.prefix(14 + 44))
            elsewhere[14 + 23] ^= 0x40
            unknown[14 + 43] ^= 1
            short.replaceSubrange(18..<20, with: [0, 4])
            for (frame, reason) in [
                (elsewhere, .tunnelAddressMismatch), (unknown, .unknownSPI), (short, .malformed),
            ] as [([UInt8], DropReason)] {
                peer.feed([frame], port: 1)
                peer.poll(now: 0)
                #expect(peer.group.counts.drops[reason] == 1, "\(reason)")
            }
            // Behind options it is found all the same.
            var behind = good
            behind[20] = 60
            behind.insert(contentsOf: [50, 0, 1, 4, 0, 0, 0, 0], at: 54)
            behind.replaceSubrange(18..<20, with: bigEndian(UInt16(behind.count - 54)))
            peer.feed([behind], port: 1)
            peer.poll(now: 0)
            #expect(peer.take(0).count == 1)
            _ = rig.close("near")
            _ = peer.close("far")
        }

        @Test("what comes through a tunnel must be of its blocks, and errors about it come from there")
        func inside() throws {
            let (near, far) = try TunnelFamiliesTests.sites(over: .v4, AssociationProfile())
            var wide = far
            let stray = TrafficSelector(source: prefix("fd00:9::/64"), destination: prefix("fd00:3::/64"))
            wide.policies = [Policy(action: .protect(tunnel: 0), direction: .outbound, selector: stray, priority: 1)]
            let rig = try Rig(near), peer = try Rig(wide)
            func comes(_ destination: String, hopLimit: UInt8 = 64) {
                peer.feed(
                    [
                        Packet.frame(
                            to: 0, type: 0x86dd, Site6.udp(v6("fd00:9::7"), v6(destination), hopLimit: hopLimit).octets)
                    ], port: 0)
                peer.poll(now: 0)
                rig.feed(peer.take(1), port: Site6.wan)
                rig.poll(now: 0)
            }
            comes("fd00:3::7")
            #expect(rig.group.counts.drops[.selectorMismatch] == 1)
            comes("fd00:1::5", hopLimit: 2)
            #expect(rig.group.counts.drops[.ttlExpired] == 1)
            peer.feed(rig.take(Site6.wan), port: 1)
            peer.poll(now: 0)
            let error = try #require(peer.take(0).first).dropFirst(14).map(\.self)
            #expect(error[40] == 3 && Packet.uint128(error, at: 8) == v6("fd00:1::1") && Packet.isIntact6(error))
            comes("fd00:1::5")
            #expect(rig.take(Site6.lan).count == 1)
            _ = rig.close("near")
            _ = peer.close("far")
        }
    }

    @Suite("Counts of policies")
    struct PolicyCountTests {
        init() throws { try TestEnvironment.start() }

        private static func policy(_ destination: String, _ action: Policy.Action = .discard) -> Policy {
            let destination = prefix(destination)
            return Policy(
                action: action, direction: .outbound,
                selector: TrafficSelector(source: .any(destination.family), destination: destination), priority: 1)
        }

        private static func site(_ policies: [Policy]) -> Topology {
            var site = Site6.topology()
            site.policies = policies
            return site
        }

        @Test("each packet counts once for the policy that covers it, and goes on to count when others change")
        func counts() throws {
            let first = Self.policy("198.51.100.0/24"), second = Self.policy("2001:db8:7::/48", .bypass)
            let rig = try Rig(Self.site([first, second]))
            func send(_ four: Int, _ six: Int) {
                let v4 = Packet.frame(
                    to: 0, Packet.IPv4(source: 0x0a00_0105, destination: 0xc633_6407, payload: [1, 2, 3, 4]).octets)
                let v6 = Site6.frame(Site6.udp(Site6.host, DataPlaneTests.v6("2001:db8:7::1")))
                rig.feed(
                    Array(repeating: v4, count: four) + Array(repeating: v6, count: six)
                        + Array(repeating: v4, count: four), port: 0)
                rig.poll(now: 0)
            }
            send(3, 4)
            func counts() -> [PolicyCount] { rig.group.policyCounts(.outbound) }
            #expect(counts() == [PolicyCount(packets: 6, octets: 6 * 24), PolicyCount(packets: 4, octets: 4 * 68)])
            #expect(rig.group.policyCounts(.inbound).isEmpty)
            let third = Self.policy("203.0.113.0/24")
            for policies in [[third, second, first], [second, first], [first], [first, third]] {
                try rig.publish(Self.site(policies), [])
                send(1, 0)
            }
            #expect(counts() == [PolicyCount(packets: 14, octets: 14 * 24), PolicyCount()])
            try rig.publish(Self.site([second]), [])
            send(0, 1)
            // It was away.
            #expect(counts() == [PolicyCount(packets: 1, octets: 68)])
            _ = rig.close("policies")
        }

        @Test("a packet that another worker protects counts there, once")
        func handedOn() throws {
            let here = address("192.0.2.1"), there = address("192.0.2.2")
            let tunnels = try (0..<2).map { number in
                try tunnel(
                    number, local: here, remote: there, localSubnets: [prefix("fd00:1::/64")],
                    remoteSubnets: [prefix("fd00:\(9 + number)::/64")])
            }
            let rig = try Rig(Site6.topology(tunnels: tunnels), workers: 2)
            let frames = [v6("fd00:9::1"), v6("fd00:10::1"), v6("fd00:10::1")].map {
                Site6.frame(Site6.udp(Site6.host, $0))
            }
            rig.feed(frames, port: 0)
            for now: UInt64 in 0..<3 { rig.poll(now: now) }
            #expect(rig.take(Site6.wan).count == 3)
            #expect(rig.group.policyCounts(.outbound).map(\.packets) == [1, 2])
            _ = rig.close("handed on")
        }
    }
}
