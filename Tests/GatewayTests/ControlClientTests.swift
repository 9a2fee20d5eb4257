import Foundation
import IPsec
import Testing

@testable import Gateway

@Suite("vpn-gw's verbs ask a running gateway")
struct ControlClientTests {
    /// What the real program said.
    struct Run: Sendable {
        var status: Int32
        var output: String
        var errors: String
    }

    /// Runs the program that stands beside the tests, with `input` as its standard input; again when other tests kept
    /// the server from answering in the program's time.
    static func vpnGateway(_ arguments: [String], input: String = "") async throws -> Run {
        var run = try await runOnce(arguments, input: input)
        for _ in 0..<60 where run.errors.contains("no answer within") {
            run = try await runOnce(arguments, input: input)
        }
        return run
    }

    private static func runOnce(_ arguments: [String], input: String) async throws -> Run {
        try await offPool {
            let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            let process = Process(), output = Pipe(), errors = Pipe(), standardInput = Pipe()
            process.executableURL = program.appendingPathComponent("vpn-gw")
            process.arguments = arguments
            process.standardOutput = output
            process.standardError = errors
            process.standardInput = standardInput
            try process.run()
            try standardInput.fileHandleForWriting.write(contentsOf: Data(input.utf8))
            try standardInput.fileHandleForWriting.close()
            // Both are short enough for a pipe.
            let text = output.fileHandleForReading.readDataToEndOfFile()
            let words = errors.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return Run(
                status: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
                errors: String(decoding: words, as: UTF8.self))
        }
    }

    static let association = ControlView.Association(
        tunnel: "site-b", spi: SPI(rawValue: 0x1001), direction: .outbound, securityProtocol: "esp",
        algorithm: "aes-128-gcm-16", mode: "tunnel", extendedSequenceNumbers: false, localAddress: "192.0.2.1",
        remoteAddress: "198.51.100.1", state: .current,
        keyFingerprint: "0123456789abcdef", worker: 0, packets: 12_345, octets: UInt64(Int64.max) + 1,
        sequenceNumber: 7, notBefore: ControlTime(secondsSince1970: 1_798_761_600), origin: .file)

    @Test("show prints a table, numbers to the right, and JSON as the gateway has it")
    func show() async throws {
        try await ControlRig.run { rig in
            var other = Self.association
            (other.tunnel, other.packets, other.direction) = ("a-longer-name", 1, .inbound)
            let rows = [Self.association, other]
            rig.target.with { $0.views[.sa] = .sa(rows) }
            let socket = rig.directory.socket
            let table = try await Self.vpnGateway(["show", "sa", "--socket", socket])
            #expect(table.status == 0 && table.errors == "")
            let lines = table.output.split(separator: "\n").map(String.init)
            try #require(lines.count == 3)
            #expect(lines[0].hasPrefix("TUNNEL         DIRECTION  SPI         STATE"))
            #expect(lines[1].contains("  12345  9223372036854775808  ") && lines[2].contains("      1  "))
            #expect(lines.allSatisfy { !$0.hasSuffix(" ") })

            let json = try await Self.vpnGateway(["show", "sa", "--socket", socket, "--json"])
            let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
            let first = try #require((object?["sas"] as? [[String: Any]])?.first)
            #expect(first["spi"] as? String == "0x00001001" && first["not_before"] as? String == "2027-01-01T00:00:00Z")
            #expect(json.output.contains("\"octets\" : 9223372036854775808"))
        }
    }

