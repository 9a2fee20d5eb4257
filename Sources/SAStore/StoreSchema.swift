import GRDB

/// The tables of sa-store.sqlite.
///
/// A reservation never goes and never falls, and the audit table only grows; triggers hold that even against an
/// operator with the sqlite3 tool. SQLite notices damage to a page's structure only, so each row carries a checksum of
/// its contents.
enum StoreSchema {
    /// PRAGMA user_version of the files that this release writes.
    static let version = 3
    /// PRAGMA application_id: "vpng".
    static let applicationID = 0x7670_6e67

    /// An entry of sqlite_schema, with the SQL as it was given.
    private struct Object: Hashable {
        var type: String
        var name: String
        var table: String
        var sql: String

        static func table(_ name: String, _ columns: String) -> Object {
            Object(type: "table", name: name, table: name, sql: "CREATE TABLE \(name) (\n\(columns)\n)")
        }

        static func trigger(_ table: String, _ event: String, when condition: String, _ message: String) -> Object {
            let name = "\(table)_\(event)"
            return Object(
                type: "trigger", name: name, table: table,
                sql: """
                    CREATE TRIGGER \(name) BEFORE \(event.uppercased()) ON \(table) WHEN \(condition)
                    BEGIN SELECT RAISE(ABORT, '\(message)'); END
                    """)
        }
    }

    /// No key by mistake: those have 40 digits.
    private static let fingerprint = "fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64)"

    private static let tables: [Object] = [
        // One row a key: the highest IV that was ever given out.
        .table(
            "initialization_vectors",
            """
            \(fingerprint) PRIMARY KEY,
            reserved_end INTEGER NOT NULL CHECK (reserved_end >= 1),
            checksum INTEGER NOT NULL
            """),
        // One row an SA, outbound or inbound.
        .table(
            "security_associations",
            """
            \(fingerprint),
            spi INTEGER NOT NULL CHECK (spi BETWEEN 0 AND 4294967295),
            installed_at INTEGER NOT NULL,
            packets INTEGER NOT NULL CHECK (packets >= 0),
            octets INTEGER NOT NULL CHECK (octets >= 0),
            sequence_reserved INTEGER NOT NULL CHECK (sequence_reserved >= 0),
            replay_ceiling INTEGER NOT NULL CHECK (replay_ceiling >= 0),
            replay_reached INTEGER NOT NULL CHECK (replay_reached BETWEEN 0 AND replay_ceiling),
            checksum INTEGER NOT NULL,
            PRIMARY KEY (fingerprint, spi)
            """),
        // Keys that `state reset` found: no site may use one.
        .table("burned_keys", "\(fingerprint) PRIMARY KEY,\nchecksum INTEGER NOT NULL"),
        // One row: whose store it is, and the latest time at which it was written.
        .table(
            "store",
            """
            id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
            machine TEXT CHECK (length(machine) = 32),
            clock INTEGER NOT NULL,
            checksum INTEGER NOT NULL
            """),
        .table(
            "audit",
            """
            sequence INTEGER NOT NULL PRIMARY KEY CHECK (sequence >= 1),
            at INTEGER NOT NULL,
            who TEXT NOT NULL CHECK (length(who) <= \(AuditEntry.whoLimit)),
            what TEXT NOT NULL CHECK (length(what) <= \(AuditEntry.whatLimit)),
            checksum INTEGER NOT NULL
            """),
    ].map { (table: Object) in
        Object(
            type: table.type, name: table.name, table: table.table, sql: table.sql + " STRICT, WITHOUT ROWID")
    }

    /// No row goes, becomes another's or falls; none is replaced (REPLACE deletes without asking the delete trigger).
    private static let triggers: [Object] = [
        .trigger("initialization_vectors", "delete", when: "1", "a reservation is never deleted"),
        .trigger(
            "initialization_vectors", "update",
            when: "NEW.reserved_end < OLD.reserved_end OR NEW.fingerprint <> OLD.fingerprint",
            "a reservation is never lowered"),
        .trigger(
            "initialization_vectors", "insert",
            when: "EXISTS (SELECT 1 FROM initialization_vectors WHERE fingerprint = NEW.fingerprint)",
            "a reservation is never replaced"),
        .trigger("security_associations", "delete", when: "1", "a reservation is never deleted"),
        .trigger(
            "security_associations", "update",
            when: """
                NEW.sequence_reserved < OLD.sequence_reserved OR NEW.fingerprint <> OLD.fingerprint
                OR NEW.spi <> OLD.spi OR NEW.installed_at <> OLD.installed_at
                """, "a reservation is never lowered"),
        .trigger(
            "security_associations", "insert",
            when: """
                EXISTS (SELECT 1 FROM security_associations WHERE fingerprint = NEW.fingerprint AND spi = NEW.spi)
                """, "a reservation is never replaced"),
        .trigger("burned_keys", "delete", when: "1", "a burned key stays burned"),
        .trigger("burned_keys", "update", when: "1", "a burned key stays burned"),
        .trigger("store", "delete", when: "1", "the store knows whose it is"),
        .trigger("audit", "delete", when: "1", "the audit table only grows"),
        .trigger("audit", "update", when: "1", "the audit table only grows"),
        .trigger(
            "audit", "insert", when: "NEW.sequence <= (SELECT max(sequence) FROM audit)", "the audit table only grows"),
    ]

    private static let objects = tables + triggers

    /// Whether the file has nothing in it at all, as after its creation.
    static func isEmpty(_ db: Database) throws -> Bool { try Int.fetchOne(db, sql: "PRAGMA page_count") == 0 }

    /// Fills an empty file, all or nothing, with `rows`' work in the same transaction. Still with a rollback journal,
    /// so that the file by itself says what it is from the first moment on.
    static func create(_ db: Database, _ rows: (Database) throws -> Void) throws {
        try db.inTransaction(.exclusive) {
            try db.execute(sql: "PRAGMA application_id = \(applicationID)")
            try db.execute(sql: "PRAGMA user_version = \(version)")
            for object in objects { try db.execute(sql: object.sql) }
            try rows(db)
            return .commit
        }
    }

    /// Throws unless the file is ours, of this version, and undamaged down to each row. Changes nothing in it. Returns
    /// its rows.
    static func verify(_ db: Database, path: String) throws -> StoredRecords {
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
        return try StoredRecords(db, path: path)
    }

    /// Through `DatabaseValue`: GRDB traps when a value of a damaged file is not of the type that one asks for.
    private static func text(_ value: DatabaseValue) -> String { String.fromDatabaseValue(value) ?? "" }
}
