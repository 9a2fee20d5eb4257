import ESP
import Foundation
import IPsec
import SeededRandom
import Testing

@testable import Gateway

@Suite("The control socket serves HTTP")
struct ControlServerTests {
    @Test("says who it is")
    func about() async throws {
        try await ControlRig.run { rig in
            let answer = try await rig.ask("GET", "/v1")
            #expect(answer.status == 200)
            #expect(answer.json["name"] as? String == "site-a")
            #expect(answer.json["version"] as? String == SoftwareVersion.text)
            #expect(answer.json["api"] as? [String] == ["v1"])
            #expect(answer.json["uptime_seconds"] as? Int ?? -1 >= 0)
        }
    }

    @Test("one connection asks many times")
    func keepAlive() async throws {
        try await ControlRig.run { rig in
            rig.target.with { $0.views[.drops] = .drops([.replayed: 3, .late: 0]) }
            let socket = rig.directory.socket
            try await offPool {
                let connection = try RawConnection(path: socket)
                for _ in 0..<5 {
                    let answer = try connection.ask("GET", "/v1/drops")
                    #expect(answer.status == 200)
                    #expect(answer.json["drops"] as? [String: Int] == ["replayed": 3])
                    #expect(answer.json["help"] as? [String: String] == ["replayed": DropReason.replayed.help])
                }
            }
        }
    }

    @Test("other paths, methods and versions are told what there is")
    func refusals() async throws {
        try await ControlRig.run { rig in
            let unknown = try await rig.ask("GET", "/v1/nothing")
            #expect(unknown.status == 404 && unknown.hint.contains("/v1/sa/add"))
            let version = try await rig.ask("GET", "/v2/sa")
            #expect(version.status == 404 && version.message.contains("v1"))
            #expect(try await rig.ask("GET", "/").status == 404)
            let method = try await rig.ask("POST", "/v1/sa")
            #expect(method.status == 405 && method.head.lowercased().contains("allow: get"))
            #expect(try await rig.ask("GET", "/v1/reload").status == 405)
            #expect(try await rig.ask("DELETE", "/v1/offload").hint == "it takes GET, POST")
            #expect(try await rig.ask("GET", "/v1/sa?color=red").status == 400)
            #expect(try await rig.ask("GET", "/v1/sa", "{}").status == 400)
            #expect(rig.target.calls == [])
        }
    }

    @Test("a view that fails is an error with its exit code")
    func failingView() async throws {
        try await ControlRig.run { rig in
            let answer = try await rig.ask("GET", "/v1/routes")
            #expect(answer.status == 500 && answer.exitCode == 78 && answer.message.contains("no view of this test"))
        }
    }

    @Test("rows come in pages that follow each other")
    func pages() async throws {
        try await ControlRig.run { rig in
            let count = 2 * ControlAPI.rowLimit + 7
            let rows = (0..<count).map {
                ControlView.Route(family: "ipv4", destination: "\($0)", via: nil, port: "wan", kind: "static")
            }
            rig.target.with { $0.views[.routes] = .routes(rows) }
            var seen: [String] = [], path = "/v1/routes", pages = 0
            while pages < 10 {
                let json = try await rig.ask("GET", path).json
                seen += (json["routes"] as? [[String: Any]] ?? []).compactMap { $0["destination"] as? String }
                pages += 1
                guard let next = json["next_offset"] as? Int else { break }
                path = "/v1/routes?offset=\(next)"
            }
            #expect(pages == 3 && seen == rows.map(\.destination))
            let beyond = try await rig.ask("GET", "/v1/routes?offset=\(Int.max)").json
            #expect((beyond["routes"] as? [Any])?.isEmpty == true && beyond["next_offset"] == nil)
        }
    }

    @Test("views are made one at a time, whoever asks, and all are")
    func oneAtATime() async throws {
        try await ControlRig.run { rig in
            rig.target.with { $0.views[.drops] = .drops([:]) }
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<20 { group.addTask { try await rig.ask("GET", "/v1/drops").status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses == [Int](repeating: 200, count: 20))
            #expect(rig.target.with { $0.viewsAtOnce } == 1)
        }
    }

    @Test("an outcome's exit code decides the status, and its lines arrive")
    func outcomes() async throws {
        try await ControlRig.run { rig in
            let expected: [(ExitCode, Int)] = [
                (.ok, 200), (.configuration, 422), (.usage, 400), (.noPermission, 403), (.unavailable, 503), (.io, 500),
            ]
            for (code, status) in expected {
                rig.target.with { $0.outcome = ControlOutcome(code, ["one", "two"]) }
                let answer = try await rig.ask("POST", "/v1/reload")
                #expect(answer.status == status && answer.exitCode == Int(code.rawValue))
                #expect(answer.json["messages"] as? [String] == ["one", "two"])
            }
            #expect(rig.target.calls.last == "reload by uid \(getuid()) pid \(getpid())")
            #expect(try await rig.ask("POST", "/v1/reload", "{}").status == 400)
        }
    }
}
