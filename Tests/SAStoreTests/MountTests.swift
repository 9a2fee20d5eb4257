import Foundation
import Testing

@testable import SAStore

/// File systems of a test's own, which take root.
private enum Mount {
    static let isPossible: Bool = {
        guard let directory = try? TemporaryDirectory(), run("mount", ["-t", "tmpfs", "none", directory.path]) else {
            return false
        }
        return run("umount", [directory.path])
    }()

    static func run(_ program: String, _ arguments: [String]) -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}

@Suite("Disks that take nothing", .enabled(if: Mount.isPossible, "mounting a file system takes root"))
struct MountTests {
    @Test("a disk that is really full grants nothing, keeps everything, and goes on when there is room")
    func fullDisk() throws {
        let directory = try TemporaryDirectory()
        try #require(Mount.run("mount", ["-t", "tmpfs", "-o", "size=512k", "none", directory.path]))
        defer { _ = Mount.run("umount", [directory.path]) }
        var store: StateStore? = try StateStore(directory: directory.state)
        var granted = 0
        var failure: StoreError?
        while failure == nil && granted < 100_000 {
            do throws(StoreError) {
                var round = StoreRound()
                round.reservations = [.initializationVectors(count: 5, fingerprint: fingerprint(granted), floor: 0)]
                #expect(try store?.commit(round, now: testNow) == [1...5])
                granted += 1
            } catch { failure = error }
        }
        let text = try #require(failure).description
        #expect(text.contains("full") || text.contains("No space left"), "\(text)")
        #expect(granted > 50)
        // Whatever it was that did not fit: the numbers are those before, at once and for the next to open.
        #expect(try StateStore.knownFingerprints(directory: directory.state).count == granted)
        try #require(Mount.run("mount", ["-o", "remount,size=8m", directory.path]))
        #expect(try store?.vectors(1, key: granted) == 1...1)
        store = nil
        let next = try StateStore(directory: directory.state)
        for key in [0, granted / 2, granted - 1] { #expect(try next.vectors(1, key: key) == 6...6) }
        #expect(try next.vectors(1, key: granted) == 2...2)
    }

    @Test("a disk that is mounted read-only, before or under a running store, is told")
    func readOnly() throws {
        let directory = try TemporaryDirectory()
        try #require(Mount.run("mount", ["-t", "tmpfs", "none", directory.path]))
        defer { _ = Mount.run("umount", [directory.path]) }
        #expect(try StateStore(directory: directory.state).vectors(5, key: 1) == 1...5)
        try #require(Mount.run("mount", ["-o", "remount,ro", directory.path]))
        #expect(errorOfOpening(directory.state) == .inaccessible(path: directory.lock, code: EROFS))
        #expect(throws: StoreError.inaccessible(path: directory.lock, code: EROFS)) {
            try StateStore.reset(directory: directory.state, now: testNow, machine: nil, by: "a test")
        }
        try #require(Mount.run("mount", ["-o", "remount,rw", directory.path]))
        #expect(try StateStore(directory: directory.state).vectors(5, key: 1) == 6...10)
    }
}
