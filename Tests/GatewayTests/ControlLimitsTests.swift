import Foundation
import NIOCore
import SeededRandom
import Testing

@testable import Gateway

@Suite("No client holds up another, or more than its share", .timeLimit(.minutes(5)))
struct ControlLimitsTests {
    /// A view that no socket takes at once.
    private static func makeLarge(_ target: FakeTarget) {
        let text = String(repeating: "x", count: 4 << 20)
        target.with { state in
            state.views[.routes] = .routes([
                .init(family: "ipv4", destination: text, via: nil, port: "p", kind: "static")
            ])
            state.views[.drops] = .drops([:])
        }
    }

    @Test("clients that send a byte and stop, or never read, cost nobody else anything")
    func stuck() async throws {
        try await ControlRig.run { rig in
            Self.makeLarge(rig.target)
            let socket = rig.directory.socket
            try await offPool {
                let slow = try (0..<10).map { _ in try RawConnection(path: socket) }
                for connection in slow { connection.send("G") }
                let stuck = try (0..<10).map { _ in try RawConnection(path: socket) }
                for connection in stuck { connection.send(RawConnection.request("GET", "/v1/routes")) }
                // Their answers have begun, and are not taken.
                for connection in stuck {
                    var wanted = pollfd(fd: connection.descriptor, events: Int16(POLLIN), revents: 0)
                    #expect(unsafe poll(&wanted, 1, 600_000) == 1)
                }
                for _ in 0..<50 {
                    #expect(try RawConnection(path: socket).ask("GET", "/v1/drops").status == 200)
                }
                // And they can still go on.
                slow[0].send("ET /v1/drops HTTP/1.1\r\nhost: a\r\n\r\n")
                #expect(try slow[0].receiveAnswer().status == 200)
                #expect(try stuck[0].receiveAnswer().body.utf8.count > 4 << 20)
            }
        }
    }

    @Test("a request that does not end, an answer that is not taken and a connection without a request have their time")
    func times() async throws {
        var limits = HTTPLimits()
        limits.requestTime = .milliseconds(200)
        limits.answerTime = .milliseconds(200)
        try await ControlRig.run(limits: limits) { rig in
            Self.makeLarge(rig.target)
            let socket = rig.directory.socket
            try await offPool {
                let headless = try RawConnection(path: socket), bodyless = try RawConnection(path: socket)
                let stuck = try RawConnection(path: socket)
                headless.send("GET /v1 HTT")
                bodyless.send("POST /v1/reload HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{")
                stuck.send(RawConnection.request("GET", "/v1/routes"))
                #expect(try headless.receiveToEnd().isEmpty)
                #expect(try Answer(bodyless.receiveToEnd())?.status == 408)
                // By now the server has closed it as well: what was written is all there will be.
                var hungUp = pollfd(fd: stuck.descriptor, events: 0, revents: 0)
                #expect(unsafe poll(&hungUp, 1, 600_000) == 1)
                let part = try stuck.receiveToEnd()
                #expect(part.count > 0 && part.count < 4 << 20)
            }
            #expect(!rig.target.calls.contains { $0.hasPrefix("reload") })
        }
        var patient = HTTPLimits()
        patient.idleTime = .milliseconds(200)
        try await ControlRig.run(limits: patient) { rig in
            let socket = rig.directory.socket
            let said = try await offPool { try RawConnection(path: socket).receiveToEnd() }
            #expect(said.isEmpty)
        }
    }

    @Test("one client too many is told so, and served when another has gone")
    func connections() async throws {
        var limits = HTTPLimits.patient
        limits.connections = 4
        try await ControlRig.run(limits: limits) { rig in
            let socket = rig.directory.socket
            try await offPool {
                var held = try (0..<4).map { _ in
                    let connection = try RawConnection(path: socket)
                    #expect(try connection.ask("GET", "/v1").status == 200)
                    return connection
                }
                for _ in 0..<20 {
                    let refused = try RawConnection(path: socket)
                    #expect(try Answer(refused.receiveToEnd())?.status == 503)
                }
                #expect(try held[3].ask("GET", "/v1").status == 200)
                held.removeFirst()
                var status = 503
                for _ in 0..<10_000 where status == 503 {
                    let next = try RawConnection(path: socket)
                    next.send(RawConnection.request("GET", "/v1"))
                    status = try next.receiveAnswer().status
                }
                #expect(status == 200)
            }
        }
    }

    @Test("heads and bodies that are too long are told so, whichever way they are too long")
    func sizes() async throws {
        let limits = HTTPLimits()
        try await ControlRig.run { rig in
            let long = String(repeating: "x", count: limits.headOctets), body = String(repeating: " ", count: 100)
            let chunks = String(repeating: "400\r\n\(String(repeating: "x", count: 1024))\r\n", count: 66)
            let cases: [(String, [Int])] = [
                ("GET /v1 HTTP/1.1\r\nhost: \(long)\r\n\r\n", [400, 431]),
                ("GET /v1/\(long) HTTP/1.1\r\nhost: a\r\n\r\n", [431]),
                ("GET /\(String(repeating: long, count: 20))", [431]),
                ("GET /v1 HTTP/1.1\r\n" + String(repeating: "a: b\r\n", count: 3000) + "\r\n", [400, 431]),
                ("POST /v1/reload HTTP/1.1\r\ncontent-length: 65537\r\n\r\n", [413]),
                ("POST /v1/reload HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n", [400, 413]),
                ("POST /v1/reload HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\(chunks)", [413]),
                ("POST /v1/reload HTTP/1.1\r\ncontent-length: -1\r\n\r\n\(body)", [400]),
            ]
            let socket = rig.directory.socket
            try await offPool {
                for (request, statuses) in cases {
                    let connection = try RawConnection(path: socket)
                    connection.send(request)
                    let answer = try #require(Answer(try connection.receiveToEnd()), "\(request.prefix(60))")
                    #expect(statuses.contains(answer.status), "\(request.prefix(60)): \(answer.status)")
                }
            }
            #expect(rig.target.calls == [])
            // The longest that are allowed are no error.
            let most = "{" + String(repeating: " ", count: limits.bodyOctets - 2) + "}"
            #expect(try await rig.ask("POST", "/v1/sa/remove", most).message.contains("tunnel is absent"))
        }
    }

