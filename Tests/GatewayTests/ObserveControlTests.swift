import DataPlane
import Foundation
import IPsec
import Testing

@testable import DataPlane
@testable import Gateway

@Suite("Looking at packets over the control socket")
struct ObserveControlTests {
    private static func seen(_ count: Int, isOver: Bool = false, blocks: [UInt8] = []) -> ObservedPackets {
        let packet = TracedPacket(
            ObservationTextTests.observation {
                ($0.fate, $0.reasonNumber) = (.dropped, DropReason.replayed.rawValue)
            }, time: "2027-01-01T00:00:00.000000001Z", ObservationTextTests.names)
        return ObservedPackets(
            traced: blocks.isEmpty ? Array(repeating: packet, count: count) : [], blocks: blocks, count: count,
            missed: 2,
            unlooked: 3, isOver: isOver)
    }

    private static func client(_ socket: String) throws -> ObservationClient {
        var client = try ControlClient(socket: socket, config: nil)
        // Other tests keep the threads busy that the server needs.
        client.patience = 600
        return ObservationClient(client)
    }

    @Test("a request says what is wanted, and nothing else")
    func requests() async throws {
        try await ControlRig.run { rig in
            let wrong: [(String, String)] = [
                (#"{"kind":"peek","count":1}"#, "kind"), (#"{"kind":"trace"}"#, "count"),
                (#"{"kind":"trace","count":0}"#, "count"), (#"{"kind":"trace","count":1000001}"#, "count"),
                (#"{"kind":"trace","count":1,"spi":"x"}"#, "spi"),
                (#"{"kind":"trace","count":1,"address":"10.0.0.256"}"#, "address"),
                (#"{"kind":"trace","count":1,"reason":"replaid"}"#, "reason"),
                (#"{"kind":"trace","count":1,"port":"wan"}"#, "port"), (#"{"kind":"capture","count":1}"#, "port"),
                (#"{"kind":"capture","count":1,"port":"wan","spi":"0x1001"}"#, "spi"),
                (#"{"kind":"capture","count":1,"port":"wan","snap_octets":63}"#, "snap_octets"),
                (#"{"kind":"trace","count":1,"color":"red"}"#, "unknown"),
            ]
            for (body, word) in wrong {
                let answer = try await rig.ask("POST", "/v1/observe/start", body)
                #expect(answer.status == 400 && answer.message.contains(word), "\(body): \(answer.body)")
            }
            #expect(try await rig.ask("POST", "/v1/observe/take", #"{"observation":"x"}"#).status == 400)
            #expect(try await rig.ask("GET", "/v1/observe/take").status == 405)
            #expect(rig.target.calls == [])
            let body = #"{"kind":"trace","count":5,"spi":"0x1001","address":"fd00::1","reason":"replayed"}"#
            let answer = try await rig.ask("POST", "/v1/observe/start", body)
            #expect(answer.status == 200 && answer.json["observation"] as? Int == 7)
            var request = ObserveRequest(.trace, count: 5)
            (request.spi, request.address, request.reason) = (SPI(rawValue: 0x1001), IPAddress("fd00::1"), .replayed)
            #expect(rig.target.with { $0.observed } == [request])
        }
    }

    @Test("a trace prints each packet, as text and as a line of JSON, and ends with the last")
    func trace() async throws {
        try await ControlRig.run { rig in
            for json in [false, true] {
                rig.target.with { $0.seen = [Self.seen(2), Self.seen(0), Self.seen(1, isOver: true)] }
                let socket = rig.directory.socket
                let (printed, summary) = try await offPool {
                    var printed: [String] = []
                    let summary = try Self.client(socket).trace(
                        spi: nil, address: nil, reason: "replayed", count: 3, json: json
                    ) { printed.append($0) }
                    return (printed, summary)
                }
                #expect(printed.count == 3 && summary.count == 3 && summary.missed == 2 && summary.unlooked == 3)
                #expect(summary.lines.count == 3)
                if json {
                    let first = try JSONSerialization.jsonObject(with: Data(printed[0].utf8)) as? [String: Any]
                    #expect(first?["reason"] as? String == "replayed" && !printed[0].contains("\n"))
                } else {
                    #expect(printed[2].hasPrefix("3  2027-01-01T00:00:00.000000001Z  worker 0\n   received"))
                    #expect(printed[0].contains("dropped   replayed: a sequence number that was accepted before"))
                }
            }
            #expect(!rig.target.calls.contains { $0.hasPrefix("end") })
        }
    }

    @Test("a capture writes what comes, a file that is full ends it, and a refusal leaves the file alone")
    func capture() async throws {
        try await ControlRig.run { rig in
            let socket = rig.directory.socket, path = rig.directory.path + "/a.pcapng"
            func run() async throws -> ObservationClient.Summary {
                try await offPool {
                    try Self.client(socket).capture(
                        port: "wan", dropped: false, path: path, count: 100, snapOctets: 64, fileMiB: 1, note: { _ in })
                }
            }
            rig.target.with { $0.seen = [Self.seen(1, blocks: [1, 2]), Self.seen(1, isOver: true, blocks: [3])] }
            let summary = try await run()
            #expect(summary.count == 2 && !summary.isFull)
            #expect(FileManager.default.contents(atPath: path) == Data([1, 2, 3]))
            rig.target.with { $0.seen = [Self.seen(9, blocks: [UInt8](repeating: 7, count: 1 << 20))] }
            let full = try await run()
            #expect(full.isFull && full.lines.contains { $0.contains("--file-mib") })
            #expect(rig.target.calls.last == "end 7")
            rig.target.with { $0.outcome = ControlOutcome(.configuration, ["there is no port"]) }
            await #expect(
                throws: ControlClientError.refused(message: "there is no port", hint: "", exitCode: .configuration)
            ) {
                _ = try await run()
            }
            #expect(FileManager.default.contents(atPath: path)?.count == 1 << 20)
        }
    }

    @Test("packets go into an answer in order of time, no more than were asked for")
    func session() {
        var request = ObserveRequest(.trace, count: 3)
        var session = ObservationSession(number: 1, request: request, peer: "p", clock: (1000, 1000))
        func record(_ ticks: UInt64) -> Observation { ObservationTextTests.observation { $0.ticks = ticks } }
        var ready = [record(5000), record(2000), record(3000), record(4000)]
        let seen = session.answer((1, 2), ObservationTextTests.names) { limit in
            defer { ready.removeFirst(min(limit, ready.count)) }
            return Array(ready.prefix(limit))
        }
        #expect(seen.count == 3 && seen.isOver && seen.missed == 1 && seen.unlooked == 2 && seen.blocks.isEmpty)
        #expect(seen.traced.map(\.time) == seen.traced.map(\.time).sorted())
        request = ObserveRequest(.capture, port: "wan", count: 2)
        session = ObservationSession(number: 2, request: request, peer: "p", clock: (0, 1))
        let first = session.answer((0, 0), ObservationTextTests.names) { _ in [] }
        #expect(first.count == 0 && !first.isOver && first.blocks.starts(with: [10, 13, 13, 10]))
        #expect(session.answer((0, 0), ObservationTextTests.names) { _ in [] }.blocks.isEmpty)
    }
}
