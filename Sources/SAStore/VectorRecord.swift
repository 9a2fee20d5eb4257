import IPsec

/// The highest IV that was ever reserved for a key.
struct VectorRecord {
    let key: KeyFingerprint
    let reservedEnd: UInt64

    static let columns = "fingerprint, reserved_end, checksum"

    init(key: KeyFingerprint, reservedEnd: UInt64) {
        self.key = key
        self.reservedEnd = reservedEnd
    }

    /// Of `numbers`; nil when no record has these.
    init?(_ key: KeyFingerprint, _ numbers: [Int64]) {
        guard numbers[0] >= 1 else { return nil }
        self.init(key: key, reservedEnd: UInt64(numbers[0]))
    }

    /// Between fingerprint and checksum. The end is at most `ReservationRequest.lastInitializationVector`.
    var numbers: [Int64] { [Int64(reservedEnd)] }
}
