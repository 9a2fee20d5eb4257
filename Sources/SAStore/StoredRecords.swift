import GRDB
import IPsec

/// The rows of SAs and keys, in memory as they are on disk: read once at the start, when each is compared with its
/// checksum, and from then on changed with the disk. Nobody else writes them while this process has the directory.
struct StoredRecords {
    /// Keys that `state reset` found: no site may use one.
    private(set) var burned: Set<KeyFingerprint> = []
    private var associations: [SAIdentity: SARecord] = [:]
    /// The highest IV that was ever reserved for a key.
    private var vectors: [KeyFingerprint: UInt64] = [:]

    /// A transaction's changes, which count when it is on disk.
    struct Changes {
        /// A row as it will be, and whether there is one to be changed.
        fileprivate struct Row<Contents> {
            var contents: Contents
            let isStored: Bool
        }

        fileprivate var associations: [SAIdentity: Row<SARecord>] = [:]
        fileprivate var vectors: [KeyFingerprint: Row<UInt64>] = [:]

        var isEmpty: Bool { associations.isEmpty && vectors.isEmpty }

        /// How many SAs and keys they are of.
        var counts: (sas: Int, keys: Int) { (associations.count, vectors.count) }

        /// Room for those of a round that names so many keys: two thirds of them SAs, a third IVs.
        mutating func reserve(_ keys: Int) {
            associations.reserveCapacity(keys * 2 / 3)
            vectors.reserveCapacity(keys / 3)
        }
    }

    /// Of an empty store.
    init() {}

