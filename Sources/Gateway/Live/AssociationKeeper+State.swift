import ESP
import SAStore

extension AssociationKeeper {
    /// What the keeper knows of SAs, by their numbers in the arena. The hot halves and the disk have the truth.
    struct State: Sendable {
        var outbound: [Int: OutboundNumbers] = [:]
        var inbound: [Int: InboundCeiling] = [:]
        /// SAs that somebody else has been installed for, until no worker has them any more: nothing is granted.
        var suspendedOutbound: [Int: OutboundNumbers] = [:]
        var suspendedInbound: [Int: InboundCeiling] = [:]
        /// What could not be served in the last round.
        var pending: Set<Int> = []
        /// Inbound SAs whose ceiling is far ahead, to be looked at when it gets quiet.
        var far: Set<Int> = []
        /// Ceilings on their way down.
        var lowering: [Int: Lowering] = [:]
        /// Pairs with a lifetime: their counts are recorded.
        var limited: [Int: AssociationPair] = [:]
        /// What was recorded of them last.
        var recorded: [Int: [SAUsage]] = [:]
        /// Limits that SAs were found at.
        var limits: [Int: LimitsReached] = [:]
        var pace = KeeperPace()
        /// Whether an SA came to one that nobody was told of.
        var isAtNewLimit = false
    }

    /// What is to be on disk, and then granted.
    struct Wanted: Sendable {
        var outbound: [OutboundNumbers] = []
        var inbound: [InboundCeiling] = []
        var isEmpty: Bool { outbound.isEmpty && inbound.isEmpty }
    }
}

/// Limits of its lifetime that an SA has reached.
struct LimitsReached: Hashable, Sendable {
    var soft = false, hard = false
    /// Whether its numbers are used up.
    var isSpent = false
}

/// A ceiling that workers go by already and that is not on disk yet.
struct Lowering: Sendable {
    let ceiling: InboundCeiling
    /// Of the workers when it came down.
    let rounds: [UInt64]
}

extension AssociationKeeper.State {
    // MARK: Coming and going

    /// Takes ceilings that are on disk, and lets workers go by them.
    mutating func add(_ ceilings: [Int: InboundCeiling]) {
        for ceiling in ceilings.values { ceiling.grant() }
        if inbound.isEmpty { inbound = ceilings } else { inbound.merge(ceilings) { $1 } }
    }

    /// Those of these SAs that are installed.
    func installed(of requests: [PairRequest]) -> Set<SAIdentity> {
        guard !outbound.isEmpty else { return [] }
        let asked = Set(requests.flatMap { [$0.outboundIdentity, $0.inboundIdentity] })
        let known = outbound.values.lazy.map(\.pair.sameness.outbound)
        return asked.intersection(known).union(asked.intersection(inbound.values.lazy.map(\.pair.sameness.inbound)))
    }

    /// Lets those of these SAs that are installed get nothing any more. Returns what they have carried.
    mutating func suspend(_ identities: Set<SAIdentity>) -> [SAUsage] {
        guard !identities.isEmpty else { return [] }
        var usage: [SAUsage] = []
        for (id, numbers) in outbound where identities.contains(numbers.pair.sameness.outbound) {
            suspendedOutbound[id] = outbound.removeValue(forKey: id)
            usage.append(numbers.pair.outboundUsage)
        }
        for (id, ceiling) in inbound where identities.contains(ceiling.pair.sameness.inbound) {
            suspendedInbound[id] = inbound.removeValue(forKey: id)
            far.remove(id)
            lowering[id] = nil
            usage.append(ceiling.pair.inboundUsage)
        }
        return usage
    }

