import GRDB
import IPsec

/// The tables of sa-store.sqlite: one row for each counter, which holds the highest number that was ever given out.
///
/// A row never goes and its value never falls; triggers hold that even against an operator with the sqlite3 tool.
/// SQLite notices damage to a page's structure only, so each row carries a checksum of its contents.
enum StoreSchema {
    /// PRAGMA user_version of the files that this release writes.
    static let version = 1
    /// PRAGMA application_id: "vpng".
    static let applicationID = 0x7670_6e67

    /// An entry of sqlite_schema, with the SQL as it was given.
    private struct Object: Hashable {
        var type: String
        var name: String
        var table: String
        var sql: String
    }

    private static let objects: [Object] =
        [
            Object(
                type: "table", name: "initialization_vectors", table: "initialization_vectors",
                sql: """
                    CREATE TABLE initialization_vectors (
                        fingerprint TEXT NOT NULL PRIMARY KEY
                            CHECK (length(fingerprint) = 64 AND fingerprint NOT GLOB '*[^0-9a-f]*'),
                        reserved_end INTEGER NOT NULL CHECK (reserved_end >= 1),
                        checksum INTEGER NOT NULL
                    ) STRICT, WITHOUT ROWID
                    """),
            Object(
                type: "table", name: "sequence_numbers", table: "sequence_numbers",
                sql: """
                    CREATE TABLE sequence_numbers (
                        fingerprint TEXT NOT NULL
                            CHECK (length(fingerprint) = 64 AND fingerprint NOT GLOB '*[^0-9a-f]*'),
                        spi INTEGER NOT NULL CHECK (spi BETWEEN 0 AND 4294967295),
                        reserved_end INTEGER NOT NULL CHECK (reserved_end BETWEEN 1 AND 4294967295),
                        checksum INTEGER NOT NULL,
                        PRIMARY KEY (fingerprint, spi)
                    ) STRICT, WITHOUT ROWID
                    """),
        ]
        + guards(of: "initialization_vectors", key: ["fingerprint"])
        + guards(of: "sequence_numbers", key: ["fingerprint", "spi"])

    /// Three triggers: no row goes, none becomes another counter's or falls, none is replaced by a lower one (REPLACE
    /// deletes without asking the delete trigger).
    private static func guards(of table: String, key: [String]) -> [Object] {
        let moved = key.map { "NEW.\($0) <> OLD.\($0)" }.joined(separator: " OR ")
        let same = key.map { "\($0) = NEW.\($0)" }.joined(separator: " AND ")
        let bodies = [
            "delete": """
            BEFORE DELETE ON \(table)
            BEGIN SELECT RAISE(ABORT, 'a reservation is never deleted'); END
            """,
            "update": """
            BEFORE UPDATE ON \(table) WHEN NEW.reserved_end < OLD.reserved_end OR \(moved)
            BEGIN SELECT RAISE(ABORT, 'a reservation is never lowered'); END
            """,
            "insert": """
            BEFORE INSERT ON \(table)
            WHEN EXISTS (SELECT 1 FROM \(table) WHERE \(same) AND reserved_end > NEW.reserved_end)
            BEGIN SELECT RAISE(ABORT, 'a reservation is never lowered'); END
            """,
        ]
        return bodies.map { event, body in
            let name = "\(table)_\(event)"
            return Object(type: "trigger", name: name, table: table, sql: "CREATE TRIGGER \(name) \(body)")
        }
    }

    /// Whether the file has nothing in it at all, as after its creation.
    static func isEmpty(_ db: Database) throws -> Bool { try Int.fetchOne(db, sql: "PRAGMA page_count") == 0 }

    /// Fills an empty file, all or nothing. Still with a rollback journal, so that the file by itself says what it is
    /// from the first moment on.
    static func create(_ db: Database) throws {
        try db.inTransaction(.exclusive) {
            try db.execute(sql: "PRAGMA application_id = \(applicationID)")
            try db.execute(sql: "PRAGMA user_version = \(version)")
            for object in objects { try db.execute(sql: object.sql) }
            return .commit
        }
    }

    /// Throws unless the file is ours, of this version, and undamaged down to each row. Changes nothing in it.
    static func verify(_ db: Database, path: String) throws {
        guard try Int.fetchOne(db, sql: "PRAGMA application_id") == applicationID else {
            throw StoreError.foreignFile(path: path)
        }
        let found = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
        guard found <= version else { throw StoreError.newerSchema(path: path, version: found) }
        guard found == version else { throw StoreError.damaged(path: path, detail: "schema version \(found)") }
        // One complaint is enough: further ones tell the operator no more.
        let complaint = try String.fetchOne(db, sql: "PRAGMA quick_check(1)") ?? "nothing"
        guard complaint == "ok" else { throw StoreError.damaged(path: path, detail: "quick_check says \(complaint)") }
        let present = try Row.fetchAll(
            db, sql: "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        ).map { row in
            Object(type: text(row[0]), name: text(row[1]), table: text(row[2]), sql: text(row[3]))
        }
        guard present.count == objects.count, Set(present) == Set(objects) else {
            throw StoreError.damaged(path: path, detail: "its tables are not those of schema \(version)")
        }
        try verifyRows(db, path: path)
    }

    /// Through `DatabaseValue`: GRDB traps when a value of a damaged file is not of the type that one asks for.
    private static func text(_ value: DatabaseValue) -> String { String.fromDatabaseValue(value) ?? "" }

    private static func verifyRows(_ db: Database, path: String) throws {
        let vectors = try Row.fetchCursor(
            db, sql: "SELECT fingerprint, NULL, reserved_end, checksum FROM initialization_vectors")
        let sequences = try Row.fetchCursor(
            db, sql: "SELECT fingerprint, spi, reserved_end, checksum FROM sequence_numbers")
        for cursor in [vectors, sequences] {
            while let row = try cursor.next() {
                let spi = UInt32.fromDatabaseValue(row[1]).map(SPI.init(rawValue:))
                let counter = ReservedCounter(fingerprint: text(row[0]), spi: spi)
                _ = try counter.verifiedEnd(row[2], checksum: row[3], path: path)
            }
        }
    }
}
