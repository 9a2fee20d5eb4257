import GRDB

/// The rows of SAs and keys, in memory as they are on disk: read once at the start, when each is compared with its
/// checksum, and from then on changed with the disk. Nobody else writes them while this process has the directory.
struct StoredRecords {
    /// Keys that `state reset` found: no site may use one.
    private(set) var burned: Set<KeyName> = []
    private var associations: [SAIdentity: SARecord] = [:]
    /// The highest IV that was ever reserved for a key.
    private var vectors: [KeyName: UInt64] = [:]

    /// A transaction's changes, which count when it is on disk.
    struct Changes {
        fileprivate var associations: [SAIdentity: SARecord] = [:]
        fileprivate var vectors: [KeyName: UInt64] = [:]

        var isEmpty: Bool { associations.isEmpty && vectors.isEmpty }

        /// How many SAs and keys they are of.
        var counts: (sas: Int, keys: Int) { (associations.count, vectors.count) }

        /// None, with room for those of `associations` SAs and `vectors` keys.
        init(associations: Int = 0, vectors: Int = 0) {
            self.associations.reserveCapacity(associations)
            self.vectors.reserveCapacity(vectors)
        }
    }

    /// Of an empty store.
    init() {}

    /// All rows of the store, those of the audit table looked at as well. Throws `.damaged` at the first row that is
    /// not what was written.
    init(_ db: Database, path: String) throws {
        let associationRows = try Row.fetchCursor(db, sql: "SELECT \(SARecord.columns) FROM security_associations")
        while let row = try associationRows.next() {
            let record = try SARecord(row, path: path)
            associations[record.identity] = record
        }
        let vectorRows = try Row.fetchCursor(db, sql: "SELECT \(VectorRecord.columns) FROM initialization_vectors")
        while let row = try vectorRows.next() {
            let record = try VectorRecord(row, path: path)
            vectors[record.key] = record.reservedEnd
        }
        let keys = try Row.fetchCursor(db, sql: "SELECT \(BurnedKey.columns) FROM burned_keys")
        while let row = try keys.next() { burned.insert(try BurnedKey(row, path: path).key) }
        let entries = try Row.fetchCursor(db, sql: "SELECT \(AuditEntry.columns) FROM audit ORDER BY sequence")
        var sequence: Int64 = 0
        while let row = try entries.next() {
            sequence += 1
            _ = try AuditEntry(row, sequence: sequence, path: path)
        }
    }

    /// Every key that has an SA, an IV, or was burned.
    var keys: Set<KeyName> {
        burned.union(vectors.keys).union(associations.keys.lazy.map(\.key))
    }

    /// All SAs, by fingerprint and SPI.
    var sorted: [SARecord] { StoredRecords.sorted(associations) }

    /// The SA's record with `changes`; a new one, installed at `now`, where it has none.
    func record(of sa: SAIdentity, now: Int64, _ changes: inout Changes) -> SARecord {
        if let record = changes.associations[sa] ?? associations[sa] { return record }
        let record = SARecord(identity: sa, installedAt: now)
        changes.associations[sa] = record
        return record
    }

    /// Changes the SA's record, if `change` does.
    func update(_ sa: SAIdentity, now: Int64, _ changes: inout Changes, _ change: (inout SARecord) -> Void) {
        let before = record(of: sa, now: now, &changes)
        var record = before
        change(&record)
        if record != before { changes.associations[sa] = record }
    }

    /// Takes the block that `request`, for `key`, gets.
    func reserve(_ request: ReservationRequest, key: KeyName, now: Int64, _ changes: inout Changes) -> ClosedRange<
        UInt64
    >? {
        switch request {
        case .sequenceNumbers(_, let sa, _):
            var record = record(of: sa, now: now, &changes)
            guard let block = request.block(after: record.sequenceReserved) else { return nil }
            record.sequenceReserved = block.upperBound
            changes.associations[sa] = record
            return block
        case .initializationVectors:
            let reserved = changes.vectors[key] ?? vectors[key] ?? 0
            guard let block = request.block(after: reserved) else { return nil }
            changes.vectors[key] = block.upperBound
            return block
        }
    }

    /// Every counter moved on, as far as they go: sequence numbers that were used by `sequenceNumbers`, IVs by
    /// `vectors`.
    func movedAhead(sequenceNumbers: UInt64, vectors count: UInt64) -> Changes {
        var changes = Changes()
        for (sa, record) in associations where record.sequenceReserved > 0 {
            var moved = record
            // Whether it has ESN is not known here: one without that comes behind 2^32 - 1 gets nothing any more.
            moved.sequenceReserved += min(
                sequenceNumbers, ReservationRequest.lastExtendedSequenceNumber - record.sequenceReserved)
            if moved != record { changes.associations[sa] = moved }
        }
        for (key, reserved) in vectors {
            let moved = reserved + min(count, ReservationRequest.lastInitializationVector - reserved)
            if moved != reserved { changes.vectors[key] = moved }
        }
        return changes
    }

    /// Writes what changed, in the order of the tables' keys. Throws also when a row is not there that should be.
    func write(_ changes: Changes, _ db: Database) throws {
        let insert = try db.cachedStatement(
            sql: "INSERT INTO security_associations (\(SARecord.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        let update = try db.cachedStatement(
            sql: """
                UPDATE security_associations SET installed_at = ?3, packets = ?4, octets = ?5, sequence_reserved = ?6,
                    replay_ceiling = ?7, replay_reached = ?8, checksum = ?9 WHERE fingerprint = ?1 AND spi = ?2
                """)
        for record in StoredRecords.sorted(changes.associations) {
            let isStored = associations[record.identity] != nil
            try execute(isStored ? update : insert, record.arguments, db)
        }
        let insertVectors = try db.cachedStatement(
            sql: "INSERT INTO initialization_vectors (\(VectorRecord.columns)) VALUES (?, ?, ?)")
        let updateVectors = try db.cachedStatement(
            sql: "UPDATE initialization_vectors SET reserved_end = ?2, checksum = ?3 WHERE fingerprint = ?1")
        for (key, end) in changes.vectors.sorted(by: { $0.key < $1.key }) {
            let record = VectorRecord(key: key, reservedEnd: end)
            try execute(vectors[key] == nil ? insertVectors : updateVectors, record.arguments, db)
        }
    }

    private func execute(_ statement: Statement, _ arguments: StatementArguments, _ db: Database) throws {
        try statement.execute(arguments: arguments)
        guard db.changesCount == 1 else {
            throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: "a row is gone that was there at the start")
        }
    }

    /// Takes over what is on disk now.
    mutating func apply(_ changes: Changes) {
        associations.reserveCapacity(associations.count + changes.associations.count)
        vectors.reserveCapacity(vectors.count + changes.vectors.count)
        associations.merge(changes.associations) { $1 }
        vectors.merge(changes.vectors) { $1 }
    }

    private static func sorted(_ associations: [SAIdentity: SARecord]) -> [SARecord] {
        associations.values.sorted {
            ($0.identity.key, $0.identity.spi.rawValue) < ($1.identity.key, $1.identity.spi.rawValue)
        }
    }
}
