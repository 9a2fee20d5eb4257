import Foundation
import IPsec
import Logging
import Synchronization
import Testing

@testable import Gateway

/// Keeps what is logged.
struct KeepingLog: LogHandler {
    final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        func append(_ line: String) { lines.withLock { $0.append(line) } }
        var all: [String] { lines.withLock { $0 } }
    }

    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) { lines.append("\(event.level) \(event.message)") }

    static func make() -> (Logger, Lines) {
        let lines = Lines()
        return (Logger(label: "test") { _ in KeepingLog(lines: lines) }, lines)
    }
}

/// Waits until `condition` holds. A machine that is busy may take its time, and other tests may keep the pool's threads
/// for minutes: so it is asked often before it is given up, whatever the clock says.
func wait(_ what: Comment, until condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(120)
    var asked = 0
    while try await !condition() {
        asked += 1
        guard ContinuousClock.now < end || asked < 1000 else {
            Issue.record(what)
            throw CancellationError()
        }
        try await Task.sleep(for: .milliseconds(5))
    }
}

@Suite("An operator's command runs on events")
struct ControlEventHookTests {
    let directory: ControlDirectory
    var output: String { directory.path + "/output" }

    init() throws { directory = try ControlDirectory() }

    private func script(_ text: String) throws -> String {
        let path = directory.path + "/hook-\(UUID()).sh"
        try "#!/bin/sh\n\(text)\n".write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: path)
        return path
    }

    private func lines() -> [String] {
        ((try? String(contentsOfFile: output, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }

    @Test("it finds the event in its environment, in order, and nothing else of ours")
    func environment() async throws {
        // A descriptor that does not close by itself, as a driver may open one.
        let leaked = unsafe open(directory.path, O_RDONLY)
        defer { close(leaked) }
        let names = "$VPNGW_EVENT|$VPNGW_TUNNEL|$VPNGW_SPI|$VPNGW_DIRECTION|$VPNGW_DETAIL"
        let hook = EventHook(
            command: [
                try script(
                    """
                    echo "\(names)|$1" >> \(output)
                    env | grep -c -v -E '^(PATH|PWD|_|SHLVL|OLDPWD|VPNGW_[A-Z]+)=' >> \(output)
                    readlink /proc/$$/fd/0 >> \(output)
                    [ -e /proc/$$/fd/\(leaked) ] && echo leaked >> \(output)
                    [ $(ps -o pgid= -p $$) = $$ ] && echo group >> \(output)
                    """), "argument",
            ], logger: quietLogger)
        hook.post(
            GatewayEvent(
                .lifetimeSoft, tunnel: "site-b", spi: SPI(rawValue: 0x1001), direction: .outbound,
                detail: "90 % of it; `rm x` $(y)\nz\0"))
        hook.post(GatewayEvent(.reload))
        try await wait("two events") { lines().filter { $0 == "group" }.count == 2 }
        #expect(
            lines() == [
                "lifetime_soft|site-b|0x00001001|outbound|90 % of it; `rm x` $(y) z|argument", "0", "/dev/null",
                "group", "reload|||||argument", "0", "/dev/null", "group",
            ])
        await hook.stop()
    }

    @Test("posting never waits, and beyond 64 waiting events are dropped, counted and told once")
    func bounds() async throws {
        let gate = directory.path + "/gate"
        let (logger, log) = KeepingLog.make()
        let hook = EventHook(
            command: [try script("echo $VPNGW_TUNNEL >> \(output); while [ ! -e \(gate) ]; do sleep 0.05; done")],
            logger: logger)
        hook.post(GatewayEvent(.removed, tunnel: "first"))
        // It runs, and no longer waits.
        try await wait("the first to run") { lines() == ["first"] }
        for number in 0..<(EventHook.queueLimit + 10) { hook.post(GatewayEvent(.removed, tunnel: "\(number)")) }
        #expect(hook.dropped == 10)
        #expect(log.all.filter { $0.contains("one was dropped") }.count == 1)
        #expect(FileManager.default.createFile(atPath: gate, contents: nil))
        try await wait("all that waited") { lines().count == 1 + EventHook.queueLimit }
        #expect(lines() == ["first"] + (0..<EventHook.queueLimit).map(String.init))
        await hook.stop()
    }

    @Test("one that takes too long is killed with what it started, and the next event has its turn")
    func killed() async throws {
        let (logger, log) = KeepingLog.make()
        let hook = EventHook(
            command: [
                try script(
                    """
                    [ $VPNGW_EVENT = reload ] && { echo done >> \(output); exit 0; }
                    sleep 1000 &
                    echo $! > \(directory.path)/child
                    wait
                    """)
            ], logger: logger, patience: .seconds(5))
        hook.post(GatewayEvent(.lifetimeHard))
        hook.post(GatewayEvent(.reload))
        try await wait("the second event") { lines() == ["done"] }
        #expect(log.all.filter { $0.contains("lifetime_hard: was killed after") }.count == 1)
        let text = try String(contentsOfFile: directory.path + "/child", encoding: .utf8)
        let child = try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        try await wait("its child to be gone") {
            // Gone, or dead and not yet collected by its new parent.
            let status = try? String(contentsOfFile: "/proc/\(child)/stat", encoding: .utf8)
            return status.map { $0.contains(") Z ") } ?? true
        }
        await hook.stop()
    }

    @Test("failures are told: what it ended with, and that there is no such program")
    func failures() async throws {
        for (command, words) in [
            ([try script("exit 3")], "store_failed: ended with 3"), (["/nowhere/hook"], "No such file or directory"),
            ([try script("kill -9 $$")], "died of signal 9"),
        ] {
            let (logger, log) = KeepingLog.make()
            let hook = EventHook(command: command, logger: logger)
            for _ in 0..<3 { hook.post(GatewayEvent(.storeFailed)) }
            try await wait("a line with \(words)") { log.all.contains { $0.contains(words) } }
            await hook.stop()
            // Three failures at once make one line.
            #expect(log.all.count == 1)
        }
    }

    @Test("stopping kills what runs, and no command means no work")
    func stop() async throws {
        let hook = EventHook(command: [try script("echo $$ >> \(output); sleep 1000")], logger: quietLogger)
        hook.post(GatewayEvent(.activated))
        hook.post(GatewayEvent(.activated))
        try await wait("it to run") { lines().count == 1 }
        await hook.stop()
        let pid = try #require(Int32(lines()[0]))
        #expect(kill(pid, 0) == -1 && lines().count == 1)

        let none = EventHook(command: [], logger: quietLogger)
        none.post(GatewayEvent(.reload))
        await none.stop()
    }
}
