import DataPlane
import ESP
import SAStore

/// How far the window of one inbound SA may go: its ceiling is on disk, where a restart after a crash begins.
///
/// Nothing above it is accepted, so a crash can't make the window forget a number; what lies between the window and
/// the ceiling is lost after a crash. Hence the distance is what the SA accepts in two commit intervals at its rate: a
/// peer that goes on sending is past it long before the gateway is back, and one that waits for answers soon after.
struct InboundCeiling: Sendable {
    /// From one commit for a busy SA to the next.
    static let interval = Duration.milliseconds(20)
    /// The distance of an SA at rest: the packets that a crash may cost it.
    static let smallestDistance: UInt64 = 8
    private static let largestDistance: UInt64 = 1 << 22

    let pair: AssociationPair
    private var ceiling: UInt64
    private var distance = InboundCeiling.smallestDistance
    private var setAt: ContinuousClock.Instant
    private var highestThen: UInt64

    /// Of a pair that was just made: a little above where its window starts.
    init(_ pair: AssociationPair, now: ContinuousClock.Instant) {
        self.pair = pair
        highestThen = pair.inboundRecord.replayCeiling
        ceiling = highestThen + InboundCeiling.smallestDistance
        setAt = now
    }

    var id: Int { pair.inbound.id }
    /// What belongs on disk before `grant`.
    var onDisk: ReplayCeiling { ReplayCeiling(sa: pair.sameness.inbound, ceiling: ceiling) }
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
        pair.inbound.reference.with { $0.setCeiling(ceiling, notice: ceiling - min(ceiling, distance / 2)) }
    }

    /// Whether packets wait for it.
    var isUrgent: Bool { pair.inbound.reference.with { $0.wanted.load(ordering: .acquiring) } > ceiling }

    /// The next, when half of the way to this one is gone; nil when there is no need, and for an SA that is over.
    func raised(at now: ContinuousClock.Instant) -> InboundCeiling? {
        let (highest, wanted) = pair.inbound.reference.with {
            ($0.highest.load(ordering: .relaxed), $0.wanted.load(ordering: .acquiring))
        }
        let reached = max(highest, wanted)
        guard reached >= ceiling - min(ceiling, distance / 2) else { return nil }
        var next = self
        next.distance = InboundCeiling.distance(advanced: highest - highestThen, in: now - setAt)
        // Reached before its time: the rate has grown faster than it can be measured.
        if now - setAt < InboundCeiling.interval / 2 {
            next.distance = max(next.distance, min(distance * 2, InboundCeiling.largestDistance))
        }
        next.ceiling = max(ceiling, reached + next.distance)
        next.setAt = now
        next.highestThen = highest
        return next
    }

    /// A nearer one for an SA that has gone quiet; nil when this one is right.
    func lowered(at now: ContinuousClock.Instant) -> InboundCeiling? {
        let highest = highest
        var next = self
        next.distance = InboundCeiling.distance(advanced: highest - highestThen, in: now - setAt)
        next.ceiling = highest + next.distance
        next.setAt = now
        next.highestThen = highest
        // Twice as far as it should be costs little, and going up and down costs the disk.
        return next.ceiling < ceiling && ceiling - highest > 2 * next.distance ? next : nil
    }

    /// What two intervals bring at the rate of the last while.
    private static func distance(advanced: UInt64, in time: Duration) -> UInt64 {
        let expected = Double(advanced) * 2 * (interval / max(time, .milliseconds(1)))
        return min(largestDistance, max(smallestDistance, UInt64(min(expected, 1e9))))
    }
}
