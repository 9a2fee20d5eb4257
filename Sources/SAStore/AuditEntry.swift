import GRDB

/// One act that changed what the gateway does or knows: a line of the audit table, which only grows.
public struct AuditEntry: Codable, Hashable, Sendable {
    /// When, in seconds since 1970.
    public var at: Int64
    /// Who did it: "gateway", or "uid 0 (root), pid 123".
    public var who: String
    /// What was done, in one line. No key belongs into it.
    public var what: String

    /// An entry. The store keeps the first 200 characters of `who` and the first 1000 of `what`, control characters
    /// (line breaks, a terminal's escapes) replaced by blanks.
    public init(at: Int64, who: String, what: String) {
        self.at = at
        self.who = who
        self.what = what
    }

    static let whoLimit = 200, whatLimit = 1000

    /// What is stored of a text. Unicode scalars, because SQLite's length() counts those.
    static func stored(_ text: String, limit: Int) -> String {
        var stored = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(limit) {
            stored.append(scalar.properties.generalCategory == .control ? " " : scalar)
        }
        return String(stored)
    }

    static let columns = "sequence, at, who, what, checksum"

    /// From a row of `columns`, which is only believed with its checksum and as the `sequence`th.
    init(_ row: Row, sequence: Int64, path: String) throws {
        guard let at = Int64.fromDatabaseValue(row[1]), let who = String.fromDatabaseValue(row[2]),
            let what = String.fromDatabaseValue(row[3])
        else { throw StoreError.damaged(path: path, detail: "entry \(sequence) of the audit table is none") }
        self.init(at: at, who: who, what: what)
        guard Int64.fromDatabaseValue(row[0]) == sequence, Int64.fromDatabaseValue(row[4]) == checksum(sequence) else {
            throw StoreError.damaged(
                path: path, detail: "entry \(sequence) of the audit table is missing or not what was written")
        }
    }

    /// Appends them: the table's entries are numbered from 1 on without a gap.
    static func append(_ entries: [AuditEntry], _ db: Database) throws {
        var sequence = try Int64.fetchOne(db, sql: "SELECT max(sequence) FROM audit") ?? 0
        let insert = try db.cachedStatement(sql: "INSERT INTO audit (\(AuditEntry.columns)) VALUES (?, ?, ?, ?, ?)")
        for entry in entries {
            sequence += 1
            let stored = AuditEntry(
                at: entry.at, who: AuditEntry.stored(entry.who, limit: AuditEntry.whoLimit),
                what: AuditEntry.stored(entry.what, limit: AuditEntry.whatLimit))
            try insert.execute(arguments: [sequence, stored.at, stored.who, stored.what, stored.checksum(sequence)])
        }
    }

    private func checksum(_ sequence: Int64) -> Int64 {
        var sum = Checksum(.audit)
        sum.add(sequence)
        sum.add(at)
        sum.add(who)
        sum.add(what)
        return sum.value
    }
}
