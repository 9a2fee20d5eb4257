import DataPlane
import ESP
import IPsec
import SAStore
import Synchronization

/// Keeps every SA ahead of its worker: what an outbound SA may use and what an inbound one may accept is on disk
/// before it does, and more is asked for in time.
///
/// A store that does not answer stops outbound SAs one after the other (`sequence_exhausted`) and keeps inbound
/// windows where they are (`ahead`), never the other way. Workers raise a bit when an SA comes near its end, so that a
/// round costs what the busy SAs cost, however many there are. All rounds of one time are one commit.
final class AssociationKeeper: AssociationInstaller {
    /// SAs in one commit at installation: refills of the others wait for it.
    private static let installBatch = 2048

    private let store: StateStore
    private let arena: AssociationArena
    /// Held from looking at the state until what follows from it is on disk and granted: what one thread finds out must
    /// not be written over what another has committed since.
    private let turn = Mutex(())
    private let state = Mutex(State())
    /// Before it is open nothing takes numbers; nil: at once.
    private let gate: Gate?

    init(store: StateStore, arena: AssociationArena, numbersAfter gate: Gate? = nil) {
        self.store = store
        self.arena = arena
        self.gate = gate
    }

    // MARK: Coming and going

    /// Every SA resumes behind what was ever reserved or accepted, and gets its first numbers.
    ///
    /// The first IV of a run is at least what the clock says, so that a state directory that was rolled back repeats
    /// none. An SA whose sequence numbers are used up gets nothing.
    ///
    /// An SA may be installed already, in a pair that has another counterpart, window or address and goes when workers
    /// have the new one. Until then the one before gets nothing any more: it would go on in numbers that are the new
    /// one's.
    func install(_ requests: [PairRequest], now: Int64) throws -> [AssociationPair] {
        var pairs: [AssociationPair] = []
        do {
            // Where nobody waits, all of them are one: each commit writes pages that the next would write again.
            let isFirst = state.withLock { $0.outbound.isEmpty && $0.suspendedOutbound.isEmpty }
            let known = state.withLock { $0.installed(of: requests) }
            let size = isFirst ? max(1, requests.count) : AssociationKeeper.installBatch
            for first in stride(from: 0, to: requests.count, by: size) {
                let batch = Array(requests[first..<min(requests.count, first + size)])
                pairs += try turn.withLock { _ in try installBatch(batch, known: known, now) }
            }
        } catch {
            state.withLock { state in
                for pair in pairs { state.remove(pair) }
                state.reinstate(requests.flatMap { [$0.outboundIdentity, $0.inboundIdentity] })
            }
            throw error
        }
        return pairs
    }

    /// `known` are those of all SAs asked for that are installed.
    private func installBatch(
        _ requests: [PairRequest], known: Set<SAIdentity>, _ now: Int64
    ) throws -> [AssociationPair] {
        let identities = requests.flatMap { [$0.outboundIdentity, $0.inboundIdentity] }
        let before = state.withLock { $0.suspend(known.isEmpty ? known : known.intersection(identities)) }
        if !before.isEmpty {
            var round = StoreRound()
            round.usage = before
            _ = try store.commit(round, now: now)
        }
        // A start that fails again and again must not use numbers up.
        try arena.checkRoom(for: identities.count)
        // They are on disk with what is granted, and not before.
        let records = try store.records(of: identities, now: now)
        var round = StoreRound()
        let floor = InitializationVectorFloor.at(now)
        round.reservations.reserveCapacity(2 * requests.count)
        round.ceilings.reserveCapacity(requests.count)
        for (index, request) in requests.enumerated() {
            round.reservations += OutboundNumbers.requests(request.outboundIdentity, request.profile, floor: floor)
            round.ceilings.append(InboundCeiling.first(records[2 * index + 1]))
        }
        let (blocks, (pairs, ceilings)) = try together(
            { [store, round, gate] in try store.commit(round, now: now) { try gate?.pass() } },
            {
                let pairs = try makePairs(requests, records), now = ContinuousClock.now
                var ceilings: [Int: InboundCeiling] = [:]
                ceilings.reserveCapacity(pairs.count)
                for pair in pairs { ceilings[pair.inbound.id] = InboundCeiling(pair, now: now) }
                return (pairs, ceilings)
            })
        state.withLock { state in
            state.add(ceilings)
            if pairs.count > 1 { state.outbound.reserveCapacity(state.outbound.count + pairs.count) }
            for (index, pair) in pairs.enumerated() {
                state.outbound[pair.outbound.id] = OutboundNumbers(
                    pair, lifetime: requests[index].lifetime, sequence: blocks[2 * index], vector: blocks[2 * index + 1]
                )
                if !requests[index].lifetime.isEmpty { state.limited[pair.outbound.id] = pair }
            }
        }
        return pairs
    }

    /// SAs that may send and accept nothing yet.
    private func makePairs(_ requests: [PairRequest], _ records: [SARecord]) throws -> [AssociationPair] {
        var pairs: [AssociationPair] = []
        pairs.reserveCapacity(requests.count)
        for (index, request) in requests.enumerated() {
            let outbound = try arena.makeOutbound(
                request.outbound, profile: request.profile, local: request.local, remote: request.remote)
            let record = records[2 * index + 1]
            let inbound = try arena.makeInbound(
                request.inbound, profile: request.profile, local: request.local, remote: request.remote,
                owner: request.owner,
                behind: record.replayCeiling, allowance: Allowance(request.lifetime, record))
            pairs.append(
                AssociationPair(
                    request, outbound: outbound, inbound: inbound, outboundRecord: records[2 * index],
                    inboundRecord: record))
        }
        return pairs
    }

