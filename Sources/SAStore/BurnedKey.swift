import GRDB
import IPsec

/// A key that no site may use any more.
struct BurnedKey {
    let key: KeyFingerprint

    static let columns = "fingerprint, checksum"

    init(_ key: KeyFingerprint) { self.key = key }

    /// From a row of `columns`, which is only believed with its checksum.
    init(_ row: Row, path: String) throws {
        let fingerprint = String.fromDatabaseValue(row[0]) ?? ""
        let damaged = StoreError.damaged(
            path: path, detail: "the burned key \(fingerprint.prefix(16)) is not what was written")
        guard let key = KeyFingerprint(fingerprint) else { throw damaged }
        self.key = key
        guard Int64.fromDatabaseValue(row[1]) == checksum else { throw damaged }
    }

    /// In the order of `columns`.
    var arguments: StatementArguments { [key.description, checksum] }

    /// Once, when a store is made.
    static func insert(_ keys: Set<KeyFingerprint>, _ db: Database) throws {
        let statement = try db.makeStatement(sql: "INSERT INTO burned_keys (\(columns)) VALUES (?, ?)")
        for key in keys.sorted() { try statement.execute(arguments: BurnedKey(key).arguments) }
    }

    private var checksum: Int64 {
        var sum = Checksum(.burned)
        sum.add(key.description)
        return sum.value
    }
}
