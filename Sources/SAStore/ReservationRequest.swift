import IPsec

/// A block of numbers that somebody wants to use: one entry of `StoreRound.reservations`.
public enum ReservationRequest: Hashable, Sendable {
    /// The next `count` sequence numbers of an SA: from 1 to `last` over its whole life, without gaps.
    case sequenceNumbers(count: UInt64, sa: SAIdentity, last: UInt64 = ReservationRequest.lastSequenceNumber)
    /// The next `count` IVs of a key, none of them below `floor`.
    ///
    /// A start-up passes `InitializationVectorFloor.at` as the floor. A refill within a run passes 0, and its block
    /// follows on the one before.
    case initializationVectors(count: UInt64, fingerprint: KeyFingerprint, floor: UInt64)

    /// Sequence numbers in the blocks of an SA at rest: 2^32 of them last 16384 restarts.
    public static let smallestBlock: UInt64 = 1 << 18
    /// Sequence numbers in the blocks of an SA at full rate: 70 ms of 64-octet packets at 10 GbE line rate.
    public static let largestBlock: UInt64 = 1 << 20
    /// The highest sequence number without ESN: after it the SA is at its end (RFC 4303 section 3.3.3).
    public static let lastSequenceNumber: UInt64 = 0xffff_ffff
    /// The highest sequence number with ESN that is given out or remembered. RFC 4303 has 2^64 - 1; SQLite's integers
    /// have 63 bits above zero, and there are no more IVs than that for a key either.
    public static let lastExtendedSequenceNumber = UInt64(Int64.max)
    /// The highest IV that is given out: likewise, and the clock's floor takes 4000 years to get there.
    static let lastInitializationVector = UInt64(Int64.max)

    /// Where the SAs of a profile end.
    public static func lastSequenceNumber(of profile: AssociationProfile) -> UInt64 {
        profile.extendedSequenceNumbers ? lastExtendedSequenceNumber : lastSequenceNumber
    }

    /// The block that comes after `reservedEnd` (0: none yet), shortened where the numbers end; nil when none is left.
    func block(after reservedEnd: UInt64) -> ClosedRange<UInt64>? {
        let wanted: UInt64, first: UInt64, limit: UInt64
        switch self {
        case .sequenceNumbers(let count, _, let last):
            (wanted, first, limit) = (count, reservedEnd + 1, min(last, ReservationRequest.lastExtendedSequenceNumber))
        case .initializationVectors(let count, _, let floor):
            (wanted, first, limit) = (count, max(reservedEnd + 1, floor), ReservationRequest.lastInitializationVector)
        }
        guard first <= limit else { return nil }
        return first...(first + min(wanted - 1, limit - first))
    }

    /// Whose numbers. Traps unless something is wanted.
    var key: KeyFingerprint {
        let (count, key) =
            switch self {
            case .sequenceNumbers(let count, let sa, _): (count, sa.fingerprint)
            case .initializationVectors(let count, let fingerprint, _): (count, fingerprint)
            }
        precondition(count > 0, "a count of 0")
        return key
    }
}
