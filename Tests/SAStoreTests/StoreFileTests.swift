import Foundation
import GRDB
import SeededRandom
import Testing

@testable import SAStore

@Suite("The store's files")
struct StoreFileTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// A store with some rows, closed in good order, so that all of it is in the one file.
    private func makeStore(keys: Int = 20) throws {
        let store = try StateStore(directory: directory.state)
        _ = try store.reserve(
            (1...keys).flatMap { key -> [ReservationRequest] in
                [
                    .initializationVectors(count: 1000, fingerprint: fingerprint(key), floor: 0),
                    .sequenceNumbers(count: 1000, sa: identity(key, 0x1001)),
                ]
            })
        try store.audit([AuditEntry(at: testNow, who: "a test", what: "made a store")])
    }

    @Test("directory and files are for their owner alone")
    func modes() throws {
        let store = try StateStore(directory: directory.state)
        _ = try store.vectors(1, key: 1)
        #expect(try mode(directory.state) == 0o700)
        for file in ["sa-store.sqlite", "sa-store.sqlite-wal", "sa-store.sqlite-shm", "lock", "keys-seen"] {
            #expect(try mode(directory.state + "/" + file) == 0o600, "\(file)")
        }
    }

    @Test("a file that was copied back for all to read is private again")
    func modeRestored() throws {
        try makeStore()
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: directory.file)
        let store = try StateStore(directory: directory.state)
        _ = try store.vectors(1, key: 1)
        #expect(try mode(directory.file) == 0o600)
        #expect(try mode(directory.file + "-wal") == 0o600)
    }

    private func mode(_ path: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    }

    @Test("commits wait for the disk: journal mode and synchronous, read back on the writer's connection")
    func durable() throws {
        let store = try StateStore(directory: directory.state)
        try store.queue.writeWithoutTransaction { db in
            #expect(try String.fetchOne(db, sql: "PRAGMA journal_mode") == "wal")
            #expect(try Int.fetchOne(db, sql: "PRAGMA synchronous") == 2)
            try StateStore.checkDurable(db, path: "file")
            try db.execute(sql: "PRAGMA synchronous = NORMAL")
            let expected = StoreError.notDurable(path: "file", detail: "journal_mode is wal, synchronous is 1")
            #expect(throws: expected) { try StateStore.checkDurable(db, path: "file") }
        }
        let expected = StoreError.notDurable(path: "memory", detail: "journal_mode is memory, synchronous is 2")
        #expect(throws: expected) {
            try DatabaseQueue().writeWithoutTransaction { try StateStore.checkDurable($0, path: "memory") }
        }
    }

    @Test("opening commits to the -wal, so that a file that takes no writes is noticed then, and its name is synced")
    func writesWhenOpened() throws {
        try makeStore()
        let store = try StateStore(directory: directory.state)
        let attributes = try FileManager.default.attributesOfItem(atPath: directory.file + "-wal")
        #expect(try #require(attributes[.size] as? Int) > 4096)
        #expect(store.written.commits == 0)
    }

    @Test("two stores never share a directory")
    func exclusive() throws {
        var store: StateStore? = try StateStore(directory: directory.state)
        let error = try #require(errorOfOpening(directory.state))
        #expect(error == .inUse(directory: directory.state))
        #expect(error.description.contains(directory.state))
        #expect(try store?.vectors(1, key: 1) == 1...1)
        store = nil
        #expect(errorOfOpening(directory.state) == nil)
    }

    @Test("a child that another thread forks at that moment does not keep the lock of a store that went")
    func lockInherited() throws {
        var store: StateStore? = try StateStore(directory: directory.state)
        // Between fork and exec a child has a duplicate of each descriptor.
        let lock = directory.lock
        #expect(try store?.vectors(1, key: 1) == 1...1)
        let descriptor = try #require(
            (0..<1024).first {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == lock
            })
        let duplicate = dup(CInt(descriptor))
        try #require(duplicate >= 0)
        defer { close(duplicate) }
        store = nil
        #expect(errorOfOpening(directory.state) == nil)
    }

    @Test("an opening that fails leaves no lock behind")
    func lockReleased() throws {
        try makeStore()
        let good = try octets(of: directory.file)
        try write(good.dropLast(5000), to: directory.file)
        #expect(errorOfOpening(directory.state) != nil)
        try write(good, to: directory.file)
        #expect(errorOfOpening(directory.state) == nil)
    }

    @Test(
        "rows are neither deleted nor lowered nor renamed, whoever tries",
        arguments: [
            "DELETE FROM initialization_vectors", "DELETE FROM security_associations", "DELETE FROM store",
            "UPDATE initialization_vectors SET reserved_end = 999",
            "UPDATE security_associations SET sequence_reserved = 999",
            "UPDATE initialization_vectors SET fingerprint = '\(fingerprint(9))'",
            "UPDATE security_associations SET fingerprint = '\(fingerprint(9))'",
            "UPDATE security_associations SET spi = 77", "UPDATE security_associations SET installed_at = 7",
            "INSERT OR REPLACE INTO initialization_vectors VALUES ('\(fingerprint(1))', 9999, 0)",
            "INSERT OR REPLACE INTO security_associations VALUES ('\(fingerprint(1))', 0x1001, 1, 0, 0, 9999, 0, 0, 0)",
            "DELETE FROM audit", "UPDATE audit SET what = 'nothing'",
            "INSERT OR REPLACE INTO audit VALUES (1, 0, '', '', 0)", "INSERT INTO audit VALUES (1, 0, '', '', 0)",
        ])
    func triggers(sql: String) throws {
        try makeStore(keys: 1)
        let error = try #require(throws: DatabaseError.self) { try execute(sql, on: directory.file) }
        #expect(error.extendedResultCode == .SQLITE_CONSTRAINT_TRIGGER)
        let store = try StateStore(directory: directory.state)
        #expect(try store.vectors(1, key: 1) == 1001...1001)
        #expect(try store.sequenceNumbers(1, identity(1, 0x1001)) == 1001...1001)
    }

    @Test(
        "what can't be a reservation is no row",
        arguments: [
            "INSERT INTO initialization_vectors VALUES ('00112233445566778899aabbccddeeff', 1, 0)",
            "INSERT INTO initialization_vectors VALUES ('\(fingerprint(9))', 0, 0)",
            "INSERT INTO security_associations VALUES ('\(fingerprint(9))', 0x1001, 0, 0, 0, -1, 0, 0, 0)",
            "INSERT INTO security_associations VALUES ('\(fingerprint(9))', 0x100000000, 0, 0, 0, 1, 0, 0, 0)",
            "INSERT INTO security_associations VALUES ('\(fingerprint(9))', 0x1001, 0, -1, 0, 1, 0, 0, 0)",
            "INSERT INTO store VALUES (2, NULL, 0, 0)",
            "INSERT INTO audit VALUES (2, 0, '\(String(repeating: "x", count: 201))', '', 0)",
        ])
    func checks(sql: String) throws {
        try makeStore(keys: 1)
        let error = try #require(throws: DatabaseError.self) { try execute(sql, on: directory.file) }
        #expect(error.extendedResultCode == .SQLITE_CONSTRAINT_CHECK)
    }

    @Test("an SQLite file of another program is refused and left as it is")
    func foreignFile() throws {
        try FileManager.default.createDirectory(atPath: directory.state, withIntermediateDirectories: false)
        try execute("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')", on: directory.file)
        let before = try octets(of: directory.file)
        #expect(errorOfOpening(directory.state) == .foreignFile(path: directory.file))
        #expect(try octets(of: directory.file) == before)
        #expect(throws: StoreError.foreignFile(path: directory.file)) {
            try StateStore.knownFingerprints(directory: directory.state)
        }
    }

    @Test("a file of a later release is refused")
    func newerSchema() throws {
        try makeStore()
        try execute("PRAGMA user_version = \(StoreSchema.version + 1)", on: directory.file)
        #expect(errorOfOpening(directory.state) == .newerSchema(path: directory.file, version: StoreSchema.version + 1))
    }

    @Test("a store whose tables or triggers were changed is refused", arguments: ["_delete", "_update", "_insert"])
    func missingTrigger(event: String) throws {
        try makeStore()
        try execute("DROP TRIGGER security_associations\(event)", on: directory.file)
        guard case .damaged = errorOfOpening(directory.state) else {
            Issue.record("not refused as damaged")
            return
        }
    }

    @Test("a file that is gone, emptied or shortened is refused, and not started afresh")
    func truncated() throws {
        try makeStore(keys: 200)
        let good = try octets(of: directory.file)
        #expect(good.count > 5 * 4096)
        for kept in [50, 100, 4095, 4096, 8192, good.count - 4096, good.count - 1] {
            try write(good.prefix(kept), to: directory.file)
            guard case .damaged = errorOfOpening(directory.state) else {
                Issue.record("\(kept) octets: not refused as damaged")
                continue
            }
        }
        // SQLite takes a single octet for nothing.
        for rest in [[], [1]] as [[UInt8]] {
            try write(rest, to: directory.file)
            #expect(errorOfOpening(directory.state) == .lost(path: directory.file))
        }
        try FileManager.default.removeItem(atPath: directory.file)
        #expect(errorOfOpening(directory.state) == .lost(path: directory.file))
        #expect(throws: StoreError.lost(path: directory.file)) {
            try StateStore.knownFingerprints(directory: directory.state)
        }
        try write(good, to: directory.file)
        #expect(errorOfOpening(directory.state) == nil)
    }

    @Test("a lock file that was deleted does not make the store a new one")
    func lockDeleted() throws {
        try makeStore()
        try FileManager.default.removeItem(atPath: directory.lock)
        #expect(try StateStore(directory: directory.state).vectors(1, key: 1) == 1001...1001)
        try write([], to: directory.file)
        #expect(errorOfOpening(directory.state) == .lost(path: directory.file))
    }

    @Test("an opening that a crash cut short before the tables were made is made up for")
    func creationCutShort() throws {
        try FileManager.default.createDirectory(atPath: directory.state, withIntermediateDirectories: false)
        try write([], to: directory.lock)
        try write([], to: directory.file)
        #expect(try StateStore(directory: directory.state).vectors(1, key: 1) == 1...1)
    }

    @Test(
        "wherever an octet is flipped, the store is refused or nothing in it has changed",
        arguments: [1, 2] as [UInt64])
    func flipped(seed: UInt64) throws {
        try makeStore()
        var random = SplitMix64(seed: seed)
        let good = try octets(of: directory.file)
        // All of the database header and of the first page's, then anywhere.
        let places = Array(0..<108) + (0..<300).map { _ in Int.random(in: 108..<good.count, using: &random) }
        var refused = 0
        for place in places {
            let copy = try TemporaryDirectory()
            try FileManager.default.createDirectory(atPath: copy.state, withIntermediateDirectories: false)
            var bad = good
            bad[place] ^= UInt8.random(in: 1...255, using: &random)
            try write(bad, to: copy.file)
            guard let store = try? StateStore(directory: copy.state) else {
                refused += 1
                continue
            }
            for key in 1...20 {
                let vector = try store.vectors(1, key: key),
                    sequence = try store.sequenceNumbers(1, identity(key, 0x1001))
                #expect(
                    vector == 1001...1001 && sequence == 1001...1001, "seed \(seed), octet \(place) now \(bad[place])")
            }
        }
        #expect(refused > 50)
    }

    @Test("each octet of a row counts")
    func flippedRows() throws {
        try makeStore(keys: 1)
        let good = try octets(of: directory.file)
        let name = Array(fingerprint(1).description.utf8)
        let rows = (0..<good.count - name.count).filter { good[$0..<$0 + name.count].elementsEqual(name) }
        #expect(rows.count == 2)
        // The fingerprint, and then what follows with its checksum: at least 10 octets in either table.
        for place in rows.flatMap({ $0..<$0 + name.count + 10 }) {
            var bad = good
            bad[place] ^= 1
            try write(bad, to: directory.file)
            guard case .damaged(directory.file, let detail) = errorOfOpening(directory.state) else {
                Issue.record("octet \(place): not refused as damaged")
                continue
            }
            #expect(
                !detail.contains(fingerprint(1).description.prefix(17)),
                "a text that has more than 16 digits of a fingerprint")
        }
    }

    @Test("a path that can't be a directory is refused with its errno")
    func inaccessible() throws {
        let file = directory.path + "/file"
        try write([1], to: file)
        #expect(errorOfOpening(file + "/state") == .inaccessible(path: file + "/state", code: ENOTDIR))
        #expect(errorOfOpening(file) == .inaccessible(path: file + "/lock", code: ENOTDIR))
        let deep = directory.path + "/a/b"
        #expect(errorOfOpening(deep) == .inaccessible(path: deep, code: ENOENT))
        #expect(throws: StoreError.inaccessible(path: file + "/lock", code: ENOTDIR)) {
            try StateStore.knownFingerprints(directory: file)
        }
        #expect(errorOfOpening(deep)?.description.contains("No such file or directory") == true)
    }

    @Test("a state directory with a slash at its end is the same one")
    func trailingSlash() throws {
        let store = try StateStore(directory: directory.state + "/")
        #expect(errorOfOpening(directory.state) == .inUse(directory: directory.state))
        #expect(try store.vectors(1, key: 1) == 1...1)
    }
}
