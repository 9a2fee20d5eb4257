import DataPlane
import ESP
import IPsec
import SAStore

/// The numbers of one outbound SA that are reserved, and how many to reserve next. A value; `SAStore` has the truth.
struct OutboundNumbers: Sendable {
    let pair: AssociationPair
    /// The last sequence number and IV that are reserved.
    private var sequenceEnd: UInt64
    private var vectorEnd: UInt64
    /// Numbers in a block, by the SA's rate.
    private var block = ReservationRequest.smallestBlock
    private var refilledAt = ContinuousClock.now
    /// No number is left, or what the store gave does not follow on what it gave before.
    private(set) var isExhausted = false

    /// Of a pair that was just made, with its first blocks (nil: none are left).
    init(
        _ pair: AssociationPair, lifetime: Lifetime, sequence: ClosedRange<UInt64>?, vector: ClosedRange<UInt64>?
    ) {
        self.pair = pair
        guard let sequence, let vector else {
            (sequenceEnd, vectorEnd, isExhausted) = (0, 0, true)
            return
        }
        (sequenceEnd, vectorEnd) = (sequence.upperBound, vector.upperBound)
        let record = pair.outboundRecord
        pair.outbound.reference.with { association in
            association.resume(
                behindSequence: sequence.lowerBound - 1, behindInitializationVector: vector.lowerBound - 1)
            association.limit(
                Allowance.outbound(
                    lifetime, record, behind: sequence.lowerBound - 1, profile: pair.sameness.profile))
        }
        grant()
    }

    var id: Int { pair.outbound.id }

    /// The first blocks of an SA, whose IVs begin at `floor` or above.
    static func requests(
        _ sa: SAIdentity, _ profile: AssociationProfile, floor: UInt64,
        count: UInt64 = ReservationRequest.smallestBlock
    ) -> [ReservationRequest] {
        let last = ReservationRequest.lastSequenceNumber(of: profile)
        return [
            .sequenceNumbers(count: count, sa: sa, last: last),
            .initializationVectors(count: count, fingerprint: sa.fingerprint, floor: floor),
        ]
    }

    /// Whether half of the last block is gone and there can be another.
    var needsMore: Bool {
        guard !isExhausted, sequenceEnd < last else { return false }
        return pair.outbound.reference.with { $0.sequenceNumber.load(ordering: .relaxed) } >= notice
    }

    /// Limits of its lifetime that were reached.
    var limits: LimitsReached {
        let (soft, hard) = pair.outbound.reference.with { ($0.isSoftExpired, $0.isHardExpired) }
        return LimitsReached(soft: soft, hard: hard, isSpent: pair.isSpent)
    }

    /// Where the SA ends.
    private var last: UInt64 { ReservationRequest.lastSequenceNumber(of: pair.sameness.profile) }

    private var notice: UInt64 { sequenceEnd - min(sequenceEnd, block / 2) }

    /// With the next block sized by how long the last one took: one that lasts less than a fifth of a second at this
    /// rate is too small, one that lasts an hour loses more to a crash than it saves.
    func sized(at now: ContinuousClock.Instant) -> OutboundNumbers {
        var sized = self
        let took = now - refilledAt
        if took < .milliseconds(200) { sized.block = min(block * 2, ReservationRequest.largestBlock) }
        if took > .seconds(3600) { sized.block = max(block / 2, ReservationRequest.smallestBlock) }
        sized.refilledAt = now
        return sized
    }

    /// The next blocks: they follow on what is reserved, since nobody else has the key.
    var requests: [ReservationRequest] {
        OutboundNumbers.requests(pair.sameness.outbound, pair.sameness.profile, floor: 0, count: block)
    }

    /// With what the store gave, which the worker may use from now on.
    func granted(_ sequence: ClosedRange<UInt64>?, _ vector: ClosedRange<UInt64>?) -> OutboundNumbers {
        var next = self
        guard let sequence, let vector, sequence.lowerBound == sequenceEnd + 1, vector.lowerBound == vectorEnd + 1
        else {
            // A gap would make the worker use numbers that somebody else has.
            next.isExhausted = true
            return next
        }
        (next.sequenceEnd, next.vectorEnd) = (sequence.upperBound, vector.upperBound)
        next.grant()
        return next
    }

    private func grant() {
        let notice = sequenceEnd < last ? notice : .max
        pair.outbound.reference.with {
            $0.grant(sequence: sequenceEnd, initializationVector: vectorEnd, notice: notice)
        }
    }
}
