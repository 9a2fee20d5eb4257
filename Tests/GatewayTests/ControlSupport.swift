import ESP
import Foundation
import IPsec
import Logging
import Synchronization

@testable import Gateway

/// A gateway that is none: says what a test wants it to say, and keeps what it was asked.
final class FakeTarget: ControlTarget {
    struct State {
        var views: [ControlSubject: ControlView] = [:]
        var outcome = ControlOutcome(.ok, ["done"])
        var isHealthy = true
        var counters = ControlCounters()
        var calls: [String] = []
        var added: [AddAssociations] = []
        var observed: [ObserveRequest] = []
        /// Answers to the next questions; the last one stays.
        var seen: [ObservedPackets] = []
        var viewsNow = 0
        var viewsAtOnce = 0
    }

    private let state = Mutex(State())

    /// Reads or sets what it says.
    func with<Result>(_ body: (inout sending State) -> sending Result) -> Result { state.withLock(body) }
    var calls: [String] { with { $0.calls } }

    private func record(_ call: String) -> ControlOutcome {
        with {
            $0.calls.append(call)
            return $0.outcome
        }
    }

    func view(_ subject: ControlSubject) async throws -> ControlView {
        _ = record("view \(subject)")
        with {
            $0.viewsNow += 1
            $0.viewsAtOnce = max($0.viewsAtOnce, $0.viewsNow)
        }
        defer { with { $0.viewsNow -= 1 } }
        for _ in 0..<10 { await Task.yield() }
        guard let view = with({ $0.views[subject] }) else { throw UsedKeys(tunnels: ["no view of this test"]) }
        return view
    }
    func reload(by peer: ControlPeer) async -> ControlOutcome { record("reload by uid \(peer.uid) pid \(peer.pid)") }
    func addAssociations(_ request: AddAssociations, by peer: ControlPeer) async -> ControlOutcome {
        with { $0.added.append(request) }
        return record("add \(request.tunnel) \(request.outboundSPI) \(request.inboundSPI)")
    }
    func activate(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome {
        record("activate \(tunnel) \(spi)")
    }
    func remove(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome {
        record("remove \(tunnel) \(spi)")
    }
    func setOffload(_ request: OffloadRequest, by peer: ControlPeer) async -> ControlOutcome {
        let subject =
            switch request.subject {
            case .tunnel(let name): name
            case .port(let name): "port \(name)"
            }
        return record("offload \(subject) \(request.direction?.rawValue ?? "both") \(request.wanted)")
    }
    func restartPort(_ name: String, by peer: ControlPeer) async -> ControlOutcome { record("restart \(name)") }
    func observe(_ request: ObserveRequest, by peer: ControlPeer) async -> ObservationOutcome {
        with { $0.observed.append(request) }
        let outcome = record("observe \(request.kind)")
        return outcome.exitCode == .ok ? .started(number: 7, notes: ["a note"]) : .refused(outcome)
    }
    func takeObserved(_ number: Int) async -> ObservationOutcome {
        _ = record("take \(number)")
        let answers = with { state -> [ObservedPackets] in
            defer { if state.seen.count > 1 { state.seen.removeFirst() } }
            return state.seen
        }
        return answers.first.map { .taken($0) } ?? .refused(ControlOutcome(.unavailable, ["it is over"]))
    }
    func endObservation(_ number: Int) async -> ControlOutcome { record("end \(number)") }
    func isHealthy() async -> Bool { with { $0.isHealthy } }
    func counters() async -> ControlCounters { with { $0.counters } }
}

/// A directory that goes when the value does.
final class ControlDirectory: Sendable {
    /// Short: a socket's path has 107 octets at most.
    let path = "/tmp/vpngw-\(UUID().uuidString.prefix(8))"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    var socket: String { path + "/run/control.sock" }
}

extension HTTPLimits {
    /// For tests that are not about time: all tests want the pool's few threads at once, and a request that needs one
    /// may wait until the others are done.
    static var patient: HTTPLimits {
        var limits = HTTPLimits()
        (limits.idleTime, limits.requestTime, limits.answerTime) = (.seconds(600), .seconds(600), .seconds(600))
        return limits
    }
}

/// A server with its fake target on a socket of its own.
struct ControlRig {
    let directory: ControlDirectory
    let target = FakeTarget()
    let server: ControlServer

    /// With `metrics` also over TCP on a port that the kernel picks.
    static func run(
        limits: HTTPLimits = .patient, metrics: String? = nil, _ body: (ControlRig) async throws -> Void
    ) async throws {
        let rig = try await ControlRig(limits: limits, metrics: metrics)
        do {
            try await body(rig)
            await rig.server.stop()
        } catch {
            await rig.server.stop()
            throw error
        }
    }

    init(limits: HTTPLimits = .patient, metrics: String? = nil) async throws {
        directory = try ControlDirectory()
        server = try await ControlServer.start(
            socketPath: directory.socket, metricsAddress: metrics, name: "site-a", target: target,
            logger: quietLogger, limits: limits)
    }

    /// One request on a connection of its own.
    func ask(_ method: String, _ path: String, _ body: String = "") async throws -> Answer {
        let socket = directory.socket
        return try await offPool { try RawConnection(path: socket).ask(method, path, body) }
    }
}

let quietLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Runs what blocks on a thread of its own: the server's work needs the few threads of the cooperative pool.
func offPool<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Swift.Result { try body() }) }
    }
}

