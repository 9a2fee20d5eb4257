import GRDB

/// The rows that a transaction works on: each read once, changed in memory, and written once at the end, in the order
/// of the tables' keys.
struct StoredRecords {
    private struct Entry<Record> {
        var record: Record
        var isStored: Bool
        var isChanged = false
    }

    private let path: String
    private let now: Int64
    private let associationQuery: Statement
    private let vectorQuery: Statement
    private var associations: [SAIdentity: Entry<SARecord>] = [:]
    private var vectors: [String: Entry<VectorRecord>] = [:]

    /// Works on `db` at the time `now`, with room for `count` rows.
    init(_ db: Database, path: String, now: Int64, count: Int) throws {
        self.path = path
        self.now = now
        associationQuery = try db.cachedStatement(
            sql: "SELECT \(SARecord.columns) FROM security_associations WHERE fingerprint = ? AND spi = ?")
        vectorQuery = try db.cachedStatement(
            sql: "SELECT \(VectorRecord.columns) FROM initialization_vectors WHERE fingerprint = ?")
        associations.reserveCapacity(count)
    }

    /// The SA's record; a new one where it has none.
    mutating func record(of sa: SAIdentity) throws -> SARecord { try entry(of: sa).record }

    /// Changes the SA's record, if `change` does.
    mutating func update(_ sa: SAIdentity, _ change: (inout SARecord) -> Void) throws {
        var entry = try entry(of: sa)
        let before = entry.record
        change(&entry.record)
        guard entry.record != before else { return }
        entry.isChanged = true
        associations[sa] = entry
    }

    /// Takes the block that `request` gets.
    mutating func reserve(_ request: ReservationRequest) throws -> ClosedRange<UInt64>? {
        switch request {
        case .sequenceNumbers(_, let sa):
            guard let block = request.block(after: try record(of: sa).sequenceReserved) else { return nil }
            try update(sa) { $0.sequenceReserved = block.upperBound }
            return block
        case .initializationVectors(_, let fingerprint, _):
            var entry = try entry(ofKey: fingerprint)
            guard let block = request.block(after: entry.record.reservedEnd) else { return nil }
            entry.record.reservedEnd = block.upperBound
            entry.isChanged = true
            vectors[fingerprint] = entry
            return block
        }
    }

    private mutating func entry(of sa: SAIdentity) throws -> Entry<SARecord> {
        if let entry = associations[sa] { return entry }
        let cursor = try Row.fetchCursor(associationQuery, arguments: [sa.fingerprint, sa.spi.rawValue])
        let entry: Entry<SARecord>
        if let row = try cursor.next() {
            entry = Entry(record: try SARecord(row, path: path), isStored: true)
        } else {
            entry = Entry(record: SARecord(identity: sa, installedAt: now), isStored: false, isChanged: true)
        }
        associations[sa] = entry
        return entry
    }

    private mutating func entry(ofKey fingerprint: String) throws -> Entry<VectorRecord> {
        if let entry = vectors[fingerprint] { return entry }
        let cursor = try Row.fetchCursor(vectorQuery, arguments: [fingerprint])
        let entry: Entry<VectorRecord>
        if let row = try cursor.next() {
            entry = Entry(record: try VectorRecord(row, path: path), isStored: true)
        } else {
            entry = Entry(record: VectorRecord(fingerprint: fingerprint, reservedEnd: 0), isStored: false)
        }
        vectors[fingerprint] = entry
        return entry
    }

    /// Whether there is anything to write.
    var isChanged: Bool {
        associations.values.contains(where: \.isChanged) || vectors.values.contains(where: \.isChanged)
    }

    /// Writes what changed.
    func write(_ db: Database) throws {
        let changed = associations.values.filter(\.isChanged).sorted {
            let left = $0.record.identity, right = $1.record.identity
            return (left.fingerprint, left.spi.rawValue) < (right.fingerprint, right.spi.rawValue)
        }
        let insert = try db.cachedStatement(
            sql: "INSERT INTO security_associations (\(SARecord.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        let update = try db.cachedStatement(
            sql: """
                UPDATE security_associations SET installed_at = ?3, packets = ?4, octets = ?5, sequence_reserved = ?6,
                    replay_ceiling = ?7, checksum = ?8 WHERE fingerprint = ?1 AND spi = ?2
                """)
        for entry in changed { try (entry.isStored ? update : insert).execute(arguments: entry.record.arguments) }

        let keys = vectors.values.filter(\.isChanged).sorted { $0.record.fingerprint < $1.record.fingerprint }
        let insertVectors = try db.cachedStatement(
            sql: "INSERT INTO initialization_vectors (\(VectorRecord.columns)) VALUES (?, ?, ?)")
        let updateVectors = try db.cachedStatement(
            sql: "UPDATE initialization_vectors SET reserved_end = ?2, checksum = ?3 WHERE fingerprint = ?1")
        for entry in keys {
            try (entry.isStored ? updateVectors : insertVectors).execute(arguments: entry.record.arguments)
        }
    }
}
