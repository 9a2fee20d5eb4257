import GRDB
import GRDBSQLite
import IPsec

/// Writes rows of a fingerprint, numbers and their checksum, one after the other, by one statement. By SQLite's own
/// calls: at 150 000 rows, a gateway's start, GRDB's lists of arguments take as long as SQLite itself.
struct RowWriter {
    private let statement: Statement
    private let db: Database
    private let kind: Checksum.Kind
    private var digits: [UInt8] = []

    /// `sql` has a parameter for each column, in their order: the fingerprint first, the checksum last.
    init(_ sql: String, _ kind: Checksum.Kind, _ db: Database) throws {
        statement = try db.cachedStatement(sql: sql)
        self.db = db
        self.kind = kind
    }

    /// One row. Throws also when it is not there that should be.
    mutating func write(_ key: KeyFingerprint, _ numbers: [Int64]) throws {
        digits.removeAll(keepingCapacity: true)
        key.appendDigits(to: &digits)
        let checksum = Checksum.ofRow(kind, digits, numbers), row = unsafe statement.sqliteStatement
        let code = unsafe digits.withUnsafeBytes { text in
            // The text stays where it is until the row is written, and nobody asks for it after that.
            unsafe sqlite3_bind_text(row, 1, text.bindMemory(to: CChar.self).baseAddress, Int32(text.count), nil)
            for (index, number) in numbers.enumerated() { unsafe sqlite3_bind_int64(row, Int32(index + 2), number) }
            unsafe sqlite3_bind_int64(row, Int32(numbers.count + 2), checksum)
            let code = unsafe sqlite3_step(row)
            unsafe sqlite3_reset(row)
            unsafe sqlite3_clear_bindings(row)
            return code
        }
        guard code == SQLITE_DONE else {
            throw DatabaseError(resultCode: ResultCode(rawValue: code), message: db.lastErrorMessage)
        }
        guard db.changesCount == 1 else {
            throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: "a row is gone that was there at the start")
        }
    }
}
