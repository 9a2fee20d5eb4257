import Foundation
import SeededRandom
import Testing

@testable import SAStore

@Suite("Ways out: adopt and reset")
struct RecoveryTests {
    let directory: TemporaryDirectory
    private let here = MachineIdentity(machineID: "0123456789abcdef0123456789abcdef")
    private let there = MachineIdentity(machineID: "0123456789abcdef0123456789abcdee")

    init() throws { directory = try TemporaryDirectory() }

    /// A store with keys 1...`keys`, each with numbers, and one inbound SA; closed.
    private func makeStore(keys: Int = 3, machine: MachineIdentity? = nil) throws {
        let store = try StateStore(directory: directory.state, now: testNow, machine: machine)
        var round = StoreRound()
        round.reservations = (1...keys).flatMap { key -> [ReservationRequest] in
            [
                .sequenceNumbers(count: 1000, sa: identity(key, 0x1001)),
                .initializationVectors(count: 1000, fingerprint: fingerprint(key), floor: 0),
            ]
        }
        round.ceilings = [ReplayCeiling(sa: identity(0x99, 0x2001), ceiling: 555)]
        _ = try store.commit(round, now: testNow)
    }

    private func adopt(now: Int64 = testNow, _ machine: MachineIdentity?) throws(StoreError) -> StateStore.Adoption {
        try StateStore.adopt(directory: directory.state, now: now, machine: machine, by: "a test")
    }

    private func reset() throws(StoreError) -> StateStore.Reset {
        try StateStore.reset(directory: directory.state, now: testNow, machine: here, by: "a test")
    }