    /// All rows of the store, those of the audit table looked at as well. Throws `.damaged` at the first row that is
    /// not what was written.
    init(_ db: Database, path: String) throws {
        associations.reserveCapacity(
            try Int.fetchOne(db, sql: "SELECT count(*) FROM security_associations") ?? 0)
        vectors.reserveCapacity(try Int.fetchOne(db, sql: "SELECT count(*) FROM initialization_vectors") ?? 0)
        let associationRows = try RowReader(SARecord.columns, of: "security_associations", .association, db)
        try associationRows.read(damaged: { key in
            StoreError.damaged(
                path: path, detail: "the record of an SA with key \(key) is not what was written")
        }) { key, numbers in
            guard let record = SARecord(key, numbers) else { return false }
            associations[record.identity] = record
            return true
        }
        let vectorRows = try RowReader(VectorRecord.columns, of: "initialization_vectors", .vectors, db)
        try vectorRows.read(damaged: { key in
            StoreError.damaged(path: path, detail: "the IVs of key \(key) are not what was written")
        }) { key, numbers in
            guard let record = VectorRecord(key, numbers) else { return false }
            vectors[key] = record.reservedEnd
            return true
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

    /// Every key that has an SA, an IV, or was burned; some more than once.
    var keys: [KeyFingerprint] { burned + Array(vectors.keys) + associations.keys.map(\.fingerprint) }

    /// The SA's record on disk, if it has one.
    subscript(sa: SAIdentity) -> SARecord? { associations[sa] }

    /// All SAs, by fingerprint and SPI.
    var sorted: [SARecord] {
        associations.values.sorted { StoredRecords.areInOrder($0.identity, $1.identity) }
    }

    /// The SA's record with `changes`; a new one, installed at `now`, where it has none.
    func record(of sa: SAIdentity, now: Int64, _ changes: inout Changes) -> SARecord {
        update(sa, now: now, &changes) { $0 }
    }

    /// Changes the SA's record, if `change` does. A new one, installed at `now`, is a change.
    @discardableResult
    func update<Result>(
        _ sa: SAIdentity, now: Int64, _ changes: inout Changes, _ change: (inout SARecord) -> Result
    ) -> Result {
        let count = changes.associations.count
        var isAsStored = false
        func changed(_ row: inout Changes.Row<SARecord>) -> Result {
            let before = row.contents, result = change(&row.contents)
            isAsStored = row.isStored && row.contents == before
            return result
        }
        let result = changed(&changes.associations[sa, default: row(of: sa, now)])
        if isAsStored && changes.associations.count > count { changes.associations[sa] = nil }
        return result
    }

    private func row(of sa: SAIdentity, _ now: Int64) -> Changes.Row<SARecord> {
        let stored = associations[sa]
        return Changes.Row(contents: stored ?? SARecord(identity: sa, installedAt: now), isStored: stored != nil)
    }

    /// Takes the block that `request`, for `key`, gets.
    func reserve(
        _ request: ReservationRequest, key: KeyFingerprint, now: Int64, _ changes: inout Changes
    ) -> ClosedRange<UInt64>? {
        switch request {
        case .sequenceNumbers(_, let sa, _):
            return update(sa, now: now, &changes) { record in
                let block = request.block(after: record.sequenceReserved)
                if let block { record.sequenceReserved = block.upperBound }
                return block
            }
        case .initializationVectors:
            let count = changes.vectors.count
            func taken(_ row: inout Changes.Row<UInt64>) -> ClosedRange<UInt64>? {
                let block = request.block(after: row.contents)
                if let block { row.contents = block.upperBound }
                return block
            }
            let block = taken(&changes.vectors[key, default: row(of: key)])
            if block == nil && changes.vectors.count > count { changes.vectors[key] = nil }
            return block
        }
    }

    private func row(of key: KeyFingerprint) -> Changes.Row<UInt64> {
        let stored = vectors[key]
        return Changes.Row(contents: stored ?? 0, isStored: stored != nil)
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
            if moved != record { changes.associations[sa] = Changes.Row(contents: moved, isStored: true) }
        }
        for (key, reserved) in vectors {
            let moved = reserved + min(count, ReservationRequest.lastInitializationVector - reserved)
            if moved != reserved { changes.vectors[key] = Changes.Row(contents: moved, isStored: true) }
        }
        return changes
    }

    /// Writes what changed, in the order of the tables' keys. Throws also when a row is not there that should be.
    func write(_ changes: Changes, _ db: Database) throws {
        var insert = try RowWriter(
            "INSERT INTO security_associations (\(SARecord.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", .association,
            db)
        var update = try RowWriter(
            """
            UPDATE security_associations SET installed_at = ?3, packets = ?4, octets = ?5, sequence_reserved = ?6,
                replay_ceiling = ?7, replay_reached = ?8, checksum = ?9 WHERE fingerprint = ?1 AND spi = ?2
            """, .association, db)
        let rows = changes.associations.values.sorted {
            StoredRecords.areInOrder($0.contents.identity, $1.contents.identity)
        }
        for row in rows {
            let record = row.contents
            if row.isStored {
                try update.write(record.identity.fingerprint, record.numbers)
            } else {
                try insert.write(record.identity.fingerprint, record.numbers)
            }
        }
        var insertVectors = try RowWriter(
            "INSERT INTO initialization_vectors (\(VectorRecord.columns)) VALUES (?, ?, ?)", .vectors, db)
        var updateVectors = try RowWriter(
            "UPDATE initialization_vectors SET reserved_end = ?2, checksum = ?3 WHERE fingerprint = ?1", .vectors, db)
        for (key, row) in changes.vectors.sorted(by: { $0.key < $1.key }) {
            let record = VectorRecord(key: key, reservedEnd: row.contents)
            if row.isStored {
                try updateVectors.write(key, record.numbers)
            } else {
                try insertVectors.write(key, record.numbers)
            }
        }
    }

    /// Takes over what is on disk now.
    mutating func apply(_ changes: Changes) {
        // All that there is, in the first round of a new directory.
        if associations.isEmpty {
            associations = changes.associations.mapValues(\.contents)
        } else {
            for (sa, row) in changes.associations { associations[sa] = row.contents }
        }
        if vectors.isEmpty {
            vectors = changes.vectors.mapValues(\.contents)
        } else {
            for (key, row) in changes.vectors { vectors[key] = row.contents }
        }
    }

    private static func areInOrder(_ left: SAIdentity, _ right: SAIdentity) -> Bool {
        (left.fingerprint, left.spi.rawValue) < (right.fingerprint, right.spi.rawValue)
    }
}