    @Test("requests in pieces, in chunks, half closed, with an expectation, or two at once are understood")
    func shapes() async throws {
        try await ControlRig.run { rig in
            let socket = rig.directory.socket
            try await offPool {
                let pieces = try RawConnection(path: socket)
                for octet in RawConnection.request("POST", "/v1/reload").utf8 { pieces.send([octet]) }
                #expect(try pieces.receiveAnswer().status == 200)

                let chunked = try RawConnection(path: socket)
                chunked.send("POST /v1/sa/remove HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
                for part in ["{\"tunnel\":\"t\",", "\"spi\":\"0x1001\"}"] {
                    chunked.send("\(String(part.utf8.count, radix: 16))\r\n\(part)\r\n")
                }
                chunked.send("0\r\n\r\n")
                #expect(try chunked.receiveAnswer().status == 200)

                let half = try RawConnection(path: socket)
                half.send(RawConnection.request("GET", "/v1"))
                half.finishSending()
                #expect(try Answer(half.receiveToEnd())?.status == 200)

                let careful = try RawConnection(path: socket)
                careful.send("POST /v1/reload HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
                #expect(try String(decoding: careful.receive(), as: UTF8.self).hasPrefix("HTTP/1.1 100"))
                careful.send("x")
                #expect(try careful.receiveAnswer().status == 400)

                // The first is answered; the second the client may ask again.
                let two = try RawConnection(path: socket)
                two.send(RawConnection.request("GET", "/v1") + RawConnection.request("POST", "/v1/reload"))
                let answer = try #require(Answer(two.receiveToEnd()))
                #expect(answer.status == 200 && answer.head.contains("connection: close"))

                let head = try RawConnection(path: socket)
                head.send("HEAD /v1 HTTP/1.1\r\nconnection: close\r\n\r\n")
                let words = try #require(Answer(head.receiveToEnd()))
                #expect(words.status == 405 && words.body.isEmpty)
            }
            #expect(rig.target.calls == ["reload by uid \(getuid()) pid \(getpid())", "remove t 0x00001001"])
        }
    }

    @Test("garbage is answered or closed, and the next client served", arguments: [1, 2, 3] as [UInt64])
    func fuzz(seed: UInt64) async throws {
        try await ControlRig.run { rig in
            let socket = rig.directory.socket
            try await offPool {
                var random = SplitMix64(seed: seed)
                for round in 0..<300 {
                    var octets = Array(Self.valid.randomElement(using: &random)?.utf8 ?? "".utf8)
                    if Bool.random(using: &random) { octets = random.octets(Int.random(in: 0...2000, using: &random)) }
                    for _ in 0..<Int.random(in: 0...8, using: &random) where !octets.isEmpty {
                        let place = Int.random(in: 0..<octets.count, using: &random)
                        switch Int.random(in: 0..<4, using: &random) {
                        case 0: octets[place] = UInt8.random(in: 0...255, using: &random)
                        case 1: octets.removeSubrange(place...)
                        case 2: octets.insert(contentsOf: octets.prefix(place), at: place)
                        default: octets.insert(contentsOf: Array("\r\n".utf8), at: place)
                        }
                    }
                    let connection = try RawConnection(path: socket)
                    connection.send(octets)
                    // Half a request and nothing to wait for: closed at once. Otherwise it is left in the middle.
                    if Bool.random(using: &random) {
                        connection.finishSending()
                        _ = try connection.receiveToEnd()
                    }
                    guard round % 30 == 0 else { continue }
                    // Clients that have left are still counted for a moment.
                    var status = 503
                    while status == 503 { status = try RawConnection(path: socket).ask("GET", "/v1").status }
                    #expect(status == 200, "seed \(seed), round \(round)")
                }
            }
        }
    }

    private static let valid = [
        RawConnection.request("GET", "/v1/sa"), RawConnection.request("POST", "/v1/reload"),
        RawConnection.request(
            "POST", "/v1/sa/add",
            "{\"tunnel\":\"t\",\"outbound\":{\"spi\":\"0x1002\",\"key\":\"\(TestKeys.first)\"},\"inbound\":"
                + "{\"spi\":\"0x2002\",\"key\":\"\(TestKeys.second)\",\"replay_window_packets\":64},\"not_before\":1}"),
        "POST /v1/offload HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n3\r\n[1]\r\n1\r\n}\r\n"
            + "0\r\n\r\n",
        RawConnection.request("GET", "/v1?offset=1"), RawConnection.request("GET", "/v1") + "\r\n\r\n",
    ]
}
