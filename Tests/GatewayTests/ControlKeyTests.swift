import ESP
import Foundation
import IPsec
import SeededRandom
import Testing

@testable import Gateway

@Suite("Keys go in by the control socket and never come out")
struct ControlKeyTests {
    private static func body(
        outbound: String = "{\"spi\":\"0x1002\",\"key\":\"\(TestKeys.first)\"}",
        inbound: String = "{\"spi\":\"0x2002\",\"key\":\"\(TestKeys.second)\"}", rest: String = ""
    ) -> String {
        "{\"tunnel\":\"site-b\",\"outbound\":\(outbound),\"inbound\":\(inbound)\(rest)}"
    }

    @Test("a good request arrives whole")
    func good() async throws {
        try await ControlRig.run { rig in
            for (rest, time) in [
                ("", nil), (",\"not_before\":null", nil), (",\"not_before\":1798761600", 1_798_761_600),
                (",\"not_before\":\"2027-01-01T00:00:00Z\"", 1_798_761_600),
                (",\"not_before\":\"2027-01-01T01:00:00+01:00\"", 1_798_761_600),
            ] as [(String, Int64?)] {
                let answer = try await rig.ask("POST", "/v1/sa/add", Self.body(rest: rest))
                #expect(answer.status == 200, "\(rest): \(answer.body)")
                let request = try #require(rig.target.with { $0.added.popLast() })
                #expect(request.notBefore == time && request.replayWindowPackets == 1024)
                #expect(request.tunnel == "site-b")
                #expect(request.outboundSPI.rawValue == 0x1002 && request.inboundSPI.rawValue == 0x2002)
                #expect(request.outboundKey.fingerprint == fingerprint(TestKeys.first))
                #expect(request.inboundKey.fingerprint == fingerprint(TestKeys.second))
            }
        }
    }

    @Test("keys of any algorithm arrive, and are those of the one that is asked for", arguments: Algorithm.all)
    func algorithms(algorithm: Algorithm) throws {
        let keys = KeyFiles.makePair(for: algorithm) { KeyFiles.makeKey(for: algorithm) }
        let text = Self.body(
            outbound: "{\"spi\":\"0x1002\",\"key\":\"\(keys.there)\"}",
            inbound: "{\"spi\":\"0x2002\",\"key\":\"\(keys.back)\"}")
        let request = try AddAssociations(body: Array(text.utf8))
        for other in Algorithm.all {
            let material = request.outboundKey.material(for: other)
            #expect((material != nil) == (other.keyMaterialOctets == algorithm.keyMaterialOctets))
            #expect(material.map { $0.algorithm == other } ?? true)
        }
        let expected = KeyMaterial(hexadecimal: keys.there, for: algorithm)?.fingerprint
        #expect(request.outboundKey.material(for: algorithm)?.fingerprint == expected)
        #expect(request.inboundKey.material(for: algorithm)?.fingerprint == request.inboundKey.fingerprint)
    }

    @Test("errors name the field, and no answer holds a part of a key")
    func errors() async throws {
        try await ControlRig.run { rig in
            let short = String(TestKeys.first.dropLast()), key = "\"key\":\"\(TestKeys.second)\""
            let cases: [(String, String)] = [
                (Self.body(outbound: "{\"spi\":\"0x1002\",\"key\":\"\(short)\"}"), "outbound.key is not"),
                (Self.body(outbound: "{\"spi\":\"0x1002\",\"key\":\"\(TestKeys.first)0\"}"), "outbound.key is not"),
                (
                    Self.body(outbound: "{\"spi\":\"0x1002\",\"key\":\"\\u0030x\(short.dropFirst(2))6\"}"),
                    "outbound.key"
                ),
                (Self.body(outbound: "{\"spi\":\"0x1002\",\"key\":[\"\(TestKeys.first)\"]}"), "outbound.key is not"),
                (Self.body(outbound: "{\"spi\":\"0x1002\"}"), "outbound.key is absent"),
                (Self.body(outbound: "{\"spi\":\"\(TestKeys.first)\",\(key)}"), "outbound.spi is not"),
                (Self.body(outbound: "{\"spi\":\"0xff\",\(key)}"), "outbound.spi is not"),
                (Self.body(outbound: "{\"spi\":4098,\(key)}"), "outbound.spi is not"),
                (Self.body(outbound: "{\"\(TestKeys.first)\":1,\"spi\":\"0x1002\",\(key)}"), "unknown field"),
                (Self.body(outbound: "\"\(TestKeys.first)\""), "outbound is not an object"),
                (
                    Self.body(inbound: "{\"spi\":\"0x2002\",\(key),\"replay_window_packets\":65}"),
                    "replay_window_packets"
                ),
                (Self.body(inbound: "{\"spi\":\"0x2002\",\(key),\"replay_window_packets\":\(UInt64.max)}"), "replay"),
                (Self.body(inbound: "{\"spi\":\"0x2002\",\"key\":\"\(TestKeys.first)\"}"), "the same key"),
                (Self.body(rest: ",\"not_before\":\"\(TestKeys.first)\""), "not_before is not"),
                (Self.body(rest: ",\"not_before\":1e300"), "not_before is not"),
                (Self.body(rest: ",\"\(TestKeys.first)\":\"\(TestKeys.second)\""), "unknown field"),
                (Self.body(rest: ",\"tunnel\":\"\(String(repeating: "t", count: 256))\""), "tunnel is not"),
                (String(Self.body().dropLast()), "not a JSON object"), ("[\(Self.body())]", "not a JSON object"),
                (TestKeys.first, "not a JSON object"), ("", "not a JSON object"),
                (String(repeating: "[", count: 60_000), "not a JSON object"),
                ("{\"a\":" + String(repeating: "{\"a\":", count: 10_000), "not a JSON object"),
            ]
            for (body, words) in cases {
                let answer = try await rig.ask("POST", "/v1/sa/add", body)
                #expect(answer.status == 400 && answer.exitCode == 64, "\(words): \(answer.status)")
                #expect((answer.message + answer.hint).contains(words), "\(words): \(answer.body)")
                #expect(!TestKeys.leak(in: answer.head + answer.body), "\(words)")
            }
            #expect(rig.target.calls == [])
            // Where no key belongs.
            for path in ["/v1/sa/activate", "/v1/sa/remove", "/v1/offload", "/v1/reload", "/v1/\(TestKeys.first)"] {
                let answer = try await rig.ask("POST", path, Self.body())
                #expect(answer.status >= 400 && !TestKeys.leak(in: answer.head + answer.body), "\(path)")
            }
        }
    }

