import Foundation
import GRDB
import Testing

@testable import SAStore

@Suite("Whose store it is, and when")
struct AdmissionTests {
    let directory: TemporaryDirectory
    private static let here = MachineIdentity(machineID: "0123456789abcdef0123456789abcdef\n")
    private static let there = MachineIdentity(machineID: "0123456789abcdef0123456789abcdee\n")

    init() throws { directory = try TemporaryDirectory() }

    private func error(now: Int64 = testNow, _ machine: MachineIdentity?) -> StoreError? {
        do throws(StoreError) {
            _ = try StateStore(directory: directory.state, now: now, machine: machine)
            return nil
        } catch { return error }
    }

    @Test("a machine-id is told by its hash, never by itself; what is none is nobody")
    func identities() throws {
        let here = try #require(AdmissionTests.here), there = try #require(AdmissionTests.there)
        #expect(here == MachineIdentity(machineID: "0123456789abcdef0123456789abcdef"))
        #expect(here != there)
        #expect(here.description.count == 32 && !here.description.contains("0123456789"))
        for text in [
            "", "\n", "uninitialized\n", String(repeating: "0", count: 32), "0123456789ABCDEF0123456789abcdef",
            "0123456789abcdef0123456789abcde", "0123456789abcdef 0123456789abcdef", "0123456789abcdef0123456789abcdeg",
        ] {
            #expect(MachineIdentity(machineID: text) == nil, "\(text)")
        }
        if let octets = FileManager.default.contents(atPath: "/etc/machine-id") {
            #expect(MachineIdentity.current() == MachineIdentity(machineID: String(decoding: octets, as: UTF8.self)))
        } else {
            #expect(MachineIdentity.current() == nil)
        }
    }

    @Test("a store of another machine is refused and left as it is")
    func foreign() throws {
        #expect(error(AdmissionTests.here) == nil)
        let before = try octets(of: directory.file)
        let refusal = try #require(error(AdmissionTests.there))
        #expect(refusal == .foreignMachine(path: directory.file))
        #expect(refusal.description.contains("vpn-gw state adopt"))
        #expect(try octets(of: directory.file) == before)
        #expect(error(AdmissionTests.here) == nil)
        #expect(error(nil) == nil, "who can't be told is not told apart")
        #expect(error(AdmissionTests.there) != nil, "and does not take the store")
    }

    @Test("a machine that could not be told when the store was made is told from then on")
    func toldLater() {
        #expect(error(nil) == nil)
        #expect(error(AdmissionTests.here) == nil)
        #expect(error(AdmissionTests.there) == .foreignMachine(path: directory.file))
    }

    @Test("a clock more than a minute behind the last commit is refused; the latest commit counts")
    func clock() throws {
        do {
            let store = try StateStore(directory: directory.state, now: testNow, machine: nil)
            var round = StoreRound()
            round.reservations = [.sequenceNumbers(count: 1, sa: identity(1, 0x1001))]
            _ = try store.commit(round, now: testNow + 1000)
            _ = try store.commit(round, now: testNow + 500)
        }
        #expect(error(now: testNow + 940, nil) == nil)
        let refusal = try #require(error(now: testNow + 939, nil))
        #expect(refusal == .clockWentBack(path: directory.file, last: testNow + 1000, now: testNow + 939))
        #expect(refusal.description.contains("2027-01-15T08:16:40Z") && refusal.description.contains("timedatectl"))
        #expect(refusal.description.contains("vpn-gw state adopt"))
        #expect(error(now: .min, nil) != nil && error(now: .max, nil) == nil)
        #expect(error(now: .max - 60, nil) == nil && error(now: .max - 61, nil) != nil)
    }

    @Test("opening and the audit table move the latest time as well")
    func clockMoves() throws {
        #expect(error(now: testNow + 100, nil) == nil)
        #expect(error(now: testNow, nil) != nil)
        do {
            let store = try StateStore(directory: directory.state, now: testNow + 100, machine: nil)
            try store.audit([AuditEntry(at: testNow + 900, who: "a test", what: "nothing")])
        }
        #expect(error(now: testNow + 700, nil) != nil)
    }

    @Test("times are written as people read them")
    func times() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"), (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"), (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_248_049, "2026-11-21T08:00:49Z"), (-1, "1969-12-31T23:59:59Z"),
            (-62_135_596_800, "0001-01-01T00:00:00Z"), (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] as [(Int64, String)] {
            #expect(UTC.text(second) == text)
        }
        #expect(UTC.text(.max) == "second 9223372036854775807 since 1970")
    }
}

@Suite("The audit table")
struct AuditTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test("entries are kept in order and read from outside, the last ones on demand")
    func entries() throws {
        #expect(try StateStore.auditEntries(directory: directory.state, last: 10) == [])
        var store: StateStore? = try StateStore(directory: directory.state)
        let entries = (1...20).map { AuditEntry(at: testNow + $0, who: "uid 0 (root), pid \($0)", what: "act \($0)") }
        for entry in entries.prefix(10) { try store?.audit([entry]) }
        try store?.audit(Array(entries.dropFirst(10)))
        try store?.audit([])
        #expect(store?.written.commits == 11)
        #expect(try StateStore.auditEntries(directory: directory.state, last: .max) == entries)
        #expect(try StateStore.auditEntries(directory: directory.state, last: 3) == entries.suffix(3))
        #expect(try StateStore.auditEntries(directory: directory.state, last: -1) == [])
        store = nil
        #expect(try StateStore.auditEntries(directory: directory.state, last: .max) == entries)
    }

    @Test("texts are bounded, and no control character gets to a terminal")
    func bounded() throws {
        let store = try StateStore(directory: directory.state)
        try store.audit([
            AuditEntry(
                at: testNow, who: String(repeating: "w", count: 10_000),
                what: "a\u{1b}[31mb\r\nc\0d\u{85}e" + String(repeating: "\u{1f469}", count: 10_000))
        ])
        let entry = try #require(try StateStore.auditEntries(directory: directory.state, last: 1).first)
        #expect(entry.who == String(repeating: "w", count: 200))
        #expect(entry.what.hasPrefix("a [31mb  c d e\u{1f469}") && entry.what.unicodeScalars.count == 1000)
    }

    @Test("an entry that was changed, or is gone from the middle, is noticed", arguments: [1, 2])
    func tampered(sequence: Int) throws {
        for sql in ["UPDATE audit SET what = 'x'", "DELETE FROM audit", "UPDATE audit SET sequence = 77"] {
            let other = try TemporaryDirectory()
            do {
                let store = try StateStore(directory: other.state)
                for what in ["a", "b", "c"] { try store.audit([AuditEntry(at: testNow, who: "who", what: what)]) }
            }
            try withoutTriggers(other.file, "\(sql) WHERE sequence = \(sequence)")
            guard case .damaged(_, let detail) = errorOfOpening(other.state) else {
                Issue.record("\(sql): not refused as damaged")
                continue
            }
            #expect(detail.contains("audit"))
        }
    }

    /// What somebody does who knows the schema: triggers off and on again.
    private func withoutTriggers(_ file: String, _ sql: String) throws {
        let queue = try DatabaseQueue(path: file)
        try queue.write { db in
            let triggers = try Row.fetchAll(db, sql: "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            for trigger in triggers { try db.execute(sql: "DROP TRIGGER \(trigger["name"] as String)") }
            try db.execute(sql: sql)
            for trigger in triggers { try db.execute(sql: trigger["sql"] as String) }
        }
        try queue.close()
    }
}
