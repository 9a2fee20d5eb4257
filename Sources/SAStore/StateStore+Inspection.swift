import GRDB
import IPsec

extension StateStore {
    /// The fingerprints of all keys that were ever used from this directory or burned in it; none where there is no
    /// store.
    ///
    /// Looks in from outside: takes no lock, creates no store, and a gateway may be running. Throws what the
    /// initializer throws for the file, not what it throws for the lock, the machine and the clock.
    public static func knownFingerprints(directory: String) throws(StoreError) -> Set<KeyFingerprint> {
        try look(directory, else: []) { _, _, records in Set(records.keys) }
    }

    /// The records of all SAs that this directory ever had, by fingerprint and SPI; none where there is no store. Looks
    /// in from outside as `knownFingerprints` does, and throws the same.
    public static func inspect(directory: String) throws(StoreError) -> [SARecord] {
        try look(directory, else: []) { _, _, records in records.sorted }
    }

    /// The last `count` entries of the audit table, oldest first; none where there is no store. Looks in from outside
    /// as `knownFingerprints` does, and throws the same.
    public static func auditEntries(directory: String, last count: Int) throws(StoreError) -> [AuditEntry] {
        try look(directory, else: []) { db, path, _ in
            var entries: [AuditEntry] = []
            let rows = try Row.fetchCursor(
                db, sql: "SELECT \(AuditEntry.columns) FROM audit ORDER BY sequence DESC LIMIT ?",
                arguments: [max(count, 0)])
            while let row = try rows.next() {
                entries.append(try AuditEntry(row, sequence: Int64.fromDatabaseValue(row[0]) ?? 0, path: path))
            }
            return entries.reversed()
        }
    }

    private static func look<Result>(
        _ directory: String, else nothing: Result, _ body: (Database, _ path: String, StoredRecords) throws -> Result
    ) throws(StoreError) -> Result {
        let file = file(in: directory)
        let isCompleted = try StateDirectory.isCompleted(directory)
        guard try StateDirectory.fileExists(file) else {
            if isCompleted { throw .lost(path: file) }
            return nothing
        }
        do {
            return try DatabaseQueue(path: file, configuration: configuration(readonly: true)).read { db in
                if try StoreSchema.isEmpty(db) {
                    if isCompleted { throw StoreError.lost(path: file) }
                    return nothing
                }
                return try body(db, file, try StoreSchema.verify(db, path: file))
            }
        } catch {
            throw StoreError(error, path: file)
        }
    }
}
