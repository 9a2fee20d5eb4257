import Foundation
import IPsec
import SAStore
import Testing

@testable import Gateway

@Suite("vpn-gw check")
struct CheckReportTests {
    @Test("what becomes of each pair of a tunnel that several workers share, and what is noted of it")
    func lanes() throws {
        let more = (1...2).map { index in
            let zeros = String(repeating: "0", count: 30)
            return """
                [[tunnel.child]]
                outbound = { spi = \(index + 1000), key = "0xa\(zeros)\(index)00000000" }
                inbound = { spi = \(index + 1000), key = "0xb\(zeros)\(index)00000000" }

                """
        }
        let place = "[[tunnel.child]]\nnot_before"
        let text = goodSite.replacingOccurrences(of: place, with: more.joined() + place)
        let reading = try readSite(text)
        let report = CheckReport(site: reading.site, problems: reading.problems)
        let lines = report.text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        for words in [
            "2 at the same time: each has a pair of SAs, and flows are shared out",
            "without a date, beside the others of that time, on a worker of its own",
            "without a date, spare: waits until one of that time ends",
        ] {
            #expect(lines.count { $0.hasSuffix(words) } == 1, "\(words)\n\(report.text)")
        }
        let notes = reading.problems.filter { $0.severity == .note }.map(\.description)
        #expect(notes.count { $0.contains("3 pairs for one time, and 2 workers: 2 are used side by side") } == 1)
        #expect(notes.count { $0.contains("on 1 worker(s) send for the tunnel, 2 before") } == 1, "\(notes)")
        // One worker is told what it always was.
        let one = try readSite(text.replacingOccurrences(of: "worker_cores = [1, 2]", with: "worker_cores = [1]"))
        let plain = CheckReport(site: one.site, problems: one.problems)
        #expect(!one.problems.contains { $0.severity == .note })
        #expect(!plain.text.contains("at the same time") && !plain.text.contains("without a date,"))
    }