    /// Gives pairs up that no worker has any more: where their windows stand and what they carried is recorded exactly.
    func forget(_ pairs: [AssociationPair], now: Int64) throws {
        try turn.withLock { _ in
            let round = state.withLock { state in
                let known = pairs.filter { state.remove($0) }
                state.reinstate(known.flatMap { [$0.sameness.outbound, $0.sameness.inbound] })
                // Somebody else may have the same SA by now, with a window of its own: its ceiling is the higher.
                let successors = known.isEmpty ? [] : Set(state.inbound.values.map(\.pair.sameness.inbound))
                var round = StoreRound()
                round.usage = known.flatMap { [$0.outboundUsage, $0.inboundUsage] }
                round.ceilings = AssociationKeeper.final(known.filter { !successors.contains($0.sameness.inbound) })
                return round
            }
            if !round.isEmpty { _ = try store.commit(round, now: now) }
        }
    }

    /// The clean end, when no worker runs: windows are stored exactly.
    func conclude(now: Int64) throws {
        try turn.withLock { _ in
            let pairs = state.withLock { state in
                (Array(state.inbound.values) + state.suspendedInbound.values).map(\.pair)
            }
            var round = StoreRound()
            round.usage = pairs.flatMap { [$0.outboundUsage, $0.inboundUsage] }
            round.ceilings = AssociationKeeper.final(pairs)
            if !round.isEmpty { _ = try store.commit(round, now: now) }
        }
    }

    /// Where windows stand; of two pairs with one SA the further one counts.
    private static func final(_ pairs: [AssociationPair]) -> [ReplayCeiling] {
        let highest = pairs.map { pair in
            (pair.sameness.inbound, pair.inbound.reference.with { $0.highest.load(ordering: .relaxed) })
        }
        return Dictionary(highest, uniquingKeysWith: max).map { ReplayCeiling(sa: $0, ceiling: $1) }
    }

    /// Goes by another lifetime from now on; an SA that was over by the one before begins anew.
    func limit(_ pair: AssociationPair, _ lifetime: Lifetime) {
        turn.withLock { _ in
            pair.limit(lifetime)
            state.withLock { state in
                state.limited[pair.outbound.id] = lifetime.isEmpty ? nil : pair
                (state.lowering[pair.inbound.id]?.ceiling ?? state.inbound[pair.inbound.id])?.grant()
            }
        }
    }

    // MARK: Rounds

    /// What is on disk for SAs, for those who look.
    func numbers(of pair: AssociationPair) -> (granted: UInt64, ceiling: UInt64) {
        let granted = pair.outbound.reference.with { $0.grantedSequence.load(ordering: .relaxed) }
        return (granted, state.withLock { $0.inbound[pair.inbound.id]?.onDisk.ceiling ?? 0 })
    }

    /// Outbound SAs that have no numbers left, by tunnel-independent identity.
    var exhausted: [SAIdentity] {
        state.withLock { state in state.outbound.values.filter(\.isExhausted).map(\.pair.sameness.outbound) }
    }

    /// One round: everything that workers asked for since the last, with one wait for the disk. True when an SA came to
    /// a limit of its lifetime. What the disk did not take is asked for again in the next round.
    ///
    /// Unless `isDue`, only when somebody waits: an SA whose blocks end, packets above a ceiling.
    func refill(now: Int64, at instant: ContinuousClock.Instant = .now, isDue: Bool = true) throws -> Bool {
        try turn.withLock { _ in
            var raised: Set<Int> = []
            arena.attention.take { raised.insert($0) }
            let wanted = state.withLock { $0.wanted(raised, at: instant, isDue: isDue) }
            if !wanted.isEmpty { try grant(wanted, now: now) }
            return state.withLock { state in
                defer { state.isAtNewLimit = false }
                return state.isAtNewLimit
            }
        }
    }

    private func grant(_ wanted: Wanted, now: Int64) throws {
        var round = StoreRound()
        round.reservations = wanted.outbound.flatMap(\.requests)
        round.ceilings = wanted.inbound.map(\.onDisk)
        let blocks: [ClosedRange<UInt64>?]
        do { blocks = try store.commit(round, now: now) } catch {
            state.withLock { $0.pending.formUnion(wanted.outbound.map(\.id) + wanted.inbound.map(\.id)) }
            throw error
        }
        state.withLock { state in
            for (index, numbers) in wanted.outbound.enumerated() {
                state.outbound[numbers.id] = numbers.granted(blocks[2 * index], blocks[2 * index + 1])
            }
            for ceiling in wanted.inbound {
                ceiling.grant()
                state.inbound[ceiling.id] = ceiling
                if ceiling.isFar { state.far.insert(ceiling.id) }
            }
        }
    }

    /// Once a second: what SAs with a lifetime have carried is recorded, and ceilings that are far ahead of a tunnel
    /// that went quiet come down, so that a crash costs it little. `rounds` are the workers' at this time.
    ///
    /// A ceiling comes down in memory first. On disk it does a second later, when every worker has made a round since
    /// and so goes by it; until then a restart begins at the higher one.
    func calm(now: Int64, at instant: ContinuousClock.Instant = .now, rounds: [UInt64]) throws {
        try turn.withLock { _ in
            let (round, usage) = state.withLock { state in
                var round = StoreRound()
                var usage: [Int: [SAUsage]] = [:]
                for (id, pair) in state.limited {
                    let carried = [pair.outboundUsage, pair.inboundUsage]
                    if state.recorded[id] != carried { usage[id] = carried }
                }
                round.usage = usage.values.flatMap { $0 }
                round.ceilings = state.settle(rounds, at: instant).map(\.onDisk)
                return (round, usage)
            }
            guard !round.isEmpty else { return }
            _ = try store.commit(round, now: now)
            state.withLock { $0.recorded.merge(usage) { $1 } }
        }
    }
}
