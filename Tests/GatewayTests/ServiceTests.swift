import Foundation
import Logging
import Synchronization
import Testing

@testable import Gateway

@Suite("Service manager and journal")
struct ServiceTests {
    @Test("the watchdog is fed three times as often as it wants, where it watches this process")
    func watchdog() {
        let socket = ["NOTIFY_SOCKET": "/run/notify"]
        func interval(_ more: [String: String]) -> Duration? {
            ServiceManager(socket.merging(more) { $1 }, process: 7).watchdogInterval
        }
        #expect(interval(["WATCHDOG_USEC": "9000000"]) == .seconds(3))
        #expect(interval(["WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "7"]) == .seconds(3))
        #expect(interval(["WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "8"]) == nil)
        for wrong in ["", "0", "-1", "soon"] { #expect(interval(["WATCHDOG_USEC": wrong]) == nil) }
        #expect(ServiceManager(["WATCHDOG_USEC": "9000000"], process: 7).watchdogInterval == nil)
        #expect(
            ServiceManager(["NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "9"], process: 7).watchdogInterval == nil)
    }

    @Test("what is said arrives, by a path and by an abstract name, and nobody there is no trouble")
    func datagrams() throws {
        let directory = try ControlDirectory()
        defer { withExtendedLifetime(directory) {} }
        for name in [directory.path + "/notify", "@vpn-gw-test-\(UUID().uuidString)"] {
            let manager = ServiceManager(["NOTIFY_SOCKET": name], process: 1)
            manager.status("nobody listens")
            let receiver = try NotifySocket(name)
            manager.ready("2 of 2\ntunnels")
            manager.reloading()
            manager.stopping()
            manager.isAlive()
            #expect(receiver.receive() == "READY=1\nSTATUS=2 of 2 tunnels")
            let reloading = receiver.receive()
            #expect(reloading.wholeMatch(of: /RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*/) != nil, "\(reloading)")
            #expect(receiver.receive() == "STOPPING=1\nSTATUS=stopping")
            #expect(receiver.receive() == "WATCHDOG=1")
        }
    }

    @Test("lines are for people, for the journal, or JSON; none of a message's lines is without its priority")
    func lines() throws {
        func written(_ format: Log.Format, journal: Bool, _ level: Logger.Level, _ message: String) -> String {
            let text = Mutex("")
            let handler = LineLogHandler(format: format, isJournal: journal) { line in text.withLock { $0 += line } }
            handler.log(level, message, at: Date(timeIntervalSince1970: 1_800_000_000))
            return text.withLock { $0 }
        }
        #expect(written(.text, journal: false, .info, "it runs") == "2027-01-15T08:00:00Z info vpn-gw: it runs\n")
        #expect(written(.text, journal: true, .error, "one\ntwo") == "<3>one\n<3>two\n")
        #expect(
            written(.json, journal: true, .warning, "a \"b\"\nc")
                == "<4>{\"level\":\"warning\",\"message\":\"a \\\"b\\\"\\nc\",\"time\":\"2027-01-15T08:00:00Z\"}\n")
        #expect(Log.isJournal("8:1234", 8, 1234))
        #expect(!Log.isJournal("8:1234", 8, 1235) && !Log.isJournal(nil, 8, 1234) && !Log.isJournal("", 0, 0))
    }
}

/// What a service manager has.
private final class NotifySocket {
    private let descriptor: CInt

    init(_ name: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let octets = Array(name.utf8)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { memory in
            for (index, octet) in octets.enumerated() { unsafe memory[index] = octet == UInt8(ascii: "@") ? 0 : octet }
        }
        let length = socklen_t(2 + octets.count + (octets[0] == UInt8(ascii: "@") ? 0 : 1))
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(descriptor, $0, length) }
        }
        try #require(result == 0)
    }

    deinit { close(descriptor) }

    /// The next datagram that is there; empty when there is none.
    func receive() -> String {
        var octets = [UInt8](repeating: 0, count: 4096)
        let count = unsafe recv(descriptor, &octets, octets.count, Int32(MSG_DONTWAIT))
        return String(decoding: octets.prefix(max(0, count)), as: UTF8.self)
    }
}

@Suite("Whether a tunnel's peer answers")
struct TunnelWatchTests {
    private var watch = TunnelWatch(patience: .seconds(60))
    private let start = ContinuousClock.now

    /// Looks at one tunnel with these counts, so many seconds after the start; what has changed.
    private mutating func look(_ seconds: Int, _ inbound: UInt64, _ outbound: UInt64) -> TunnelWatch.State? {
        watch.look(
            [TunnelWatch.Traffic(name: "b", inboundPackets: inbound, outboundPackets: outbound)],
            at: start + .seconds(seconds)
        ).first?.state
    }

    @Test("up at the first packet in, down when a minute of sending brings none, and up again")
    mutating func upAndDown() {
        #expect(look(0, 0, 0) == nil)
        #expect(look(1, 1, 1) == .up && watch.count(.up) == 1)
        #expect(look(2, 1, 2) == nil)
        #expect(look(61, 1, 3) == nil, "59 seconds")
        #expect(look(62, 1, 4) == .down && watch.count(.down) == 1 && watch.count(.up) == 0)
        #expect(look(63, 1, 5) == nil, "said once")
        #expect(look(64, 2, 5) == .up)
    }

    @Test("a tunnel that nobody sends by stays what it was, and an answer begins the minute anew")
    mutating func idle() {
        #expect(look(0, 1, 1) == .up)
        #expect(look(1000, 1, 1) == nil)
        #expect(look(1001, 1, 2) == nil, "the first that waits for an answer")
        #expect(look(1060, 2, 2) == nil)
        #expect(look(1061, 2, 3) == nil)
        #expect(look(1120, 2, 4) == nil)
        #expect(look(1121, 2, 4) == nil, "nothing is sent any more")
        #expect(look(1122, 2, 5) == .down)
    }

    @Test("a peer that never answers is down, and a tunnel that goes is forgotten")
    mutating func never() {
        #expect(look(0, 0, 1) == nil)
        #expect(look(60, 0, 2) == .down)
        #expect(watch.look([], at: start).isEmpty && watch.count(.down) == 0)
        #expect(look(61, 0, 3) == nil)
    }

    @Test("counts that fall, because an SA went, say nothing")
    mutating func fallingCounts() {
        #expect(look(0, 100, 100) == .up)
        #expect(look(1, 5, 5) == nil)
        #expect(look(2, 5, 6) == nil)
        #expect(look(3, 6, 6) == nil)
        #expect(look(62, 6, 7) == nil, "the answer at 3 counts")
    }
}
