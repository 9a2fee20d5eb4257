import GRDB

/// The highest IV that was ever reserved for a key.
struct VectorRecord {
    let key: KeyName
    let reservedEnd: UInt64
    private let fingerprint: String

    static let columns = "fingerprint, reserved_end, checksum"

    init(key: KeyName, reservedEnd: UInt64) {
        self.key = key
        fingerprint = key.text
        self.reservedEnd = reservedEnd
    }

    /// From a row of `columns`, which is only believed with its checksum.
    init(_ row: Row, path: String) throws {
        let fingerprint = String.fromDatabaseValue(row[0]) ?? ""
        let damaged = StoreError.damaged(
            path: path, detail: "the IVs of key \(fingerprint.prefix(16)) are not what was written")
        guard let key = KeyName(fingerprint), let end = Int64.fromDatabaseValue(row[1]), end >= 1 else { throw damaged }
        self.key = key
        self.fingerprint = fingerprint
        reservedEnd = UInt64(end)
        guard Int64.fromDatabaseValue(row[2]) == checksum else { throw damaged }
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
