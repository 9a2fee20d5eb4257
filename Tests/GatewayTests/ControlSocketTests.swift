import Foundation
import Testing

@testable import Gateway

@Suite("The control socket in the file system")
struct ControlSocketTests {
    let directory: ControlDirectory

    init() throws { directory = try ControlDirectory() }

    private func mode(_ path: String) throws -> Int {
        try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    private func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    private func start(_ path: String) async throws -> ControlServer {
        try await ControlServer.start(
            socketPath: path, metricsAddress: nil, name: "a", target: FakeTarget(), logger: quietLogger)
    }

    private func error(at path: String) async -> ControlSocketError? {
        do {
            await (try start(path)).stop()
            return nil
        } catch { return error as? ControlSocketError }
    }

    @Test("it is its owner's alone, in a directory that is made for it, and goes with the server")
    func modes() async throws {
        let server = try await start(directory.socket)
        #expect(try mode(directory.socket) == 0o600)
        #expect(try mode(directory.path + "/run") == 0o755)
        let attributes = try FileManager.default.attributesOfItem(atPath: directory.socket)
        #expect(attributes[.ownerAccountID] as? Int == Int(geteuid()))
        #expect(attributes[.type] as? FileAttributeType == .typeSocket)
        await server.stop()
        #expect(!exists(directory.socket) && exists(directory.path + "/run"))
    }

    @Test("a directory whose parent is missing, or that is none, is refused")
    func directories() async throws {
        let deep = await error(at: directory.path + "/a/b/control.sock")
        guard case .failed(_, _, ENOENT) = deep else { return #expect(deep == nil) }
        try "text".write(toFile: directory.path + "/file", atomically: true, encoding: .utf8)
        let file = await error(at: directory.path + "/file/control.sock")
        guard case .failed(_, _, ENOTDIR) = file else { return #expect(file == nil) }
        let long = await error(at: directory.path + "/" + String(repeating: "x", count: 100))
        guard case .failed(_, _, ENAMETOOLONG) = long else { return #expect(long == nil) }
    }

    @Test("a socket that nobody listens on is replaced")
    func stale() async throws {
        try FileManager.default.createDirectory(atPath: directory.path + "/run", withIntermediateDirectories: false)
        // Its process died: the descriptor is gone, the file stays.
        close(try ControlSocket(path: directory.socket).descriptor)
        #expect(exists(directory.socket))
        let server = try await start(directory.socket)
        let socket = directory.socket
        let answer = try await offPool { try RawConnection(path: socket).ask("GET", "/v1") }
        #expect(answer.status == 200)
        await server.stop()
    }

    @Test("one that answers is refused and left alone")
    func answered() async throws {
        let server = try await start(directory.socket)
        let found = try #require(await error(at: directory.socket))
        #expect(found == .answered(path: directory.socket) && found.exitCode == .unavailable)
        #expect("\(found)".contains("another vpn-gw answers on") && Failure(found).exitCode == .unavailable)
        let socket = directory.socket
        let answer = try await offPool { try RawConnection(path: socket).ask("GET", "/v1") }
        #expect(answer.status == 200)
        await server.stop()
    }

    @Test("what is no socket stays", arguments: ["file", "directory", "link"])
    func foreign(kind: String) async throws {
        let path = directory.path + "/control.sock", other = directory.path + "/other"
        try "text".write(toFile: other, atomically: true, encoding: .utf8)
        switch kind {
        case "file": try "text".write(toFile: path, atomically: true, encoding: .utf8)
        case "directory": try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        default: try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: other)
        }
        let found = await error(at: path)
        #expect(found == .notSocket(path: path) && found?.exitCode == .cannotCreate)
        #expect(exists(path))
        #expect(try String(contentsOfFile: other, encoding: .utf8) == "text")
    }

    @Test("a socket of another kind is somebody's")
    func datagram() async throws {
        let path = directory.path + "/log"
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        let bound = unsafe UnixSocketAddress.with(path) { unsafe bind(descriptor, $0, $1) }
        try #require(bound == 0)
        #expect(await error(at: path) == .answered(path: path))
        #expect(exists(path))
    }

    @Test("another's socket in its place stays at the end")
    func replaced() async throws {
        let first = try await start(directory.socket)
        try FileManager.default.removeItem(atPath: directory.socket)
        let second = try await start(directory.socket)
        await first.stop()
        #expect(exists(directory.socket))
        let socket = directory.socket
        let answer = try await offPool { try RawConnection(path: socket).ask("GET", "/v1") }
        #expect(answer.status == 200)
        try FileManager.default.removeItem(atPath: directory.socket)
        try "another's".write(toFile: directory.socket, atomically: true, encoding: .utf8)
        await second.stop()
        #expect(try String(contentsOfFile: directory.socket, encoding: .utf8) == "another's")
    }

    @Test(
        "another user may look, where the socket's mode lets it, and change nothing",
        .enabled(if: getuid() == 0, "another user's process is made by root"))
    func otherUser() async throws {
        try await ControlRig.run { rig in
            rig.target.with { $0.views[.drops] = .drops([:]) }
            let script = """
                import os, socket, sys
                os.setgroups([]); os.setgid(65534); os.setuid(65534)
                for request in sys.argv[2:]:
                    s = socket.socket(socket.AF_UNIX)
                    try: s.connect(sys.argv[1])
                    except PermissionError: print("refused"); continue
                    lines = [request + " HTTP/1.1", "host: a", "connection: close", "content-length: 0", "", ""]
                    s.sendall("\\r\\n".join(lines).encode())
                    answer = b""
                    while more := s.recv(65536): answer += more
                    print(answer.decode().splitlines()[0], answer.decode().splitlines()[-1])
                """
            let socket = rig.directory.socket
            let ask: @Sendable () throws -> [String] = {
                let process = Process(), pipe = Pipe()
                process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
                process.arguments = [
                    "python3", "-c", script, socket, "GET /v1/drops", "POST /v1/reload", "POST /v1/sa/add",
                ]
                process.standardOutput = pipe
                try process.run()
                let output = pipe.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                return String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
            }
            #expect(try await offPool(ask) == ["refused", "refused", "refused"])
            try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: socket)
            let lines = try await offPool(ask)
            try #require(lines.count == 3)
            #expect(lines[0].hasPrefix("HTTP/1.1 200"))
            for line in lines[1...] {
                #expect(
                    line.hasPrefix("HTTP/1.1 403") && line.contains("uid 65534") && line.contains("\"exit_code\":77"))
            }
            #expect(rig.target.calls == ["view drops"])
        }
    }
}
