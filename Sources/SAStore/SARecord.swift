import GRDB
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

    /// From a row of `columns`, which is only believed with its checksum. Through `DatabaseValue`: GRDB traps when a
    /// value of a damaged file is not of the type that one asks for.
    init(_ row: Row, path: String) throws {
        let fingerprint = String.fromDatabaseValue(row[0]) ?? ""
        func damaged() -> StoreError {
            .damaged(
                path: path, detail: "the record of an SA with key \(fingerprint.prefix(16)) is not what was written")
        }
        func number(_ column: Int) throws -> UInt64 {
            guard let value = Int64.fromDatabaseValue(row[column]), value >= 0 else { throw damaged() }
            return UInt64(value)
        }
        guard let key = KeyName(fingerprint), let spi = UInt32.fromDatabaseValue(row[1]),
            let installedAt = Int64.fromDatabaseValue(row[2])
        else { throw damaged() }
        self.init(
            identity: SAIdentity(fingerprint: fingerprint, key: key, spi: SPI(rawValue: spi)), installedAt: installedAt,
            packets: try number(3), octets: try number(4), sequenceReserved: try number(5),
            replayCeiling: try number(6),
            replayReached: try number(7)
        )
        guard Int64.fromDatabaseValue(row[8]) == checksum else { throw damaged() }
    }

    /// In the order of `columns`. SQLite's integers have 63 bits above zero: larger counts stay there.
    var arguments: StatementArguments {
        [
            identity.fingerprint, identity.spi.rawValue, installedAt, Int64(clamping: packets), Int64(clamping: octets),
            Int64(clamping: sequenceReserved), Int64(clamping: replayCeiling), Int64(clamping: replayReached),
            checksum,
        ]
    }

    private var checksum: Int64 {
        var sum = Checksum(.association)
        sum.add(identity.fingerprint)
        sum.add(Int64(identity.spi.rawValue))
        sum.add(installedAt)
        for count in [packets, octets, sequenceReserved, replayCeiling, replayReached] {
            sum.add(Int64(clamping: count))
        }
        return sum.value
    }
}