    @Test("every subject has a table with titles, also without a row")
    func tables() async throws {
        for subject in ControlSubject.allCases where subject != .summary {
            let text = ControlTable.text(subject, [:])
            #expect(text.hasSuffix("\n") && text.first?.isUppercase == true, "\(subject)")
        }
        #expect(
            ControlTable.text(.drops, ["drops": ["late": 2, "malformed": 10], "help": ["late": "a\u{1b}[2Jb"]])
                == "REASON     PACKETS  MEANING\nmalformed       10  -\nlate             2  a\u{fffd}[2Jb\n")
        #expect(ControlTable.text(.workers, ["workers": [["index": 0, "busy_share": 0.125]]]).contains("12.5 %"))
    }

    @Test("pages are put together")
    func pages() async throws {
        try await ControlRig.run { rig in
            let count = ControlAPI.rowLimit + 5
            rig.target.with {
                $0.views[.routes] = .routes(
                    (0..<count).map {
                        ControlView.Route(family: "ipv4", destination: "\($0)", via: nil, port: "p", kind: "static")
                    })
            }
            var made = try ControlClient(socket: rig.directory.socket, config: nil)
            made.patience = 600
            let client = made
            let text = try await offPool { try client.show(.routes, json: true) }
            let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
            let routes = object?["routes"] as? [[String: Any]] ?? []
            #expect(routes.compactMap { $0["destination"] as? String } == (0..<count).map(String.init))
            #expect(object?["next_offset"] == nil)
        }
    }

    @Test("a reload's problems go to stderr with its exit code, its success to stdout")
    func reload() async throws {
        try await ControlRig.run { rig in
            rig.target.with { $0.outcome = ControlOutcome(.configuration, ["site.toml:3: one", "site.toml:4: two"]) }
            let config = rig.directory.path + "/site.toml"
            // The rest of the file is wrong, which the gateway will say.
            try "wrong = 1\n[gateway]\ncontrol_socket = \"\(rig.directory.socket)\"\n".write(
                toFile: config, atomically: true, encoding: .utf8)
            let refused = try await Self.vpnGateway(["reload", "--config", config])
            #expect(refused.status == 78 && refused.errors == "site.toml:3: one\nsite.toml:4: two\n")
            #expect(refused.output == "")
            rig.target.with { $0.outcome = ControlOutcome(.ok, ["2 tunnels changed"]) }
            let done = try await Self.vpnGateway(["reload", "--config", config])
            #expect(done.status == 0 && done.output == "2 tunnels changed\n" && done.errors == "")
        }
    }

    @Test("sa add sends the keys of its files, and activate and remove name an SA")
    func associations() async throws {
        try await ControlRig.run { rig in
            let directory = rig.directory.path, socket = rig.directory.socket
            try write(TestKeys.first + "\n", to: directory + "/out.key", mode: 0o600)
            try write(TestKeys.second, to: directory + "/in.key", mode: 0o400)
            let add = [
                "sa", "add", "--tunnel", "site \"b\"", "--outbound-spi", "0x1002", "--outbound-key-file",
                directory + "/out.key", "--inbound-spi", "0x2002", "--socket", socket,
            ]
            let options = ["--replay-window-packets", "64", "--not-before", "2027-01-01T00:00:00Z"]
            let added = try await Self.vpnGateway(add + options + ["--inbound-key-file", directory + "/in.key"])
            #expect(added.status == 0 && added.output == "done\n", "\(added.errors)")
            let request = try #require(rig.target.with { $0.added.first })
            #expect(request.tunnel == "site \"b\"" && request.replayWindowPackets == 64)
            #expect(request.outboundSPI.rawValue == 0x1002 && request.inboundSPI.rawValue == 0x2002)
            #expect(request.notBefore == 1_798_761_600)
            #expect(request.outboundKey.fingerprint == fingerprint(TestKeys.first))
            #expect(request.inboundKey.fingerprint == fingerprint(TestKeys.second))

            let byPipe = try await Self.vpnGateway(add + ["--inbound-key-file", "-"], input: TestKeys.third + "\n")
            #expect(byPipe.status == 0, "\(byPipe.errors)")
            #expect(rig.target.with { $0.added.last }?.inboundKey.fingerprint == fingerprint(TestKeys.third))

            for verb in ["activate", "remove"] {
                let run = try await Self.vpnGateway(
                    ["sa", verb, "--tunnel", "site-b", "--spi", "0x1002", "--socket", socket])
                #expect(run.status == 0 && rig.target.calls.contains("\(verb) site-b 0x00001002"))
            }
            let wrong = try await Self.vpnGateway(
                ["sa", "remove", "--tunnel", "site-b", "--spi", "0xff", "--socket", socket])
            #expect(wrong.status == 64 && wrong.errors.contains("spi is not an SPI"))
            let offload = try await Self.vpnGateway(["offload", "--tunnel", "t", "required", "--socket", socket])
            #expect(offload.status == 0 && rig.target.calls.contains("offload t both required"))
        }
    }

    @Test("key files that others may read, or that hold no key, are refused without a word of what they hold")
    func keyFiles() async throws {
        try await ControlRig.run { rig in
            let directory = rig.directory.path
            try write(TestKeys.first, to: directory + "/good.key", mode: 0o600)
            try write(TestKeys.second, to: directory + "/loose.key", mode: 0o640)
            try write(TestKeys.second + "0", to: directory + "/long.key", mode: 0o600)
            for (name, status) in [("loose.key", 77), ("long.key", 64), ("absent.key", 66)] as [(String, Int32)] {
                let run = try await Self.vpnGateway([
                    "sa", "add", "--tunnel", "t", "--outbound-spi", "0x1002", "--outbound-key-file",
                    directory + "/good.key", "--inbound-spi", "0x2002", "--inbound-key-file", directory + "/" + name,
                    "--socket", rig.directory.socket,
                ])
                #expect(run.status == status && run.errors.contains(name))
                #expect(!TestKeys.leak(in: run.errors + run.output))
            }
            #expect(rig.target.calls == [])
        }
    }

    @Test("no gateway is 69 and names the socket; a wrong verb is 64 and names the right one")
    func absent() async throws {
        let directory = try ControlDirectory()
        let gone = try await Self.vpnGateway(["show", "sa", "--socket", directory.socket])
        #expect(gone.status == 69 && gone.errors.contains(directory.socket))
        let verb = try await Self.vpnGateway(["shw", "sa"])
        #expect(verb.status == 64 && verb.errors.contains("did you mean show?"))
        let nested = try await Self.vpnGateway(["sa", "activat"])
        #expect(nested.status == 64 && nested.errors.contains("did you mean activate?"))
        #expect(try await Self.vpnGateway(["show", "nothing"]).status == 64)
    }

    @Test("an answer that is none is told from a gateway's")
    func parse() {
        #expect(ControlConnection.parse(Array("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".utf8))?.status == 200)
        for text in [
            "", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n{}", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
            "HTTP/1.1 abc\r\ncontent-length: 0\r\n\r\n",
        ] {
            #expect(ControlConnection.parse(Array(text.utf8)) == nil, "\(text)")
        }
    }

    @Test("a frame goes over the one before and never beyond the terminal's last line")
    func frames() {
        #expect(ControlScreen.frame("a\nb\n", rows: nil) == "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J")
        #expect(ControlScreen.frame("a\nb\nc\n", rows: 3) == "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J")
        #expect(ControlScreen.frame("", rows: 1) == "\u{1b}[H\u{1b}[J")
    }

    private func write(_ text: String, to path: String, mode: Int) throws {
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }
}

