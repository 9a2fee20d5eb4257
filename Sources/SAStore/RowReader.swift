import GRDB
import GRDBSQLite
import IPsec

/// Reads rows of a fingerprint, numbers and their checksum, as `RowWriter` writes them, and believes those only whose
/// checksum says so. By SQLite's own calls, for the same reason; a damaged file may have anything in a column.
struct RowReader {
    private let statement: Statement
    private let db: Database
    private let kind: Checksum.Kind

    /// `columns` are those of a table, the fingerprint first, the checksum last.
    init(_ columns: String, of table: String, _ kind: Checksum.Kind, _ db: Database) throws {
        statement = try db.makeStatement(sql: "SELECT \(columns) FROM \(table)")
        self.db = db
        self.kind = kind
    }

    /// Every row, in the order of the table's keys. Throws what `damaged` makes of the head of the fingerprint's text,
    /// or of what stands for it, when a row is not what was written, or when `take` says that it can't be.
    func read(damaged: (String) -> any Error, _ take: (KeyFingerprint, [Int64]) -> Bool) throws {
        let row = unsafe statement.sqliteStatement
        defer { unsafe sqlite3_reset(row) }
        var numbers = [Int64](repeating: 0, count: Int(unsafe sqlite3_column_count(row)) - 2)
        while true {
            switch unsafe sqlite3_step(row) {
            case SQLITE_DONE: return
            case SQLITE_ROW: break
            case let code: throw DatabaseError(resultCode: ResultCode(rawValue: code), message: db.lastErrorMessage)
            }
            // Types before values: asking for a value of another type may change them.
            let isText = unsafe sqlite3_column_type(row, 0) == SQLITE_TEXT
            let last = Int32(numbers.count + 1)
            let areIntegers = (1...last).allSatisfy { unsafe sqlite3_column_type(row, $0) == SQLITE_INTEGER }
            // The text is SQLite's until the next row.
            let octets = unsafe UnsafeBufferPointer(
                start: sqlite3_column_text(row, 0), count: Int(sqlite3_column_bytes(row, 0)))
            let key = isText ? unsafe KeyFingerprint(digits: octets.span) : nil
            for index in numbers.indices { numbers[index] = unsafe sqlite3_column_int64(row, Int32(index + 1)) }
            guard let key, areIntegers,
                unsafe sqlite3_column_int64(row, last) == Checksum.ofRow(kind, octets, numbers), take(key, numbers)
            else { throw damaged(unsafe String(decoding: octets.prefix(16), as: UTF8.self)) }
        }
    }
}
