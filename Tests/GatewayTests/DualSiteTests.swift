import DataPlane
import Foundation
import IPsec
import SeededRandom
import Testing

@testable import Gateway

@Suite("Sites of both families and all profiles")
struct DualSiteTests {
    @Test("the dual site is read whole")
    func read() throws {
        let reading = try readSite(dualSite, mode: .run), topology = reading.site.topology
        #expect(reading.problems.map(\.message).filter { !$0.contains("static keys") } == [])
        #expect(reading.site.gateway.metricsAddress == "[::1]:9464")
        #expect(
            topology.ports.last?.device == "net_tap0,iface=vpn-gw" && topology.ports.last?.role == .punt
                && topology.puntRatePacketsPerSecond == 500)
        #expect(topology.ports.map(\.vlan) == [nil, 7, nil, nil])
        #expect(topology.ports[1].addresses.map(\.description) == ["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"])
        #expect(
            topology.routes.map { "\($0.destination) \($0.via) \($0.port)" } == [
                "0.0.0.0/0 192.0.2.254 1", "::/0 fe80::fe 1",
            ])
        #expect(topology.neighbors.map(\.port) == [1, 2])

        let natted = topology.tunnels[0], six = topology.tunnels[1], hosts = topology.tunnels[2]
        var profile = AssociationProfile()
        profile.algorithm = try #require(Algorithm(.aes256GCM, icvOctets: 12))
        (profile.natTraversal, profile.dontFragment, profile.dscp) = (true, .set, .fixed(34))
        profile.tfcPaddingOctets = 512
        #expect(natted.profile == profile && natted.clampsMSS && !natted.learnsPathMTU)
        // 20 of IPv4, 8 of UDP, 8 of ESP, 8 of IV, 12 of ICV; 1444 are left, two of them trailer.
        #expect(natted.innerMTUOctets == 1442)
        profile = AssociationProfile()
        profile.algorithm = try #require(Algorithm(.chaCha20Poly1305))
        (profile.extendedSequenceNumbers, profile.dscp) = (true, .fixed(8))
        #expect(six.profile == profile && !six.clampsMSS && six.learnsPathMTU && six.innerMTUOctets == 1426)
        #expect(six.lifetime.hard.packets == 1 << 32)
        profile = AssociationProfile()
        profile.mode = .transport
        #expect(hosts.profile == profile && hosts.innerMTUOctets == 1466)
        #expect(hosts.localSubnets.map(\.description) == ["fd00:1::10/128"])
        #expect(hosts.remoteSubnets.map(\.description) == ["2001:db8:9::10/128"])
    }

    @Test("selectors are pairs of one family, and a policy without blocks is one for each family that it can be of")
    func policies() throws {
        let topology = try readSite(dualSite).site.topology
        func text(_ direction: Direction) -> [String] {
            topology.policiesInOrder(direction).map { policy in
                let messages = policy.selector.icmpMessages.map { " " + CheckReport.messages($0) } ?? ""
                return "\(policy.name): \(policy.selector.source) \(policy.selector.destination)\(messages)"
            }
        }
        #expect(
            text(.outbound) == [
                "ping: fd00:1::/64 ::/0 128-129", "all-of-hosts: fd00:1::10/128 2001:db8:9::10/128",
                "natted: 10.0.1.0/24 10.0.2.0/24", "natted: fd00:1::/64 fd00:2::/64",
                "six: fd00:1::/64 fd00:3::/64", "hosts: fd00:1::10/128 2001:db8:9::10/128",
            ])
        #expect(
            text(.inbound) == [
                "policy-2: 0.0.0.0/0 0.0.0.0/0 3/4", "natted: 10.0.2.0/24 10.0.1.0/24",
                "natted: fd00:2::/64 fd00:1::/64", "six: fd00:3::/64 fd00:1::/64",
                "hosts: 2001:db8:9::10/128 fd00:1::10/128",
            ])
        let anything = dualSite.replacingOccurrences(of: "protocol = \"icmp\"\nicmp_types = \"3/4\"\n", with: "")
        #expect(
            try readSite(anything).site.topology.policiesInOrder(.inbound).prefix(2).map(\.selector.source.description)
                == ["0.0.0.0/0", "::/0"])
        let inboundHosts = dualSite.replacingOccurrences(
            of: "direction = \"outbound\"\ntunnel = \"hosts\"", with: "direction = \"inbound\"\ntunnel = \"hosts\"")
        let policy = try readSite(inboundHosts).site.topology.policies.last
        #expect(policy?.selector.source.description == "2001:db8:9::10/128")
    }

    @Test("the same host blocks may be written out in transport mode")
    func transport() throws {
        let text = dualSite.replacingOccurrences(
            of: "mode = \"transport\"",
            with: "mode = \"transport\"\nlocal_subnets = [\"fd00:1::10\"]\nremote_subnets = [\"2001:db8:9::10/128\"]")
        #expect(try readSite(text).site.topology.tunnels[2].localSubnets.map(\.description) == ["fd00:1::10/128"])
        let own = text.replacingOccurrences(of: "fd00:1::10", with: "2001:db8::1")
        let reading = try readSite(own)
        #expect(
            !reading.problems.contains { $0.path.hasSuffix("local_address") }, "the gateway's own is no host behind it")
    }

    @Test("AH is read and warned of, and passes no NAT")
    func authenticationHeader() throws {
        var text = dualSite.replacingOccurrences(of: "chacha20-poly1305", with: "ah-hmac-sha2-256-128")
            .replacingOccurrences(of: DualKeys.chaCha, with: DualKeys.digest)
            .replacingOccurrences(of: DualKeys.chaChaIn, with: DualKeys.digestIn)
        let reading = try readSite(text), tunnel = reading.site.topology.tunnels[1]
        #expect(tunnel.profile.algorithm.securityProtocol == .ah)
        // 40 of IPv6, and 28 of AH that IPv6 rounds up to 32.
        #expect(tunnel.innerMTUOctets == 1428)
        #expect(reading.problems.contains { $0.path == "tunnel[1].algorithm" && $0.message.hasPrefix("AH proves") })
        text = text.replacingOccurrences(of: "dscp = 8", with: "nat_traversal = true\ntfc_padding_octets = 9")
        let said = problems(of: text).filter { $0.severity == .error }
        #expect(said.map(\.path) == ["tunnel[1].nat_traversal", "tunnel[1].tfc_padding_octets"])
        #expect(said.first?.message.contains("AH can't pass a NAT") == true, "\(said)")
    }

    @Test("small inner MTUs are warned of, by what is carried")
    func smallMTUs() throws {
        func warned(_ octets: Int) -> [String] {
            problems(
                of: dualSite.replacingOccurrences(of: "vlan = 7", with: "mtu_octets = \(octets)")
                    .replacingOccurrences(of: "tfc_padding_octets = 512\n", with: "")
            )
            .filter { $0.message.contains("its inner MTU is") }.map(\.path)
        }
        #expect(warned(1356) == [])
        #expect(warned(1340) == ["tunnel[1]"])
        #expect(warned(1339) == ["tunnel[0]", "tunnel[1]"])
        #expect(warned(1315) == ["tunnel[0]", "tunnel[1]", "tunnel[2]"])
        let four = goodSite.replacingOccurrences(
            of: "addresses = [\"192.0.2.1/24\"", with: "mtu_octets = 629\naddresses = [\"192.0.2.1/24\"")
        #expect(problems(of: four).filter { $0.message.contains("its inner MTU is 574 octets") }.count == 2)
    }

    @Test(
        "names and numbers of DSCPs",
        arguments: [
            ("\"copy\"", AssociationProfile.DSCP.copy), ("0", .fixed(0)), ("63", .fixed(63)), ("\"46\"", .fixed(46)),
            ("\"EF\"", .fixed(46)), ("\"af11\"", .fixed(10)), ("\"af43\"", .fixed(38)), ("\"cs0\"", .fixed(0)),
            ("\"cs6\"", .fixed(48)), ("\"le\"", .fixed(1)), ("\"voice-admit\"", .fixed(44)), ("\"be\"", .fixed(0)),
        ])
    func dscp(text: String, dscp: AssociationProfile.DSCP) throws {
        let site = try readSite(dualSite.replacingOccurrences(of: "dscp = 8", with: "dscp = \(text)")).site
        #expect(site.topology.tunnels[1].profile.dscp == dscp)
    }

    @Test("ICMP types are read as they are printed", arguments: [1] as [UInt64])
    func messages(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        func messages(_ text: String) throws -> ClosedRange<UInt16>? {
            let site = dualSite.replacingOccurrences(of: "icmp_types = \"128-129\"", with: "icmp_types = \(text)")
            return try readSite(site).site.topology.policies[0].selector.icmpMessages
        }
        #expect(try messages("8") == 0x800...0x8ff && messages("\"0-255\"") == 0...0xffff)
        #expect(try messages("255") == 0xff00...0xffff && messages("\"255/255\"") == 0xffff...0xffff)
        for round in 0..<20 {
            let first = UInt16.random(in: 0...255, using: &random),
                last = UInt16.random(in: first...255, using: &random)
            let range = round % 2 == 0 ? first << 8...last << 8 | 0xff : first << 8 | last...first << 8 | last
            let text = CheckReport.messages(range)
            #expect(try messages("\"\(text)\"") == range, "seed \(seed), \(text)")
        }
    }

    @Test(
        "every algorithm takes the keys that are made for it, inline and from files, and no other's",
        arguments: Algorithm.all)
    func keys(algorithm: Algorithm) throws {
        let (outbound, inbound) = KeyFiles.makePair(for: algorithm) { KeyFiles.makeKey(for: algorithm) }
        func text(_ outbound: String, _ inbound: String) -> String {
            dualSite.replacingOccurrences(of: "chacha20-poly1305", with: algorithm.name)
                .replacingOccurrences(of: "key = \"\(DualKeys.chaCha)\"", with: outbound)
                .replacingOccurrences(of: "key = \"\(DualKeys.chaChaIn)\"", with: inbound)
        }
        let files = MemoryFiles(files: ["/etc/vpn-gw/in.key": (inbound + "\n", 0o600)])
        let tunnel = try readSite(text("key = \"\(outbound)\"", "key_file = \"in.key\""), files: files).site.topology
            .tunnels[1]
        #expect(tunnel.profile.algorithm == algorithm)
        #expect(tunnel.children[0].outbound.key.fingerprint != tunnel.children[0].inbound.key.fingerprint)
        for other in Algorithm.all where other.keyMaterialOctets != algorithm.keyMaterialOctets {
            let wrong = KeyFiles.makeKey(for: other)
            let files = MemoryFiles(files: ["/etc/vpn-gw/in.key": (wrong, 0o600)])
            let said = problems(of: text("key = \"\(wrong)\"", "key_file = \"in.key\""), files: files)
                .filter { $0.severity == .error }
            #expect(said.map(\.path) == ["tunnel[1].outbound.key", "tunnel[1].inbound.key_file"], "\(said)")
            #expect(said.allSatisfy { $0.description.contains("has \(2 * other.keyMaterialOctets) digits") }, "\(said)")
            #expect(
                said.allSatisfy { $0.hint.hasPrefix("\(algorithm) takes \(2 * algorithm.keyMaterialOctets) digits") })
            #expect(!said.contains { $0.description.contains(wrong.dropFirst(20).prefix(12)) })
        }
    }

    @Test("an algorithm that is none says nothing of keys")
    func unknownAlgorithm() {
        let text = dualSite.replacingOccurrences(of: "chacha20-poly1305", with: "chacha21")
        #expect(problems(of: text).filter { $0.severity == .error }.map(\.path) == ["tunnel[1].algorithm"])
    }

    @Test("a mode that is none says nothing of subnets")
    func unknownMode() {
        let text = dualSite.replacingOccurrences(of: "mode = \"transport\"", with: "mode = \"tranport\"")
        #expect(problems(of: text).filter { $0.severity == .error }.map(\.path) == ["tunnel[2].mode"])
    }

    // MARK: What check says

    @Test("check tells families, modes, algorithms and sizes")
    func checkText() throws {
        let reading = try readSite(dualSite), report = CheckReport(site: reading.site, problems: [])
        let lines = Set(report.text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") })
        for line in [
            "punt net_tap0,iface=vpn-gw, 500 packets a second",
            "wan unprotected 192.0.2.1/24, 2001:db8::1/64, fe80::1/64 mtu 1500 net_null1 vlan 7",
            "::/0 via fe80::fe wan", "fe80::fe 02:00:00:00:01:fe dmz",
            "priority 0 ping bypass fd00:1::/64 to ::/0, icmpv6, types 128-129",
            "priority 0 policy-2 discard 0.0.0.0/0 to 0.0.0.0/0, icmp, types 3/4",
            "addresses 2001:db8::1 to 2001:db8:9::9", "carries IPv4 and IPv6 in tunnel mode, IPv4 outside",
            "carries IPv6 in transport mode", "carries IPv6 in tunnel mode, IPv6 outside",
            "algorithm aes-256-gcm-12, 32-bit sequence numbers",
            "algorithm chacha20-poly1305, 64-bit sequence numbers",
            "NAT traversal ESP in UDP, port 4500; the peer may move",
            "outer header DF set, DSCP 34", "outer header DF copy, DSCP 8", "TFC padding to 512 octets",
            "TCP segments clamped to the inner MTU", "path MTU not learnt from ICMP errors", "inner MTU 1466 octets",
            "an SA lasts 73936 years at 10 GbE line rate of 64-octet frames, 719713 years of 1426-octet packets",
        ] { #expect(lines.contains(line), "\(line)\n\(report.text)") }
        #expect(!TestKeys.leak(in: report.text))
    }

    @Test("check's JSON has the same")
    func checkJSON() throws {
        let report = CheckReport(site: try readSite(dualSite).site, problems: [])
        let object = try #require(try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any])
        let site = try #require(object["site"] as? [String: Any])
        let tunnels = try #require(site["tunnels"] as? [[String: Any]])
        func words(_ key: String) -> [String?] { tunnels.map { $0[key] as? String } }
        func numbers(_ key: String) -> [Int?] { tunnels.map { $0[key] as? Int } }
        #expect(
            words("mode") == ["tunnel", "tunnel", "transport"] && words("outer_family") == ["ipv4", "ipv6", "ipv6"])
        #expect(tunnels[0]["inner_families"] as? [String] == ["ipv4", "ipv6"])
        #expect(words("algorithm") == ["aes-256-gcm-12", "chacha20-poly1305", "aes-128-gcm-16"])
        #expect(words("security_protocol") == ["esp", "esp", "esp"] && numbers("icv_octets") == [12, 16, 16])
        #expect(words("df") == ["set", "copy", "copy"] && words("dscp") == ["34", "8", "copy"])
        #expect(numbers("tfc_padding_octets") == [512, 0, 0] && numbers("inner_mtu_octets") == [1442, 1426, 1466])
        #expect(tunnels.map { $0["nat_traversal"] as? Bool } == [true, false, false])
        #expect(tunnels.map { $0["extended_sequence_numbers"] as? Bool } == [false, true, false])
        #expect(tunnels.map { $0["clamp_mss"] as? Bool } == [true, false, false])
        #expect(tunnels.map { $0["learn_path_mtu"] as? Bool } == [false, true, true])
        #expect((site["punt"] as? [String: Any])?["rate_packets_per_second"] as? Int == 500)
        #expect((site["ports"] as? [[String: Any]])?.map { $0["vlan"] as? Int } == [nil, 7, nil])
        let policies = try #require(site["policies"] as? [[String: Any]])
        #expect(policies.map { $0["icmp_types"] as? String }.prefix(2) == ["128-129", nil])
        #expect(policies.first?["name"] as? String == "ping")
    }
}
