import ESP
import Foundation
import IPsec
import SeededRandom
import Testing
import Wire

@testable import Gateway

@Suite("Site files")
struct SiteReaderTests {
    @Test("a good site is read whole")
    func good() throws {
        let reading = try readSite(goodSite, mode: .run), site = reading.site
        #expect(reading.problems.map(\.severity) == [.warning])
        #expect(site.gateway.name == "site-a")
        #expect(site.gateway.stateDirectory == "/var/lib/vpn-gw")
        #expect(site.gateway.controlSocket == "/run/vpn-gw/control.sock")
        #expect(site.gateway.metricsAddress == "127.0.0.1:9464")
        #expect(site.dpdk.workerCores == [1, 2] && site.dpdk.hugePages && site.dpdk.memoryMiB == 512)
        #expect(site.dpdk.ealArguments == ["--log-level=5"])
        #expect(site.topology.ports.map(\.name) == ["lan", "wan"])
        #expect(site.topology.ports.map(\.mtuOctets) == [1400, 1500])
        #expect(site.topology.ports.map(\.localServices) == [true, true])
        #expect(site.topology.ports[1].addresses.map(\.description) == ["192.0.2.1/24", "192.0.2.3/24"])
        #expect(site.topology.routes.map(\.port) == [1])
        #expect(site.topology.neighbors.first?.mac == MACAddress(rawValue: 0x0200_0000_00fe))
        #expect(site.topology.tunnels.map(\.innerMTUOctets) == [1446, 1446])
        #expect(site.topology.tunnels.map(\.children[0].outbound.spi.rawValue) == [0x1001, 0x1002])
        #expect(site.topology.tunnels.map(\.children.count) == [2, 1])
        let child = site.topology.tunnels[0].children[1]
        #expect(site.topology.tunnels[0].children[0].notBefore == nil && child.notBefore == 1_798_761_600)
        #expect(child.outbound.spi.rawValue == 0x1003 && child.inbound.spi.rawValue == 0x2003)
        #expect(child.inbound.replayWindowPackets == 512)
        #expect(child.inbound.key.fingerprint == fingerprint(TestKeys.sixth))
        #expect(site.topology.tunnels[0].lifetime.isEmpty)
        let soft = Lifetime.Limits(packets: 1_000_000), hard = Lifetime.Limits(packets: 2_000_000, seconds: 86400)
        #expect(site.topology.tunnels[1].lifetime == Lifetime(soft: soft, hard: hard))
        #expect(site.gateway.hookCommand.isEmpty)
        #expect(site.topology.tunnels.map(\.children[0].inbound.replayWindowPackets) == [2048, 1024])
        #expect(
            site.topology.tunnels[0].children[0].outbound.key.fingerprint
                == fingerprint(TestKeys.first))
        #expect(site.topology.policies.map(\.action) == [.bypass, .protect(tunnel: 1), .protect(tunnel: 1)])
        #expect(site.topology.policies.map(\.name) == ["policy-1", "policy-2", "policy-2"])
        #expect(
            site.topology.policies[0].selector.destinationPorts == 500...510
                && site.topology.policies[0].selector.ipProtocol == 17)
        #expect(site.topology.policies[1...].map(\.selector.source.description) == ["0.0.0.0/0", "::/0"])
        #expect(
            site.topology.policiesInOrder(.outbound).map(\.action) == [
                .protect(tunnel: 1), .protect(tunnel: 1), .bypass, .protect(tunnel: 0), .protect(tunnel: 1),
                .protect(tunnel: 1),
            ])
        #expect(site.topology.policiesInOrder(.inbound).first?.selector.source.description == "10.0.2.0/24")
    }

    @Test("each rule is told with path, line and words", arguments: RuleCase.all)
    func rule(_ rule: RuleCase) throws {
        let range = try #require(rule.site.range(of: rule.replaced), "not in the good site: \(rule.replaced)")
        let text = rule.site.replacingCharacters(in: range, with: rule.by)
        // The line is found in the text, without the reader's index.
        let place = try #require(text.range(of: rule.line), "no line \(rule.line)")
        let line = text[..<place.lowerBound].count { $0 == "\n" } + 1
        let all = problems(of: text)
        let found = all.filter { $0.path == rule.path && "\($0)".contains(rule.words) }
        let said = all.map(\.description).joined(separator: "\n")
        #expect(found.count == 1, "\(said)")
        #expect(found.first?.severity == rule.severity, "\(said)")
        #expect(found.first?.line == line, "\(said)")
        #expect(!all.contains { TestKeys.leak(in: "\($0)") })
        let reading = try? readSite(text)
        #expect((reading == nil) == (rule.severity == .error))
    }

    @Test("offload in both its forms")
    func offload() throws {
        let text = goodSite.replacingOccurrences(
            of: "offload = \"auto\"", with: "offload = { outbound = \"auto\", inbound = \"off\" }")
        _ = try readSite(text)
    }

    @Test("lookaside with a crypto device, each way or one")
    func lookaside() throws {
        let text = goodSite.replacingOccurrences(
            of: "memory_mib = 512", with: "crypto_devices = [\"crypto_aesni_mb0\", \"0000:3d:01.0\"]")
        let both = try readSite(
            text.replacingOccurrences(of: "offload = \"auto\"", with: "offload = \"lookaside\"")
        ).site
        #expect(both.dpdk.cryptoDevices == ["crypto_aesni_mb0", "0000:3d:01.0"])
        #expect(both.topology.tunnels[0].offload.outbound == .lookaside)
        #expect(both.topology.tunnels[0].offload.inbound == .lookaside)
        let one = try readSite(
            text.replacingOccurrences(of: "offload = \"auto\"", with: "offload = { inbound = \"lookaside\" }")
        ).site
        #expect(one.topology.tunnels[0].offload.outbound == .auto)
        #expect(one.topology.tunnels[0].offload.inbound == .lookaside)
    }

    @Test("a child without a date may stand anywhere, and 63 of them behind the tunnel's own pair")
    func children() throws {
        let more = (0..<62).map { index in
            let digits = String(index + 256, radix: 16), zeros = String(repeating: "0", count: 28)
            return """
                [[tunnel.child]]
                outbound = { spi = \(index + 1000), key = "0xa\(zeros)\(digits)00000000" }
                inbound = { spi = \(index + 1000), key = "0xb\(zeros)\(digits)00000000" }

                """
        }
        let place = "[[tunnel.child]]\nnot_before"
        let children = try readSite(goodSite.replacingOccurrences(of: place, with: more.joined() + place)).site.topology
            .tunnels[0].children
        #expect(children.map(\.outbound.spi.rawValue) == [0x1001] + (1000..<1062).map { UInt32($0) } + [0x1003])
        #expect(children.map { $0.notBefore != nil } == Array(repeating: false, count: 63) + [true])
    }

    @Test("children as an array of inline tables have their lines")
    func inlineChildren() {
        let text = goodSite.replacingOccurrences(
            of: "mode = \"tunnel\"",
            with: """
                child = [
                  { outbound = { spi = 7, key = "" }, inbound = { spi = 9, key_file = "x" } }, { not_before = 1 },
                  { outbound = { spi = 0x7001, keys = 1 }, inbound = {} }
                ]
                """
        ).replacingOccurrences(of: "[[tunnel.child]]", with: "[[tunnel]]")
        let line = text.split(separator: "\n", omittingEmptySubsequences: false).firstIndex { $0.contains("child = [") }
        let lines = Dictionary(problems(of: text).map { ($0.path, $0.line.map { $0 - 1 - (line ?? 0) }) }) { $1 }
        #expect(lines["tunnel[0].child[0].outbound.spi"] == 1)
        #expect(lines["tunnel[0].child[0].outbound.key"] == 1)
        #expect(lines["tunnel[0].child[0].inbound.key_file"] == 1)
        #expect(lines["tunnel[0].child[1].not_before"] == 1)
        #expect(lines["tunnel[0].child[2].outbound.keys"] == 2)
        #expect(lines["tunnel[0].child[2].inbound.spi"] == 2)
    }

    @Test("a hook is a program and its arguments")
    func hook() throws {
        let text = goodSite.replacingOccurrences(of: "[dpdk]", with: "hook_command = [\"/bin/x\", \"a b\"]\n[dpdk]")
        let reading = try readSite(text)
        #expect(reading.site.gateway.hookCommand == ["/bin/x", "a b"])
        let report = CheckReport(site: reading.site, problems: [])
        #expect(report.text.contains("hook command  /bin/x a b"))
        let none = goodSite.replacingOccurrences(of: "[dpdk]", with: "hook_command = []\n[dpdk]")
        #expect(try readSite(none).site.gateway.hookCommand.isEmpty)
    }

    @Test("all problems are told at once, in the file's order, as compilers print them")
    func allAtOnce() throws {
        var text = goodSite
        for (replaced, by) in [("spi = 0x1001", "spi = 255"), ("1400", "14"), ("priority = 5", "priority = \"5\"")] {
            text = text.replacingOccurrences(of: replaced, with: by)
        }
        let error = try #require(throws: ConfigurationError.self) { try readSite(text) }
        #expect(error.exitCode == .configuration)
        #expect(
            error.problems.filter { $0.severity == .error }.map(\.path) == [
                "port[0].mtu_octets", "tunnel[0].outbound.spi", "policy[1].priority",
            ])
        let line = text[..<(try #require(text.range(of: "spi = 255")).lowerBound)].count { $0 == "\n" } + 1
        #expect(
            error.description.contains(
                "/etc/vpn-gw/site.toml:\(line): tunnel[0].outbound.spi: SPI 255 is reserved (RFC 4303 section 2.1); "
                    + "hint: use 256 or above"))
        #expect(error.description.contains(": warning: tunnel: static keys in all 2 tunnels: "))
    }

    @Test("that keys are static is said once, of all tunnels, at the first one's line")
    func staticKeys() throws {
        func told(_ text: String) -> [ConfigurationProblem] {
            problems(of: text).filter { $0.message.hasPrefix("static keys") }
        }
        let several = try #require(told(goodSite).first)
        #expect(told(goodSite).count == 1 && several.path == "tunnel" && several.severity == .warning)
        #expect(several.message.hasPrefix("static keys in all 2 tunnels: "))
        let header = try #require(goodSite.range(of: "[[tunnel]]"))
        #expect(several.line == goodSite[..<header.lowerBound].count { $0 == "\n" } + 1)
        let second = try #require(goodSite.range(of: "[[tunnel]]", range: header.upperBound..<goodSite.endIndex))
        let rest = goodSite.range(of: "\n[[policy]]", range: second.upperBound..<goodSite.endIndex)
        var one = goodSite
        one.removeSubrange(second.lowerBound..<(rest?.lowerBound ?? goodSite.endIndex))
        #expect(told(one).map(\.message).allSatisfy { $0.hasPrefix("static keys: ") } && told(one).count == 1)
    }

    @Test(
        "what can't be parsed is told by line",
        arguments: [
            ("[gateway]\nname = \"a\nb\"\n", 2), ("[gateway]\n\nname = = 1\n", 3), ("[gateway\n", 1),
            ("a = 1\nb\u{0} = 2", 2),
            ("\na.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1", 2), ("[gateway]\nname = \"a\"\nname = \"b\"\n", 3),
            ("a = 1\n[=]\n", 2), ("a = 1\nb = [ }", 2), ("d = [1979-05-27 9]", 1),
            ("a = 1\nb = 1979-02-29T00:00:00Z\n", 2), ("b = 1979-02-28T24:00:00Z\n", 1),
            ("b = 1979-02-28 00:00:00Z\n", 1),
        ])
    func syntax(text: String, line: Int) throws {
        let error = try #require(throws: ConfigurationError.self) { try readSite(text) }
        #expect(error.exitCode == .configuration)
        #expect(error.problems.map(\.line) == [line], "\(error)")
    }

    @Test("a key without quotes is not quoted in the parser's words")
    func unquotedKey() {
        for by in [TestKeys.first, "0x" + TestKeys.first.dropFirst(24), "\(TestKeys.first)\"\"", "x\(TestKeys.first)"] {
            let all = problems(of: goodSite.replacingOccurrences(of: "\"\(TestKeys.first)\"", with: by))
            #expect(!all.isEmpty && !all.contains { TestKeys.leak(in: "\($0)") }, "\(all)")
            for digits in ["c0ffee15c0f", "ffee15c0"] { #expect(!all.contains { "\($0)".contains(digits) }, "\(all)") }
        }
    }

    @Test("an empty file is told what it lacks")
    func empty() { #expect(problems(of: "").map(\.path) == ["dpdk", "port"]) }

    @Test("a million mistakes make a short list")
    func manyMistakes() {
        let all = problems(of: (0..<2000).map { "unknown\($0) = 1" }.joined(separator: "\n"))
        #expect(all.count == 501)
        #expect(all.last?.message.contains("further problems") == true)
    }

    @Test("of thousands of tunnels each mistake is told with its line, in their order", arguments: [3, 499, 500, 700])
    func largeSite(mistakes: Int) throws {
        var random = SplitMix64(seed: UInt64(mistakes))
        let count = 3000
        let wrong = Set((0..<count).shuffled(using: &random).prefix(mistakes))
        let head = try #require(goodSite.firstRange(of: "[[tunnel]]").map { String(goodSite[..<$0.lowerBound]) })
        var text = head, expected: [(line: Int, path: String)] = []
        var line = head.count { $0 == "\n" }
        for number in 0..<count {
            let isWrong = wrong.contains(number), key = String(0x1000 + number, radix: 16)
            let keys = ["1", "2"].map { $0 + key + String(repeating: "0", count: 39 - key.count) }
            let lines = [
                "[[tunnel]]", "name = \"t\(number)\"", "local_address = \"192.0.2.1\"",
                "remote_address = \"192.0.2.2\"", "local_subnets = [\"10.0.1.0/24\"]",
                "remote_subnets = [\"11.\(number >> 8).\(number & 255).0/24\"]",
                "outbound = { spi = \(isWrong ? 5 : 0x1_0000 + number), key = \"0x\(keys[0])\" }",
                "inbound = { spi = \(0x2_0000 + number), key = \"0x\(keys[1])\" }",
            ]
            text += lines.joined(separator: "\n") + "\n"
            if isWrong { expected.append((line + 7, "tunnel[\(number)].outbound.spi")) }
            line += lines.count
        }
        let all = problems(of: text), errors = all.filter { $0.severity == .error }
        let told = errors.filter { $0.line != nil }
        let wrongly = zip(told, expected).first { ($0.path, $0.line) != ($1.path, $1.line) }
        #expect(wrongly == nil)
        #expect(told.count == min(mistakes, 500))
        #expect(errors.count == told.count || errors.last?.message.contains("further problems") == true)
        #expect(mistakes < 700 || errors.count == told.count + 1)
    }

    // MARK: Files

    @Test(
        "an absent file is 66, a forbidden one 77, a directory 66",
        arguments: [
            (ENOENT, ExitCode.noInput), (ENOTDIR, .noInput), (EACCES, .noPermission), (EPERM, .noPermission),
            (EISDIR, .noInput),
            (EFBIG, .noInput), (EIO, .noInput),
        ])
    func failures(errorNumber: Int32, exitCode: ExitCode) throws {
        let files = MemoryFiles(failures: ["/etc/vpn-gw/site.toml": errorNumber])
        let error = try #require(throws: ConfigurationError.self) { try readSite("", files: files) }
        #expect(error.exitCode == exitCode)
        #expect(error.problems.count == 1)
    }

    @Test("the file system's own answers")
    func fileSystem() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("vpn-gw-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        func failure(_ path: String, limit: Int = 100) -> Int32? {
            guard case .failure(let failure) = FileReader.system.read(path, limit) else { return nil }
            return failure.errorNumber
        }
        #expect(failure(directory.path + "/absent") == ENOENT)
        #expect(failure(directory.path) == EISDIR)
        let file = directory.appendingPathComponent("site.toml")
        try Data("abc".utf8).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: file.path)
        let contents = try FileReader.system.read(file.path, 100).get()
        #expect(contents.octets == Array("abc".utf8) && contents.permissions == 0o640 && contents.isReadableByOthers)
        #expect(failure(file.path, limit: 2) == EFBIG)
        #expect(failure(file.path, limit: 3) == nil)
    }

    @Test("a file of mode 0 may not be read", .enabled(if: geteuid() != 0, "root may read anything"))
    func forbidden() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("vpn-gw-\(UUID().uuidString)")
        try Data("abc".utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        try FileManager.default.setAttributes([.posixPermissions: 0], ofItemAtPath: file.path)
        let error = try #require(throws: ConfigurationError.self) { try SiteReader.read(path: file.path, mode: .check) }
        #expect(error.exitCode == .noPermission)
    }

    // MARK: Keys

    @Test(
        "inline keys in a file that others may read", arguments: SiteReader.Mode.allCases,
        [0o600, 0o640, 0o604] as [UInt32])
    func inlineKeys(mode: SiteReader.Mode, permissions: UInt32) {
        let told = problems(of: goodSite, mode: mode, permissions: permissions).filter {
            $0.message.contains("6 keys stand")
        }
        let expected: [ConfigurationProblem.Severity] = permissions == 0o600 ? [] : [mode == .run ? .error : .warning]
        #expect(told.map(\.severity) == expected)
        #expect(told.allSatisfy { $0.path == "tunnel[0].outbound.key" })
    }

    private static let withKeyFile = goodSite.replacingOccurrences(
        of: "key = \"\(TestKeys.first)\"", with: "key_file = \"keys/out.key\"")

    @Test("a key file beside the site file is the key", arguments: ["", "\n", "\r\n"])
    func keyFile(end: String) throws {
        let files = MemoryFiles(files: ["/etc/vpn-gw/keys/out.key": (TestKeys.first + end, 0o400)])
        let reading = try readSite(SiteReaderTests.withKeyFile, mode: .run, files: files)
        #expect(
            reading.site.topology.tunnels[0].children[0].outbound.key.fingerprint
                == fingerprint(TestKeys.first))
    }

    @Test(
        "a key file that is open to others, or wrong, is refused",
        arguments: [
            (TestKeys.first, 0o640, "chmod 600"), (TestKeys.first, 0o604, "chmod 600"), ("", 0o600, "in one line"),
            (TestKeys.first + "\n\n", 0o600, "in one line"), (TestKeys.first + " ", 0o600, "in one line"),
            (String(TestKeys.first.dropLast()), 0o600, "in one line"),
        ] as [(String, UInt32, String)])
    func badKeyFile(text: String, permissions: UInt32, words: String) {
        let files = MemoryFiles(files: ["/etc/vpn-gw/keys/out.key": (text, permissions)])
        let all = problems(of: SiteReaderTests.withKeyFile, files: files).filter { $0.severity == .error }
        #expect(all.map(\.path) == ["tunnel[0].outbound.key_file"])
        #expect(all.first?.description.contains(words) == true)
        #expect(!all.contains { TestKeys.leak(in: "\($0)") })
    }

    @Test(
        "a key file that is absent or forbidden decides the exit code when nothing else is wrong",
        arguments: [
            (ENOENT, ExitCode.noInput), (EACCES, .noPermission),
        ])
    func missingKeyFile(errorNumber: Int32, exitCode: ExitCode) throws {
        let files = MemoryFiles(failures: ["/etc/vpn-gw/keys/out.key": errorNumber])
        let text = SiteReaderTests.withKeyFile
        let error = try #require(throws: ConfigurationError.self) { try readSite(text, files: files) }
        #expect(error.exitCode == exitCode)
        let worse = text.replacingOccurrences(of: "1400", with: "14")
        let both = try #require(throws: ConfigurationError.self) { try readSite(worse, files: files) }
        #expect(both.exitCode == .configuration)
    }

    // MARK: Modes and numbers

    @Test("pcap mode needs neither devices nor cores")
    func pcap() throws {
        let text = goodSite.replacingOccurrences(of: "device = \"0000:03:00.0\"\n", with: "")
            .replacingOccurrences(of: "net_af_packet1,iface=wan", with: "no such thing")
            .replacingOccurrences(of: "worker_cores = [1, 2]\n", with: "")
        let site = try readSite(text, mode: .pcap).site
        #expect(site.topology.ports.map(\.device) == ["", "no such thing"])
        #expect(site.dpdk.workerCores == [0])
    }

    private static let configurations = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("configs")

    @Test("the configurations that come with the gateway are all looked at")
    func configurations() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: SiteReaderTests.configurations.path)
        // Folders hold what other programs read.
        #expect(files.filter { $0.contains(".") }.sorted() == SiteReaderTests.names.map { $0 + ".toml" })
    }

    private static let names = [
        "capture", "hub", "nat", "rollover", "site-a", "site-b", "six-in-four", "transport",
    ]

    @Test("the configurations that come with the gateway", arguments: names)
    func shipped(name: String) throws {
        let path = SiteReaderTests.configurations.appendingPathComponent("\(name).toml").path
        let reading = try SiteReader.read(path: path, mode: .check)
        #expect(reading.site.gateway.name == name)
        #expect(!reading.site.dpdk.hugePages && reading.site.topology.tunnels.allSatisfy { $0.innerMTUOctets >= 1438 })
        // Static keys, and that the keys are in the file: those who cloned it may read it.
        #expect(reading.problems.allSatisfy { $0.message.contains("key") }, "\(reading.problems)")
        _ = try SiteReader.read(path: path, mode: .pcap)
    }

    @Test("the rollover that comes with the gateway has dates and lifetimes")
    func rollover() throws {
        let path = SiteReaderTests.configurations.appendingPathComponent("rollover.toml").path
        let tunnel = try SiteReader.read(path: path, mode: .check).site.topology.tunnels[0]
        #expect(tunnel.children.map(\.notBefore) == [nil, 1_798_761_600, 1_830_297_600])
        #expect(tunnel.lifetime.soft == Lifetime.Limits(packets: 3_600_000_000, seconds: 31_536_000))
        #expect(tunnel.lifetime.hard == Lifetime.Limits(packets: 4_000_000_000, seconds: 34_214_400))
    }
}