/// An HTTP answer as it came.
struct Answer: Sendable {
    let status: Int
    let head: String
    let body: String

    /// Nil when `octets` are no answer.
    init?(_ octets: [UInt8]) {
        let text = String(decoding: octets, as: UTF8.self)
        guard let end = text.range(of: "\r\n\r\n"), text.hasPrefix("HTTP/1.1 "),
            let status = Int(text.dropFirst(9).prefix(3))
        else { return nil }
        self.status = status
        head = String(text[..<end.lowerBound])
        body = String(text[end.upperBound...])
    }

    var json: [String: Any] {
        (try? JSONSerialization.jsonObject(with: Data(body.utf8))) as? [String: Any] ?? [:]
    }
    var message: String { (json["error"] as? [String: Any])?["message"] as? String ?? "" }
    var hint: String { (json["error"] as? [String: Any])?["hint"] as? String ?? "" }
    var exitCode: Int? {
        json["exit_code"] as? Int ?? (json["error"] as? [String: Any])?["exit_code"] as? Int
    }
}

/// A blocking socket that sends what it is told, right or wrong. Every wait ends after ten minutes, as an error:
/// the tests around may keep all threads busy that the server's work needs.
final class RawConnection: @unchecked Sendable {
    struct Failure: Error { let step: String, code: Int32 }

    let descriptor: CInt

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let result = unsafe UnixSocketAddress.with(path) { [descriptor] in unsafe connect(descriptor, $0, $1) }
        guard result == 0 else { throw Failure(step: "connect", code: errno) }
        limitWaits()
    }

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Failure(step: "connect", code: errno) }
        limitWaits()
    }

    deinit { close(descriptor) }

    private func limitWaits() {
        var wait = timeval(tv_sec: 600, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            unsafe setsockopt(descriptor, SOL_SOCKET, option, &wait, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    /// Sends all, or as much as is taken before the other end goes.
    @discardableResult
    func send(_ octets: [UInt8]) -> Bool {
        var rest = octets[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    @discardableResult
    func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// What comes next; empty when the other end is done or gone.
    func receive() throws -> [UInt8] {
        var memory = [UInt8](repeating: 0, count: 65536)
        let count = unsafe memory.withUnsafeMutableBytes { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
        if count < 0 && errno == ECONNRESET { return [] }
        guard count >= 0 else { throw Failure(step: "receive", code: errno) }
        return Array(memory.prefix(count))
    }

    /// All until the other end closes.
    func receiveToEnd() throws -> [UInt8] {
        var all: [UInt8] = []
        while case let more = try receive(), !more.isEmpty { all += more }
        return all
    }

    /// One answer; what it announces as its length must come.
    func receiveAnswer() throws -> Answer {
        var all: [UInt8] = []
        while true {
            if let answer = Answer(all),
                let length = answer.head.lowercased().split(separator: "\r\n")
                    .first(where: { $0.hasPrefix("content-length: ") }).flatMap({ Int($0.dropFirst(16)) }),
                answer.body.utf8.count >= length
            {
                return answer
            }
            let more = try receive()
            guard !more.isEmpty else { throw Failure(step: "receive a whole answer", code: 0) }
            all += more
        }
    }

    static func request(_ method: String, _ path: String, _ body: String = "") -> String {
        "\(method) \(path) HTTP/1.1\r\nhost: test\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    func ask(_ method: String, _ path: String, _ body: String = "") throws -> Answer {
        send(RawConnection.request(method, path, body))
        return try receiveAnswer()
    }
}

/// Of a test's key.
func fingerprint(_ key: String) -> KeyFingerprint? { KeyMaterial(hexadecimal: key, for: .aes128GCM16)?.fingerprint }

/// Takes keys and keeps none.
final class ForgetfulTarget: ControlTarget {
    private let added = Mutex(0)
    var count: Int { added.withLock { $0 } }

    func view(_ subject: ControlSubject) async throws -> ControlView { .drops([:]) }
    func observe(_ request: ObserveRequest, by peer: ControlPeer) async -> ObservationOutcome {
        .refused(ControlOutcome(.unavailable, []))
    }
    func takeObserved(_ number: Int) async -> ObservationOutcome { .refused(ControlOutcome(.unavailable, [])) }
    func endObservation(_ number: Int) async -> ControlOutcome { ControlOutcome(.ok, []) }
    func reload(by peer: ControlPeer) async -> ControlOutcome { ControlOutcome(.ok, []) }
    func addAssociations(_ request: AddAssociations, by peer: ControlPeer) async -> ControlOutcome {
        added.withLock { $0 += 1 }
        return ControlOutcome(.ok, [])
    }
    func activate(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome { ControlOutcome(.ok, []) }
    func remove(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome { ControlOutcome(.ok, []) }
    func setOffload(_ request: OffloadRequest, by peer: ControlPeer) async -> ControlOutcome { ControlOutcome(.ok, []) }
    func restartPort(_ name: String, by peer: ControlPeer) async -> ControlOutcome { ControlOutcome(.ok, []) }
    func isHealthy() async -> Bool { true }
    func counters() async -> ControlCounters { ControlCounters() }
}
