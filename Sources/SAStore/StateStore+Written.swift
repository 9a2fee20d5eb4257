import GRDB
import GRDBSQLite

extension StateStore {
    /// Octets of pages that the connection wrote so far.
    static func octetsWritten(_ db: Database) throws -> UInt64 {
        var pages: CInt = 0, highest: CInt = 0
        let code = unsafe sqlite3_db_status(db.sqliteConnection, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &highest, 0)
        guard code == SQLITE_OK else { throw DatabaseError(resultCode: ResultCode(rawValue: code)) }
        let pageOctets = try Int.fetchOne(db.cachedStatement(sql: "PRAGMA page_size")) ?? 0
        return UInt64(UInt32(bitPattern: pages)) * UInt64(pageOctets)
    }
}
