import GRDB

/// All rows of a store, read once and each compared with its checksum: which keys it knows and which it refuses.
struct StoredKeys {
    /// Keys that had an SA or an IV.
    private(set) var used: Set<String> = []
    /// Keys that `state reset` found.
    private(set) var burned: Set<String> = []

    /// Throws `.damaged` at the first row that is not what was written.
    init(_ db: Database, path: String) throws {
        let associations = try Row.fetchCursor(db, sql: "SELECT \(SARecord.columns) FROM security_associations")
        while let row = try associations.next() { used.insert(try SARecord(row, path: path).identity.fingerprint) }
        let vectors = try Row.fetchCursor(db, sql: "SELECT \(VectorRecord.columns) FROM initialization_vectors")
        while let row = try vectors.next() { used.insert(try VectorRecord(row, path: path).fingerprint) }
        let keys = try Row.fetchCursor(db, sql: "SELECT \(BurnedKey.columns) FROM burned_keys")
        while let row = try keys.next() { burned.insert(try BurnedKey(row, path: path).fingerprint) }
        let entries = try Row.fetchCursor(db, sql: "SELECT \(AuditEntry.columns) FROM audit ORDER BY sequence")
        var sequence: Int64 = 0
        while let row = try entries.next() {
            sequence += 1
            _ = try AuditEntry(row, sequence: sequence, path: path)
        }
    }
}

/// The highest IV that was ever reserved for a key.
struct VectorRecord {
    let fingerprint: String
    var reservedEnd: UInt64

    static let columns = "fingerprint, reserved_end, checksum"

    init(fingerprint: String, reservedEnd: UInt64) {
        self.fingerprint = fingerprint
        self.reservedEnd = reservedEnd
    }

    /// From a row of `columns`, which is only believed with its checksum.
    init(_ row: Row, path: String) throws {
        fingerprint = String.fromDatabaseValue(row[0]) ?? ""
        reservedEnd = UInt64(Int64.fromDatabaseValue(row[1]).map { max($0, 0) } ?? 0)
        guard reservedEnd >= 1, Int64.fromDatabaseValue(row[2]) == checksum else {
            throw StoreError.damaged(
                path: path, detail: "the IVs of key \(fingerprint.prefix(16)) are not what was written")
        }
    }

    /// In the order of `columns`. The end is at most `ReservationRequest.lastInitializationVector`.
    var arguments: StatementArguments { [fingerprint, Int64(reservedEnd), checksum] }

    private var checksum: Int64 {
        var sum = Checksum(.vectors)
        sum.add(fingerprint)
        sum.add(Int64(reservedEnd))
        return sum.value
    }
}

/// A key that no site may use any more.
struct BurnedKey {
    let fingerprint: String

    static let columns = "fingerprint, checksum"

    init(fingerprint: String) { self.fingerprint = fingerprint }

    /// From a row of `columns`, which is only believed with its checksum.
    init(_ row: Row, path: String) throws {
        fingerprint = String.fromDatabaseValue(row[0]) ?? ""
        guard Int64.fromDatabaseValue(row[1]) == checksum else {
            throw StoreError.damaged(
                path: path, detail: "the burned key \(fingerprint.prefix(16)) is not what was written")
        }
    }

    /// In the order of `columns`.
    var arguments: StatementArguments { [fingerprint, checksum] }

    private var checksum: Int64 {
        var sum = Checksum(.burned)
        sum.add(fingerprint)
        return sum.value
    }
}

/// Whose store it is, and the latest time at which it was written.
struct StoreIdentity: Equatable {
    /// Nil: the machine that made it could not be told.
    var machine: String?
    /// Seconds since 1970.
    var clock: Int64

    init(machine: String?, clock: Int64) {
        self.machine = machine
        self.clock = clock
    }

    /// The one row, which is only believed with its checksum.
    init(_ db: Database, path: String) throws {
        let row = try Row.fetchOne(
            db.cachedStatement(sql: "SELECT machine, clock, checksum FROM store WHERE id = 1"))
        guard let row, let clock = Int64.fromDatabaseValue(row[1]) else {
            throw StoreError.damaged(path: path, detail: "it does not say whose it is")
        }
        self.init(machine: String.fromDatabaseValue(row[0]), clock: clock)
        guard Int64.fromDatabaseValue(row[2]) == checksum else {
            throw StoreError.damaged(path: path, detail: "whose it is is not what was written")
        }
    }

    /// Throws `.foreignMachine` and `.clockWentBack` unless this is the store's machine and its time has come. A
    /// machine that could not be told before is told from now on.
    mutating func admit(_ current: MachineIdentity?, now: Int64, path: String) throws(StoreError) {
        if let machine, let current, machine != current.description { throw .foreignMachine(path: path) }
        // Clocks that are kept right step back by less.
        let (grace, overflow) = now.addingReportingOverflow(60)
        guard overflow || grace >= clock else { throw .clockWentBack(path: path, last: clock, now: now) }
        machine = machine ?? current?.description
        clock = max(clock, now)
    }

    /// Once, when the store is made.
    func insert(_ db: Database) throws {
        try db.execute(
            sql: "INSERT INTO store (id, machine, clock, checksum) VALUES (1, ?, ?, ?)",
            arguments: [machine, clock, checksum])
    }

    func update(_ db: Database) throws {
        try db.cachedStatement(sql: "UPDATE store SET machine = ?, clock = ?, checksum = ? WHERE id = 1")
            .execute(arguments: [machine, clock, checksum])
    }

    private var checksum: Int64 {
        var sum = Checksum(.store)
        sum.add(machine ?? "")
        sum.add(clock)
        return sum.value
    }
}