    @Test("an adopted store moves its counters on, keeps its windows, and is this machine's alone")
    func adopted() throws {
        try makeStore(machine: there)
        let adoption = try adopt(here)
        #expect(adoption.isForeign && adoption.lastWritten == testNow && adoption.sas == 3 && adoption.keys == 3)
        #expect(throws: StoreError.foreignMachine(path: directory.file)) {
            try StateStore(directory: directory.state, now: testNow, machine: there)
        }
        let store = try StateStore(directory: directory.state, now: testNow, machine: here)
        #expect(try store.sequenceNumbers(1, identity(1, 0x1001)) == 1000 + 1 << 20 + 1...1000 + 1 << 20 + 1)
        #expect(try store.vectors(1, key: 1) == 1000 + 1 << 26 + 1...1000 + 1 << 26 + 1)
        let inbound = try store.open([identity(0x99, 0x2001)], now: testNow)[0]
        #expect(inbound.replayCeiling == 555 && inbound.sequenceReserved == 0)
        let entries = try StateStore.auditEntries(directory: directory.state, last: .max)
        #expect(entries.map(\.who) == ["a test"] && entries[0].what.contains("another machine"))
    }

    @Test("adopting sets the clock that was wrong")
    func clockAdopted() throws {
        try makeStore()
        #expect(throws: StoreError.clockWentBack(path: directory.file, last: testNow, now: testNow - 1000)) {
            try StateStore(directory: directory.state, now: testNow - 1000, machine: nil)
        }
        #expect(try !adopt(now: testNow - 1000, nil).isForeign)
        let store = try StateStore(directory: directory.state, now: testNow - 1000, machine: nil)
        #expect(try store.vectors(1, key: 1)?.lowerBound == 1000 + 1 << 26 + 1)
    }

    @Test("counters at their end stay there")
    func adoptedAtEnd() throws {
        let sa = identity(1, 0x1001)
        do {
            let store = try StateStore(directory: directory.state)
            _ = try store.sequenceNumbers(0xffff_fff0, sa)
            _ = try store.vectors(10, key: 1, floor: UInt64(Int64.max) - 20)
        }
        for _ in 0..<3 { _ = try adopt(here) }
        let store = try StateStore(directory: directory.state, now: testNow, machine: here)
        #expect(try store.sequenceNumbers(1, sa) == nil && store.vectors(1, key: 1) == nil)
    }

    @Test("neither is done where a gateway runs, nor where there never was one")
    func refused() throws {
        #expect(throws: StoreError.noStore(directory: directory.state)) { try adopt(here) }
        #expect(throws: StoreError.noStore(directory: directory.state)) { try reset() }
        #expect(!FileManager.default.fileExists(atPath: directory.state))
        try FileManager.default.createDirectory(atPath: directory.state, withIntermediateDirectories: false)
        #expect(throws: StoreError.noStore(directory: directory.state)) { try reset() }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.state) == [])
        let store = try StateStore(directory: directory.state)
        #expect(throws: StoreError.inUse(directory: directory.state)) { try adopt(here) }
        #expect(throws: StoreError.inUse(directory: directory.state)) { try reset() }
        #expect(try store.vectors(1, key: 1) == 1...1)
    }

    @Test("a damaged store is not adopted")
    func damagedNotAdopted() throws {
        try makeStore(keys: 200)
        try write(try octets(of: directory.file).dropLast(5000), to: directory.file)
        let before = try octets(of: directory.file)
        let error = try #require(throws: StoreError.self) { try adopt(here) }
        guard case .damaged = error else {
            Issue.record("not .damaged: \(error)")
            return
        }
        #expect(error.description.contains("vpn-gw state reset"))
        #expect(try octets(of: directory.file) == before)
        try FileManager.default.removeItem(atPath: directory.file)
        #expect(throws: StoreError.lost(path: directory.file)) { try adopt(here) }
    }

    /// Opening with one of `keys` is refused by name, with the key `fresh` it works.
    private func expectBurned(_ keys: [Int], fresh: Int = 0x9999) throws {
        let store = try StateStore(directory: directory.state, now: testNow, machine: here)
        for key in keys {
            let error = StoreError.usedKeys(fingerprints: [fingerprint(key)])
            #expect(throws: error) { try store.open([identity(fresh, 0x1001), identity(key, 0x7777)], now: testNow) }
            #expect(throws: error) { try store.vectors(1, key: key) }
        }
        #expect(StoreError.usedKeys(fingerprints: [fingerprint(1)]).description.contains("vpn-gw keygen"))
        #expect(try store.open([identity(fresh, 0x1001)], now: testNow).count == 1)
        #expect(try store.vectors(1, key: fresh) == 1...1)
    }

    @Test("a store that is gone is reset by what keys-seen says: every key it ever had is refused")
    func resetLost() throws {
        try makeStore()
        try FileManager.default.removeItem(atPath: directory.file)
        let result = try reset()
        #expect(result.movedTo == nil && result.burnedKeys == 4 && result.unreadable == [])
        try expectBurned([1, 2, 3, 0x99])
        #expect(try StateStore.knownFingerprints(directory: directory.state).count == 5)
        let entries = try StateStore.auditEntries(directory: directory.state, last: .max)
        #expect(entries.count == 1 && entries[0].what.hasPrefix("reset the store; 4 key(s) are refused"))
    }

    @Test("a damaged store is put aside whole, and the keys that it still shows are refused without keys-seen")
    func resetDamaged() throws {
        try makeStore()
        var bad = try octets(of: directory.file)
        for place in 0..<100 { bad[place] = 0 }
        try write(bad, to: directory.file)
        try FileManager.default.removeItem(atPath: directory.keysSeen)
        let result = try reset()
        #expect(result.burnedKeys == 4)
        #expect(try octets(of: try #require(result.movedTo)) == bad)
        try expectBurned([1, 2, 3, 0x99])
        // And again: what is burned stays burned, and nothing that was put aside is overwritten.
        let again = try reset()
        #expect(again.burnedKeys == 5 && again.movedTo != result.movedTo)
        try expectBurned([1, 2, 3, 0x99, 0x9999], fresh: 0x7777)
    }

    @Test("keys that only the -wal has are refused, and the -wal does not become a part of the new store")
    func resetWithLog() throws {
        let copy = try TemporaryDirectory()
        do {
            let store = try StateStore(directory: directory.state)
            _ = try store.vectors(1000, key: 1)
            try FileManager.default.createDirectory(atPath: copy.state, withIntermediateDirectories: false)
            // By a process of its own: closing the files here would drop the locks that SQLite has on them.
            let process = try Process.run(
                URL(fileURLWithPath: "/bin/cp"), arguments: [directory.file + "-wal", directory.lock, copy.state])
            process.waitUntilExit()
        }
        let result = try StateStore.reset(directory: copy.state, now: testNow, machine: nil, by: "a test")
        #expect(result.burnedKeys == 1)
        let store = try StateStore(directory: copy.state)
        #expect(throws: StoreError.usedKeys(fingerprints: [fingerprint(1)])) { try store.vectors(1, key: 1) }
        #expect(try store.vectors(1, key: 2) == 1...1)
    }

    @Test("with nothing left but the mark that there was a store, new keys work, and the caller is told")
    func resetBlind() throws {
        try makeStore()
        try FileManager.default.removeItem(atPath: directory.file)
        try FileManager.default.removeItem(atPath: directory.keysSeen)
        #expect(errorOfOpening(directory.state) == .lost(path: directory.file))
        #expect(try reset().burnedKeys == 0)
        try expectBurned([])
    }

    @Test("a reset that was cut short after any of its steps is done again to the same end")
    func resetAgain() throws {
        try makeStore()
        // Moved aside, nothing made yet; then made and empty, as after a lost creation.
        try FileManager.default.moveItem(atPath: directory.file, toPath: directory.file + ".damaged-1")
        #expect(errorOfOpening(directory.state) == .lost(path: directory.file))
        try write([], to: directory.file)
        #expect(errorOfOpening(directory.state) == .lost(path: directory.file))
        #expect(try reset().burnedKeys == 4)
        try expectBurned([1, 2, 3, 0x99])
    }

    @Test("keys-seen has every key before its first number, survives a torn line, and is made again when it is gone")
    func keysSeen() throws {
        try makeStore()
        func lines() throws -> Set<String> {
            Set(
                String(decoding: try octets(of: directory.keysSeen), as: UTF8.self).split(separator: "\n").map(
                    String.init))
        }
        let all = Set([1, 2, 3, 0x99].map { fingerprint($0).description })
        #expect(try lines() == all)
        try FileManager.default.removeItem(atPath: directory.keysSeen)
        #expect(errorOfOpening(directory.state) == nil)
        #expect(try lines() == all)
        // A line torn at its end is none; the next key gets a line of its own.
        try write(
            try octets(of: directory.keysSeen) + Array(fingerprint(7).description.utf8.prefix(63)),
            to: directory.keysSeen)
        _ = try StateStore(directory: directory.state).vectors(1, key: 8)
        #expect(try lines() == all.union([fingerprint(8).description, String(fingerprint(7).description.prefix(63))]))
        #expect(try KeysSeen.read(in: directory.state)?.keys.count == 5)
    }

    @Test("a lock file and a database that are gone together are still missed")
    func lostWithLock() throws {
        try makeStore()
        try FileManager.default.removeItem(atPath: directory.file)
        try FileManager.default.removeItem(atPath: directory.lock)
        #expect(errorOfOpening(directory.state) == .lost(path: directory.file))
    }
}