    /// Lets those that were suspended go on where nobody else has the SA after all. Of outbound ones that may be a
    /// block only: what was reserved for the others lies between it and the next.
    mutating func reinstate(_ identities: [SAIdentity]) {
        guard !suspendedOutbound.isEmpty || !suspendedInbound.isEmpty else { return }
        let taken = Set(outbound.values.map(\.pair.sameness.outbound) + inbound.values.map(\.pair.sameness.inbound))
        let free = Set(identities).subtracting(taken)
        for (id, numbers) in suspendedOutbound where free.contains(numbers.pair.sameness.outbound) {
            outbound[id] = suspendedOutbound.removeValue(forKey: id)
            pending.insert(id)
        }
        for (id, ceiling) in suspendedInbound where free.contains(ceiling.pair.sameness.inbound) {
            ceiling.grant()
            inbound[id] = suspendedInbound.removeValue(forKey: id)
            if ceiling.isFar { far.insert(id) }
            pending.insert(id)
        }
    }

    /// Forgets a pair. False when it was not known.
    @discardableResult
    mutating func remove(_ pair: AssociationPair) -> Bool {
        let (sender, receiver) = (pair.outbound.id, pair.inbound.id)
        guard (inbound[receiver] ?? suspendedInbound[receiver])?.pair === pair else { return false }
        for id in [sender, receiver] {
            outbound[id] = nil
            inbound[id] = nil
            suspendedOutbound[id] = nil
            suspendedInbound[id] = nil
            pending.remove(id)
            far.remove(id)
            lowering[id] = nil
            limited[id] = nil
            recorded[id] = nil
            limits[id] = nil
        }
        return true
    }

    // MARK: Rounds

    /// What these SAs, and those that could not be served before, want of the disk. Nothing, and they stay pending,
    /// when none of them can wait for it and it is not due.
    mutating func wanted(_ raised: Set<Int>, at now: ContinuousClock.Instant, isDue: Bool) -> AssociationKeeper.Wanted {
        pace.begin(at: now)
        let raised = raised.union(pending)
        pending = []
        for id in raised {
            noteLimits(id)
            // One on its way down goes up again: the disk has it still, so nobody waits for that.
            if lowering.removeValue(forKey: id) != nil { inbound[id]?.grant() }
        }
        var wanted = AssociationKeeper.Wanted()
        guard isDue || raised.contains(where: { outbound[$0] != nil || inbound[$0]?.isUrgent ?? false }) else {
            pending = raised
            return wanted
        }
        for id in raised {
            if let numbers = outbound[id] {
                if numbers.needsMore { wanted.outbound.append(numbers.sized(at: now)) }
            } else if let ceiling = inbound[id] {
                if let raised = ceiling.raised(at: now, interval: pace.interval) { wanted.inbound.append(raised) }
            }
        }
        return wanted
    }

    private mutating func noteLimits(_ id: Int) {
        guard let reached = outbound[id]?.limits ?? inbound[id]?.limits, reached != limits[id] ?? LimitsReached()
        else { return }
        limits[id] = reached
        isAtNewLimit = true
    }

    /// Brings ceilings down. Returns those that every worker goes by since the last time, and which are the SAs' from
    /// now on: should the disk not take them, it has higher ones. The others go up again, and all that are far ahead
    /// begin to come down.
    mutating func settle(_ rounds: [UInt64], at now: ContinuousClock.Instant) -> [InboundCeiling] {
        var settled: [InboundCeiling] = []
        for (id, down) in lowering {
            let isSeen = zip(down.rounds, rounds).allSatisfy { $0 &+ 2 <= $1 }
            if isSeen && down.ceiling.highest <= down.ceiling.onDisk.ceiling {
                inbound[id] = down.ceiling
                if !down.ceiling.isFar { far.remove(id) }
                settled.append(down.ceiling)
            } else {
                inbound[id]?.grant()
            }
        }
        lowering = [:]
        let isSettled = Set(settled.map(\.id))
        for id in far where !isSettled.contains(id) {
            guard let lower = inbound[id]?.lowered(at: now, interval: pace.interval) else { continue }
            lower.grant()
            lowering[id] = Lowering(ceiling: lower, rounds: rounds)
        }
        return settled
    }
}
