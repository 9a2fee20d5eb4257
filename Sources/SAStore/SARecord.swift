import IPsec

/// What the store knows of one SA, outbound or inbound.
public struct SARecord: Hashable, Sendable {
    /// Whose it is.
    public let identity: SAIdentity
    /// When the SA was first opened here, in seconds since 1970: its lifetime in seconds counts from then.
    public let installedAt: Int64
    /// Packets it has carried, as last recorded; a crash loses what came after.
    public var packets: UInt64
    /// Octets it has carried, as last recorded.
    public var octets: UInt64
    /// The highest sequence number that was ever reserved for it; 0 if none.
    public var sequenceReserved: UInt64
    /// Where its inbound window starts after a restart; 0: none was set.
    public var replayCeiling: UInt64
    /// What had been accepted when that was set: up to `replayCeiling - replayReached` packets of the peer are lost at
    /// a restart; none after a clean stop.
    public var replayReached: UInt64

    /// A record with these contents; of an SA that has done nothing yet unless they say otherwise.
    public init(
        identity: SAIdentity, installedAt: Int64, packets: UInt64 = 0, octets: UInt64 = 0, sequenceReserved: UInt64 = 0,
        replayCeiling: UInt64 = 0, replayReached: UInt64 = 0
    ) {
        self.identity = identity
        self.installedAt = installedAt
        self.packets = packets
        self.octets = octets
        self.sequenceReserved = sequenceReserved
        self.replayCeiling = replayCeiling
        self.replayReached = replayReached
    }

    /// How often a gateway can be restarted before the SA's sequence numbers are used up, if each run takes no more
    /// than one of the smallest blocks: without ESN, unless it has come to numbers that only ESN has.
    public var restartsLeft: UInt64 {
        let last = ReservationRequest.lastSequenceNumber
        return SARecord.restartsLeft(
            behind: sequenceReserved,
            last: sequenceReserved > last ? ReservationRequest.lastExtendedSequenceNumber : last)
    }

    /// The same for an SA that ends with `last` and has the numbers up to `reserved` behind it.
    public static func restartsLeft(behind reserved: UInt64, last: UInt64) -> UInt64 {
        (last - min(reserved, last)) / ReservationRequest.smallestBlock
    }

    static let columns =
        "fingerprint, spi, installed_at, packets, octets, sequence_reserved, replay_ceiling, "
        + "replay_reached, checksum"

    /// Of `numbers`; nil when no record has these.
    init?(_ key: KeyFingerprint, _ numbers: [Int64]) {
        guard let spi = UInt32(exactly: numbers[0]), numbers[2...].allSatisfy({ $0 >= 0 }) else { return nil }
        self.init(
            identity: SAIdentity(fingerprint: key, spi: SPI(rawValue: spi)), installedAt: numbers[1],
            packets: UInt64(numbers[2]), octets: UInt64(numbers[3]), sequenceReserved: UInt64(numbers[4]),
            replayCeiling: UInt64(numbers[5]), replayReached: UInt64(numbers[6]))
    }

    /// Between fingerprint and checksum, in the order of `columns`. SQLite's integers have 63 bits above zero: larger
    /// counts stay there.
    var numbers: [Int64] {
        [
            Int64(identity.spi.rawValue), installedAt, Int64(clamping: packets), Int64(clamping: octets),
            Int64(clamping: sequenceReserved), Int64(clamping: replayCeiling), Int64(clamping: replayReached),
        ]
    }
}