    @Test(
        "bodies that are broken anywhere are refused or taken, and say nothing of a key", arguments: [1, 2] as [UInt64])
    func mutations(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let whole = Array(Self.body(rest: ",\"not_before\":7").utf8)
        for round in 0..<3000 {
            var octets = whole
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = Int.random(in: 0..<octets.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: octets[place] = UInt8.random(in: 0...255, using: &random)
                case 1: octets.removeSubrange(place..<min(octets.count, place + Int.random(in: 1...5, using: &random)))
                default: octets.insert(octets[Int.random(in: 0..<octets.count, using: &random)], at: place)
                }
            }
            do throws(ControlRequestError) { _ = try AddAssociations(body: octets) } catch {
                #expect(!TestKeys.leak(in: "\(error.message) \(error.hint) \(error)"), "seed \(seed), round \(round)")
            }
        }
    }

    @Test("the server's memory forgets a key's text, and the octets of a key that was removed")
    func memory() async throws {
        let directory = try ControlDirectory()
        // Everything that knows the keys is another process. The marker shows that the search finds what is there.
        let marker = "marker-\(UUID().uuidString)"
        let script = """
            import json, os, re, secrets, socket, sys
            path, pid, marker = sys.argv[1:]
            keys = [secrets.token_bytes(20) for _ in range(40)]
            for a, b in zip(keys[::2], keys[1::2]):
                body = json.dumps({"tunnel": "t", "outbound": {"spi": "0x1002", "key": "0x" + a.hex()},
                                   "inbound": {"spi": "0x2002", "key": "0x" + b.hex()}})
                s = socket.socket(socket.AF_UNIX)
                s.connect(path)
                request = ["POST /v1/sa/add HTTP/1.1", "host: a", f"content-length: {len(body)}", "", body]
                octets = "\\r\\n".join(request).encode()
                cut = secrets.randbelow(len(octets))
                s.sendall(octets[:cut])
                s.sendall(octets[cut:])
                answer = s.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200"), answer
                if secrets.randbelow(2): s.close()
                else: keep = s
            found = {"text": 0, "octets": 0, "marker": 0}
            with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
                for line in maps:
                    area = re.match("([0-9a-f]+)-([0-9a-f]+) rw", line)
                    if not area: continue
                    start, end = int(area[1], 16), int(area[2], 16)
                    try:
                        memory.seek(start)
                        octets = memory.read(end - start)
                    except OSError: continue
                    found["marker"] += octets.count(marker.encode())
                    for key in keys:
                        found["text"] += octets.count(key.hex().encode())
                        found["octets"] += octets.count(key)
            print(json.dumps(found))
            """
        let target = ForgetfulTarget()
        let server = try await ControlServer.start(
            socketPath: directory.socket, metricsAddress: nil, name: "a", target: target, logger: quietLogger,
            limits: .patient)
        let socket = directory.socket, marked = Array(marker.utf8)
        let output = try await offPool {
            let process = Process(), pipe = Pipe()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["python3", "-c", script, socket, "\(getpid())", marker]
            process.standardOutput = pipe
            try process.run()
            let output = pipe.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return output
        }
        await server.stop()
        let found = try #require(JSONSerialization.jsonObject(with: output) as? [String: Int])
        #expect(found["marker"] ?? 0 > 0 && marked.count > 0, "the search found what is in memory")
        #expect(found["text"] == 0 && found["octets"] == 0, "\(found)")
        #expect(target.count == 20)
    }
}