    @Test("the text of a good site, line by line")
    func text() throws {
        let reading = try readSite(goodSite)
        let report = CheckReport(site: reading.site, problems: reading.problems)
        let fingerprints = reading.site.topology.tunnels.flatMap(\.children).flatMap {
            [$0.outbound.key, $0.inbound.key]
        }
        .map { String($0.fingerprint.description.prefix(16)) }
        let lines = report.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        #expect(lines[0].contains("warning: tunnel: static keys in all 2 tunnels: nothing"))
        let expected = """
            1 warning

            gateway site-a
              state directory  /var/lib/vpn-gw
              control socket   /run/vpn-gw/control.sock
              metrics address  127.0.0.1:9464
              worker cores     1, 2
              memory           512 MiB, huge pages
              EAL arguments  --log-level=5

            ports
              lan  protected    10.0.1.1/24                 mtu 1400  0000:03:00.0
              wan  unprotected  192.0.2.1/24, 192.0.2.3/24  mtu 1500  net_af_packet1,iface=wan

            routes
              198.51.100.0/24  via 192.0.2.254  wan

            neighbors
              192.0.2.254  02:00:00:00:00:fe  wan

            policies outbound, in the order they are looked at
              priority 5   policy-2  protect  0.0.0.0/0 to 0.0.0.0/0                            site-c
              priority 5   policy-2  protect  ::/0 to ::/0                                      site-c
              priority 10  policy-1  bypass   10.0.1.0/24 to 203.0.113.0/24, udp, destination ports 500-510
              tunnel       protect  10.0.1.0/24 to 10.0.2.0/24                                  site-b
              tunnel       protect  10.0.1.0/24 to 10.0.3.0/24                                  site-c
              tunnel       protect  10.0.1.0/24 to 10.0.4.0/24                                  site-c
                           discard  everything else

            policies inbound, in the order they are looked at
              tunnel  protect  10.0.2.0/24 to 10.0.1.0/24  site-b
              tunnel  protect  10.0.3.0/24 to 10.0.1.0/24  site-c
              tunnel  protect  10.0.4.0/24 to 10.0.1.0/24  site-c
                      discard  everything else

            tunnel site-b
              addresses       192.0.2.1 to 198.51.100.1
              local subnets   10.0.1.0/24
              remote subnets  10.0.2.0/24
              carries         IPv4 in tunnel mode, IPv4 outside
              algorithm       aes-128-gcm-16, 32-bit sequence numbers
              inner MTU       1446 octets
              outbound SA     SPI 0x00001001, key \(fingerprints[0])
              inbound SA      SPI 0x00002001, key \(fingerprints[1]), replay window 2048 packets
              child 1         not before 2027-01-01T00:00:00Z
              outbound SA     SPI 0x00001003, key \(fingerprints[2])
              inbound SA      SPI 0x00002003, key \(fingerprints[3]), replay window 512 packets
              an SA lasts     7 min 54 s at 10 GbE line rate of 64-octet frames, 1 h 28 min of 1446-octet packets

            tunnel site-c
              addresses       192.0.2.3 to 192.0.2.9
              local subnets   10.0.1.0/24
              remote subnets  10.0.3.0/24, 10.0.4.0/24
              carries         IPv4 in tunnel mode, IPv4 outside
              algorithm       aes-128-gcm-16, 32-bit sequence numbers
              inner MTU       1446 octets
              outbound SA     SPI 0x00001002, key \(fingerprints[4])
              inbound SA      SPI 0x00002002, key \(fingerprints[5]), replay window 1024 packets
              soft lifetime   1000000 packets
              hard lifetime   2000000 packets, 86400 seconds
              an SA lasts     7 min 54 s at 10 GbE line rate of 64-octet frames, 1 h 28 min of 1446-octet packets
            """
        for (index, line) in expected.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let got = index + 1 < lines.count ? lines[index + 1] : "nothing"
            // Columns are as wide as their widest cell; their blanks are not what this is about.
            #expect(CheckReportTests.words(got) == CheckReportTests.words(String(line)))
        }
        #expect(!TestKeys.leak(in: report.text))
        #expect(lines.allSatisfy { $0.last != " " })
    }

    private static func words(_ line: String) -> [Substring] { line.split(separator: " ") }

    @Test("an SA's life at line rate")
    func lifetimes() {
        // A 64-octet frame leaves as one of 118, with 20 of preamble and gap: 9.06 million a second.
        #expect(SALifetime.seconds(inner: 46) == 474)
        // 1446 octets leave as 1500, 1538 on the wire.
        #expect(SALifetime.seconds(inner: 1446) == 5284)
        // With UDP 8 more, and 20 for IPv6; 2^64 packets take 2^32 times as long.
        var profile = AssociationProfile()
        profile.natTraversal = true
        #expect(SALifetime.seconds(inner: 46, profile) == (1 << 32) * (118 + 20 + 8) * 8 / 10_000_000_000)
        #expect(SALifetime.seconds(inner: 46, AssociationProfile(), outer: .v6) == (1 << 32) * 158 * 8 / 10_000_000_000)
        profile = AssociationProfile()
        profile.extendedSequenceNumbers = true
        #expect(SALifetime.seconds(inner: 46, profile) >> 32 == 474)
        profile.tfcPaddingOctets = 1446
        #expect(SALifetime.seconds(inner: 46, profile) == SALifetime.seconds(inner: 1446, profile))
        #expect(SALifetime.text(200_000) == "2 days" && SALifetime.text(1 << 40) == "34865 years")
        #expect(SALifetime.text(474) == "7 min 54 s" && SALifetime.text(5284) == "1 h 28 min")
    }

    @Test("the JSON holds the same words, and null for what is not known")
    func json() throws {
        let reading = try readSite(goodSite)
        let report = CheckReport(site: reading.site, problems: reading.problems)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any])
        #expect(object["valid"] as? Bool == true)
        let site = try #require(object["site"] as? [String: Any])
        #expect(site["worker_cores"] as? [Int] == [1, 2])
        let policies = try #require(site["policies"] as? [[String: Any]])
        #expect(
            policies.map { $0["action"] as? String } == ["protect", "protect", "bypass"]
                + Array(repeating: "protect", count: 6))
        #expect(policies[2]["protocol"] as? String == "udp" && policies[2]["destination_ports"] as? String == "500-510")
        let tunnels = try #require(site["tunnels"] as? [[String: Any]]), tunnel = tunnels[0]
        let child = try #require((tunnel["children"] as? [[String: Any]])?.first)
        #expect(child["not_before"] as? String == "2027-01-01T00:00:00Z")
        #expect((child["outbound"] as? [String: Any])?["spi"] as? String == "0x00001003")
        #expect((child["inbound"] as? [String: Any])?["replay_window_packets"] as? Int == 512)
        #expect((tunnels[1]["children"] as? [Any])?.isEmpty == true)
        #expect(tunnels[1]["soft_lifetime_packets"] as? Int == 1_000_000)
        #expect(tunnels[1]["hard_lifetime_seconds"] as? Int == 86400 && tunnel["hard_lifetime_seconds"] == nil)
        #expect(tunnel["inner_mtu_octets"] as? Int == 1446)
        #expect(tunnel["lifetime_seconds_smallest"] as? Int == 474)
        #expect((tunnel["outbound"] as? [String: Any])?["spi"] as? String == "0x00001001")
        #expect((tunnel["inbound"] as? [String: Any])?["replay_window_packets"] as? Int == 2048)
        #expect(!TestKeys.leak(in: report.json))
    }

    @Test("what is left of the sequence numbers, by the state directory")
    func state() throws {
        let reading = try readSite(goodSite)
        let used = try #require(reading.site.topology.tunnels.first).children[0].outbound
        func report(_ reserved: UInt64?) -> CheckReport {
            var report = CheckReport(site: reading.site, problems: [])
            let identity = SAIdentity(fingerprint: used.key.fingerprint, spi: used.spi)
            let records = reserved.map { [SARecord(identity: identity, installedAt: 0, sequenceReserved: $0)] }
            report.add(.success(records ?? []), "site.toml")
            return report
        }
        #expect(report(nil).site?.tunnels.map(\.outbound.restartsLeft) == [16383, 16383])
        #expect(report(nil).text.contains("  16383; 0 of 4294967295 sequence numbers reserved"))
        let some = report(1 << 20)
        #expect(some.problems.isEmpty)
        #expect(some.site?.tunnels.map(\.outbound.sequenceNumbersReserved) == [1 << 20, 0])
        #expect(some.json.contains("\"restarts_left\" : 16379"))
        #expect(some.site?.tunnels[0].inbound.restartsLeft == nil)
        #expect(report(UInt64(UInt32.max) - (100 << 18)).problems.isEmpty)
        let few = report(UInt64(UInt32.max) - (100 << 18) + 1)
        #expect(few.problems.map(\.path) == ["tunnel[0].outbound"] && few.problems[0].severity == "warning")
        #expect(few.problems[0].message.contains("99 restarts are left"))
        #expect(report(.max).site?.tunnels[0].outbound.restartsLeft == 0)
    }

    @Test("a state directory that can't be looked into is a note, one that a gateway would refuse a warning")
    func stateUnreadable() throws {
        for (error, severity) in [
            (.inaccessible(path: "/var/lib/vpn-gw/lock", code: EACCES), "note"),
            (.lost(path: "/var/lib/vpn-gw/sa-store.sqlite"), "warning"),
        ] as [(StoreError, String)] {
            var report = CheckReport(site: try readSite(goodSite).site, problems: [])
            report.add(.failure(error), "site.toml")
            #expect(report.problems.map(\.severity) == [severity])
            #expect(report.problems[0].path == "gateway.state_directory")
            #expect(report.site?.tunnels.map(\.outbound.restartsLeft) == [16383, 16383])
        }
    }

    @Test("a site that can't be used is its problems alone")
    func invalid() throws {
        let error = try #require(throws: ConfigurationError.self) {
            try readSite(goodSite.replacingOccurrences(of: "spi = 0x1001", with: "spi = 7"))
        }
        let report = CheckReport(site: nil, problems: error.problems)
        #expect(report.text.hasSuffix("1 error, 1 warning\n"))
        let object = try #require(try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any])
        #expect(object["valid"] as? Bool == false && object["site"] == nil)
        #expect(
            (object["problems"] as? [[String: Any]])?.map { $0["path"] as? String } == [
                "tunnel", "tunnel[0].outbound.spi",
            ])
        let absent = CheckReport(
            site: nil,
            problems: [
                ConfigurationProblem(
                    .error, file: "x.toml", line: nil, path: "", message: "there is no such file", hint: "")
            ])
        #expect(absent.json.contains("\"line\" : null"))
    }

    @Test("a key that somebody put where a name or an argument should be is not shown")
    func misplacedKey() throws {
        for piece in [TestKeys.first, String(TestKeys.first.dropLast(5))] {
            let text = goodSite.replacingOccurrences(of: "--log-level=5", with: piece)
                .replacingOccurrences(of: "name = \"site-a\"", with: "name = \"x\(piece)\"")
                .replacingOccurrences(of: "0000:03:00.0", with: "net_null0,\(piece)")
            let reading = try readSite(text)
            let report = CheckReport(site: reading.site, problems: reading.problems)
            #expect(!TestKeys.leak(in: report.text) && !TestKeys.leak(in: report.json))
        }
    }
}
