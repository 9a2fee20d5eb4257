import DataPlane
import ESP
import SAStore

/// How far the window of one inbound SA may go: its ceiling is on disk, where a restart after a crash begins.
///
/// Nothing above it is accepted, so a crash can't make the window forget a number; what lies between the window and
/// the ceiling is lost after a crash. Hence the distance is what the SA accepts in two commit intervals at its rate: a
/// peer that goes on sending is past it long before the gateway is back, and one that waits for answers soon after.
/// The rate is that of packets: numbers jump far when the peer itself restarts. An interval is what the keeper needs
/// (`KeeperPace`): on a slow disk it is longer than what it should be.
struct InboundCeiling: Sendable {
    /// From one commit for a busy SA to the next.
    static let interval = Duration.milliseconds(20)
    /// The distance of an SA at rest: the packets that a crash may cost it.
    static let smallestDistance: UInt64 = 8
    private static let largestDistance: UInt64 = 1 << 22
    /// What the disk can hold. Nothing above it is accepted, since a restart would begin below it.
    static let highestCeiling = ReservationRequest.lastExtendedSequenceNumber

    let pair: AssociationPair
    private var ceiling: UInt64
    private var distance = InboundCeiling.smallestDistance
    private var setAt: ContinuousClock.Instant
    private var highestThen: UInt64
    private var packetsThen: UInt64 = 0

    /// Of a pair that was just made: a little above where its window starts.
    init(_ pair: AssociationPair, now: ContinuousClock.Instant) {
        self.pair = pair
        let first = InboundCeiling.first(pair.inboundRecord)
        (highestThen, ceiling) = (pair.inboundRecord.replayCeiling, first.ceiling)
        setAt = now
    }

    /// What belongs on disk before the SA with this record may accept anything.
    static func first(_ record: SARecord) -> ReplayCeiling {
        let behind = record.replayCeiling
        return ReplayCeiling(
            sa: record.identity, ceiling: InboundCeiling.above(behind, by: InboundCeiling.smallestDistance),
            reached: behind)
    }

    var id: Int { pair.inbound.id }
    /// What belongs on disk before `grant`.
    var onDisk: ReplayCeiling {
        ReplayCeiling(sa: pair.sameness.inbound, ceiling: ceiling, reached: min(highestThen, ceiling))
    }
    /// Limits of its lifetime that were reached.
    var limits: LimitsReached {
        pair.inbound.reference.with { LimitsReached(soft: $0.isSoftExpired, hard: $0.isHardExpired) }
    }
    /// Whether it should come down when the SA is quiet.
    var isFar: Bool { distance > 2 * InboundCeiling.smallestDistance }

    /// The highest number that was accepted.
    var highest: UInt64 { pair.inbound.reference.with { $0.highest.load(ordering: .relaxed) } }

    /// Lets the worker go by it.
    func grant() {
        pair.inbound.reference.with { $0.setCeiling(ceiling, notice: notice) }
    }

    /// From here on it is time for the next. A busy SA comes here in half an interval, so that the round after that
    /// finds it and has another interval for the disk.
    private var notice: UInt64 { ceiling - min(ceiling, isFar ? distance / 4 * 3 : distance / 2) }

    /// Whether packets wait for it.
    var isUrgent: Bool {
        ceiling < InboundCeiling.highestCeiling
            && pair.inbound.reference.with { $0.wanted.load(ordering: .acquiring) } > ceiling
    }

    /// The next, when enough of the way to this one is gone; nil when there is no need, and for an SA that is over.
    func raised(at now: ContinuousClock.Instant, interval: Duration) -> InboundCeiling? {
        let (highest, wanted) = pair.inbound.reference.with {
            ($0.highest.load(ordering: .relaxed), $0.wanted.load(ordering: .acquiring))
        }
        let reached = max(highest, wanted)
        guard reached >= notice, ceiling < InboundCeiling.highestCeiling else { return nil }
        var next = measured(at: now, interval: interval)
        // Packets wait: the rate has grown faster than it can be measured.
        if wanted > ceiling {
            next.distance = max(next.distance, min(distance * 2, InboundCeiling.largestDistance))
        }
        next.ceiling = max(ceiling, InboundCeiling.above(reached, by: next.distance))
        return next
    }

    /// A nearer one for an SA that has gone quiet; nil when this one is right.
    func lowered(at now: ContinuousClock.Instant, interval: Duration) -> InboundCeiling? {
        let highest = highest
        var next = measured(at: now, interval: interval)
        next.ceiling = InboundCeiling.above(highest, by: next.distance)
        // Twice as far as it should be costs little, and going up and down costs the disk.
        return next.ceiling < ceiling && ceiling - highest > 2 * next.distance ? next : nil
    }

    private static func above(_ number: UInt64, by distance: UInt64) -> UInt64 {
        number < highestCeiling - distance ? number + distance : highestCeiling
    }

    /// With the distance that two intervals need at the rate since it was set last.
    private func measured(at now: ContinuousClock.Instant, interval: Duration) -> InboundCeiling {
        let packets = InboundCeiling.packets(of: pair)
        let expected = Double(packets - packetsThen) * 2 * (interval / max(now - setAt, .milliseconds(1)))
        var next = self
        next.distance = min(
            InboundCeiling.largestDistance, max(InboundCeiling.smallestDistance, UInt64(min(expected, 1e9))))
        (next.setAt, next.packetsThen, next.highestThen) = (now, packets, highest)
        return next
    }

    /// Authentic packets that came in this run: accepted, and above a ceiling.
    private static func packets(of pair: AssociationPair) -> UInt64 {
        pair.inbound.reference.with { $0.packets.load(ordering: .relaxed) &+ $0.ahead.load(ordering: .relaxed) }
    }
}

/// How far the keeper's rounds are apart: no less than they should be, and as far as the disk and the machine made it
/// of late.
struct KeeperPace: Sendable {
    private static let longest = Duration.seconds(1)

    private(set) var interval = InboundCeiling.interval
    private var roundAt: ContinuousClock.Instant?

    /// A round begins. What was slow is forgotten within seconds: 60 milliseconds of it in each.
    mutating func begin(at now: ContinuousClock.Instant) {
        defer { roundAt = now }
        guard let roundAt else { return }
        let took = now - roundAt
        interval = min(KeeperPace.longest, max(InboundCeiling.interval, took, interval - took / 16))
    }
}
