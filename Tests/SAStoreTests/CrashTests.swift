import Foundation
import IPsec
import SeededRandom
import Testing

@testable import SAStore

@Suite("Crashes lose no grant")
struct CrashTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test(
        "a process killed while it reserves leaves every granted block behind the stored end",
        arguments: [1, 2] as [UInt64])
    func killed(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var highest: [String: UInt64] = [:]
        for round in 0..<6 {
            let rounds = Int.random(in: 1...150, using: &random)
            for grant in try hammer(killAfter: rounds) {
                // The first block after a crash starts behind the last one of the run before.
                #expect(
                    grant.first > highest[grant.counter, default: 0],
                    "seed \(seed), round \(round), \(grant.counter)")
                highest[grant.counter] = grant.last
            }
            let store = try StateStore(directory: directory.state)
            let sequence = try #require(try store.sequenceNumbers(1, Hammer.sa)).lowerBound
            let vector = try #require(
                try store.reserve([
                    .initializationVectors(count: 1, fingerprint: Hammer.sa.fingerprint, floor: 0)
                ])[0]
            ).lowerBound
            #expect(
                sequence > highest["sequence", default: 0] && vector > highest["vector", default: 0],
                "seed \(seed), round \(round), \(rounds) lines read")
            highest["sequence"] = sequence
            highest["vector"] = vector
        }
    }

    private enum Hammer {
        static let sa = SAIdentity(
            fingerprint: KeyFingerprint(digest: SIMD4(repeating: 0x0123_4567_89ab_cdef)), spi: identity(0, 0x1001).spi)
    }

    private struct Grant {
        var counter: String
        var first: UInt64
        var last: UInt64
    }

    /// Runs the hammer until `lines` lines came, kills it wherever it then is, and returns all that it was granted and
    /// said.
    private func hammer(killAfter lines: Int) throws -> [Grant] {
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        let process = Process(), pipe = Pipe()
        process.executableURL = program.appendingPathComponent("reservation-hammer")
        process.arguments = [directory.state]
        process.standardOutput = pipe
        try process.run()
        var output = Data()
        while output.count(where: { $0 == UInt8(ascii: "\n") }) < lines {
            let more = pipe.fileHandleForReading.availableData
            if more.isEmpty { break }
            output += more
        }
        kill(process.processIdentifier, SIGKILL)
        output += pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGKILL)
        // A line that the kill cut short is left out: it has no newline.
        return try output.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().map {
            line in
            let words = String(decoding: line, as: UTF8.self).split(separator: " ")
            try #require(words.count == 3)
            return Grant(
                counter: String(words[0]), first: try #require(UInt64(words[1])), last: try #require(UInt64(words[2])))
        }
    }

    @Test("a copy of the files between two commits has everything granted before", arguments: [1, 2] as [UInt64])
    func copied(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let store = try StateStore(directory: directory.state)
        var highest = [UInt64](repeating: 0, count: 8)
        for step in 0..<60 {
            let key = Int.random(in: 0..<8, using: &random)
            highest[key] = try #require(try store.vectors(UInt64.random(in: 1...1000, using: &random), key: key))
                .upperBound
            guard Int.random(in: 0..<6, using: &random) == 0 else { continue }
            let copy = try TemporaryDirectory()
            try copyFiles(to: copy)
            try expectVectors(behind: highest, in: copy.state, "seed \(seed), step \(step)")
        }
    }

    @Test("a -wal that a power cut tore anywhere after a commit still has that commit", arguments: [1, 2] as [UInt64])
    func torn(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let store = try StateStore(directory: directory.state)
        var highest = [UInt64](repeating: 0, count: 8)
        var history: [(walOctets: Int, highest: [UInt64])] = [(0, highest)]
        for _ in 0..<60 {
            let key = Int.random(in: 0..<8, using: &random)
            highest[key] = try #require(try store.vectors(UInt64.random(in: 1...1000, using: &random), key: key))
                .upperBound
            history.append((try octets(of: directory.file + "-wal").count, highest))
        }
        for _ in 0..<20 {
            let copy = try TemporaryDirectory()
            try copyFiles(to: copy)
            let whole = try octets(of: copy.file + "-wal")
            let kept = Int.random(in: 0...whole.count, using: &random)
            try write(whole.prefix(kept), to: copy.file + "-wal")
            let before = try #require(history.last { $0.walOctets <= kept })
            try expectVectors(behind: before.highest, in: copy.state, "seed \(seed), \(kept) octets of \(whole.count)")
        }
    }

    /// By a process of its own: closing the files here would drop the locks that SQLite has on them.
    private func copyFiles(to copy: TemporaryDirectory) throws {
        try FileManager.default.createDirectory(atPath: copy.state, withIntermediateDirectories: false)
        let process = try Process.run(
            URL(fileURLWithPath: "/bin/cp"),
            arguments: [directory.file, directory.file + "-wal", directory.lock, copy.state])
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }

    private func expectVectors(behind highest: [UInt64], in state: String, _ place: Comment) throws {
        let store = try StateStore(directory: state)
        for (key, end) in highest.enumerated() {
            #expect(try #require(try store.vectors(1, key: key)).lowerBound > end, place)
        }
    }
}