@Suite("Whom root sends keys to")
struct ControlTrustTests {
    @Test("a service's own directory in root's, and no place that others may have put a socket in")
    func places() throws {
        let directory = try ControlDirectory()
        let mine = geteuid(), outer = directory.path + "/run", inner = outer + "/vpn-gw"
        try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: true)
        func judge(_ outerMode: Int, _ innerMode: Int, uid: UInt32, root: UInt32) throws -> Bool {
            try FileManager.default.setAttributes([.posixPermissions: outerMode], ofItemAtPath: outer)
            try FileManager.default.setAttributes([.posixPermissions: innerMode], ofItemAtPath: inner)
            return ControlConnection.isPlace(inner + "/control.sock", of: uid, below: outer, root: root)
        }
        #expect(try judge(0o755, 0o750, uid: mine, root: mine))
        #expect(try !judge(0o755, 0o770, uid: mine, root: mine))
        #expect(try !judge(0o777, 0o750, uid: mine, root: mine))
        #expect(try !judge(0o1777, 0o750, uid: mine, root: mine))
        #expect(try !judge(0o755, 0o750, uid: mine + 1, root: mine))
        #expect(try !judge(0o755, 0o750, uid: mine, root: mine + 1))
        // A user's home in one of root's is no service's place; nor is what is further below, or behind a link.
        #expect(!ControlConnection.isPlace(inner + "/control.sock", of: mine, root: mine))
        #expect(!ControlConnection.isPlace("/nowhere/at/all", of: mine))
        try FileManager.default.createDirectory(atPath: inner + "/deep", withIntermediateDirectories: false)
        #expect(!ControlConnection.isPlace(inner + "/deep/control.sock", of: mine, below: outer, root: mine))
        try FileManager.default.createSymbolicLink(atPath: outer + "/link", withDestinationPath: inner)
        #expect(!ControlConnection.isPlace(outer + "/link/control.sock", of: mine, below: outer, root: mine))
    }
}
