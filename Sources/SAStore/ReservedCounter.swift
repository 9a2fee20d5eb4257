import GRDB
import IPsec

/// One row of the store: a counter, and how its end is read and written.
struct ReservedCounter: CustomStringConvertible {
    let fingerprint: String
    /// The SA's SPI when it counts sequence numbers; nil when it counts the key's IVs.
    let spi: SPI?

    init(fingerprint: String, spi: SPI?) {
        self.fingerprint = fingerprint
        self.spi = spi
    }

    init(_ request: ReservationRequest) {
        switch request {
        case .sequenceNumbers(_, let sa): self.init(fingerprint: sa.fingerprint, spi: sa.spi)
        case .initializationVectors(_, let fingerprint, _): self.init(fingerprint: fingerprint, spi: nil)
        }
    }

    /// For people: the fingerprint's first 16 digits.
    var description: String {
        let key = "key \(fingerprint.prefix(16))"
        return spi.map { "the sequence numbers of \(key), SPI \($0)" } ?? "the IVs of \(key)"
    }

    /// The highest number reserved so far, 0 if none. Throws `.damaged` when the row changed since it was written.
    func reservedEnd(_ db: Database, path: String) throws -> UInt64 {
        let row: Row?
        if let spi {
            row = try Row.fetchOne(
                db.cachedStatement(
                    sql: "SELECT reserved_end, checksum FROM sequence_numbers WHERE fingerprint = ? AND spi = ?"),
                arguments: [fingerprint, spi.rawValue])
        } else {
            row = try Row.fetchOne(
                db.cachedStatement(
                    sql: "SELECT reserved_end, checksum FROM initialization_vectors WHERE fingerprint = ?"),
                arguments: [fingerprint])
        }
        guard let row else { return 0 }
        return try verifiedEnd(row[0], checksum: row[1], path: path)
    }

    /// The end that a row holds, which is only believed with its checksum.
    func verifiedEnd(_ end: DatabaseValue, checksum sum: DatabaseValue, path: String) throws -> UInt64 {
        guard let end = Int64.fromDatabaseValue(end), end >= 1,
            Int64.fromDatabaseValue(sum) == checksum(reservedEnd: end)
        else { throw StoreError.damaged(path: path, detail: "the checksum of \(self) does not match") }
        return UInt64(end)
    }

    /// Makes `end` the highest number reserved; at most `Int64.max`.
    func setReservedEnd(_ end: UInt64, _ db: Database) throws {
        let end = Int64(end), sum = checksum(reservedEnd: end)
        if let spi {
            try db.cachedStatement(
                sql: """
                    INSERT INTO sequence_numbers (fingerprint, spi, reserved_end, checksum) VALUES (?, ?, ?, ?)
                    ON CONFLICT DO UPDATE SET reserved_end = excluded.reserved_end, checksum = excluded.checksum
                    """
            ).execute(arguments: [fingerprint, spi.rawValue, end, sum])
        } else {
            try db.cachedStatement(
                sql: """
                    INSERT INTO initialization_vectors (fingerprint, reserved_end, checksum) VALUES (?, ?, ?)
                    ON CONFLICT DO UPDATE SET reserved_end = excluded.reserved_end, checksum = excluded.checksum
                    """
            ).execute(arguments: [fingerprint, end, sum])
        }
    }

    /// FNV-1a (64 bits) of the row. No change to a single octet leaves it the same.
    private func checksum(reservedEnd: Int64) -> Int64 {
        var sum: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ octet: UInt8) { sum = (sum ^ UInt64(octet)) &* 0x100_0000_01b3 }
        func add(_ word: UInt64) {
            for shift: UInt64 in stride(from: 0, to: 64, by: 8) { add(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        for octet in fingerprint.utf8 { add(octet) }
        add(spi.map { UInt64($0.rawValue) } ?? .max)  // no SPI is so large: the row of IVs passes for no other
        add(UInt64(bitPattern: reservedEnd))
        return Int64(bitPattern: sum)
    }
}
