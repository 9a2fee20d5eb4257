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
    private let state = Mutex(State())

    struct State: Sendable {
        var outbound: [Int: OutboundNumbers] = [:]
        var inbound: [Int: InboundCeiling] = [:]
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

        var pace = KeeperPace()

        /// Whether an SA can't wait until the next commit is due.
        func isWaitedFor(_ id: Int) -> Bool {
            if let ceiling = inbound[id] { return ceiling.isUrgent || ceiling.isAtLimit }
            return outbound[id] != nil
        }
    }

    init(store: StateStore, arena: AssociationArena) {
        self.store = store
        self.arena = arena
    }

    // MARK: Coming and going

    /// Every SA resumes behind what was ever reserved or accepted, and gets its first numbers.
    ///
    /// The first IV of a run is at least what the clock says, so that a state directory that was rolled back repeats
    /// none. An SA whose sequence numbers are used up gets nothing.
    func install(_ requests: [PairRequest], now: Int64) throws -> [AssociationPair] {
        var pairs: [AssociationPair] = []
        for first in stride(from: 0, to: requests.count, by: AssociationKeeper.installBatch) {
            let batch = Array(requests[first..<min(requests.count, first + AssociationKeeper.installBatch)])
            pairs += try installBatch(batch, now)
        }
        return pairs
    }

    private func installBatch(_ requests: [PairRequest], _ now: Int64) throws -> [AssociationPair] {
        let records = try store.open(requests.flatMap { [$0.outboundIdentity, $0.inboundIdentity] }, now: now)
        var pairs: [AssociationPair] = []
        for (index, request) in requests.enumerated() {
            let outbound = try arena.makeOutbound(request.outbound, local: request.local, remote: request.remote)
            let record = records[2 * index + 1]
            let inbound = try arena.makeInbound(
                request.inbound, local: request.local, remote: request.remote, owner: request.owner,
                behind: record.replayCeiling, allowance: Allowance(request.lifetime, record))
            pairs.append(
                AssociationPair(
                    request, outbound: outbound, inbound: inbound, outboundRecord: records[2 * index],
                    inboundRecord: record))
        }
        var round = StoreRound()
        let floor = InitializationVectorFloor.at(now)
        round.reservations = pairs.flatMap { OutboundNumbers.requests($0.sameness.outbound, floor: floor) }
        let ceilings = pairs.map { InboundCeiling($0, now: .now) }
        round.ceilings = ceilings.map(\.onDisk)
        let blocks = try store.commit(round, now: now)
        state.withLock { state in
            for (index, pair) in pairs.enumerated() {
                state.outbound[pair.outbound.id] = OutboundNumbers(
                    pair, lifetime: requests[index].lifetime, sequence: blocks[2 * index], vector: blocks[2 * index + 1]
                )
                ceilings[index].grant()
                state.inbound[pair.inbound.id] = ceilings[index]
                if !requests[index].lifetime.isEmpty { state.limited[pair.outbound.id] = pair }
            }
        }
        return pairs
    }

    /// Gives pairs up that no worker has any more: where their windows stand and what they carried is recorded exactly.
    func forget(_ pairs: [AssociationPair], now: Int64) throws {
        let known = state.withLock { state in
            pairs.filter { pair in
                state.limited[pair.outbound.id] = nil
                state.pending.subtract([pair.outbound.id, pair.inbound.id])
                state.far.remove(pair.inbound.id)
                state.lowering[pair.inbound.id] = nil
                state.recorded[pair.outbound.id] = nil
                let isKnown = state.outbound.removeValue(forKey: pair.outbound.id) != nil
                return state.inbound.removeValue(forKey: pair.inbound.id) != nil && isKnown
            }
        }
        // Somebody else may have the same SA by now, with a window of its own: that one's ceiling is the higher.
        let successors = state.withLock { state in Set(state.inbound.values.map(\.pair.sameness.inbound)) }
        var round = StoreRound()
        round.usage = known.flatMap { [$0.outboundUsage, $0.inboundUsage] }
        round.ceilings = known.filter { !successors.contains($0.sameness.inbound) }.map(AssociationKeeper.final)
        if !round.isEmpty { _ = try store.commit(round, now: now) }
    }

    /// The clean end, when no worker runs: windows are stored exactly.
    func conclude(now: Int64) throws {
        let pairs = state.withLock { state in state.inbound.values.map(\.pair) }
        var round = StoreRound()
        round.usage = pairs.flatMap { [$0.outboundUsage, $0.inboundUsage] }
        round.ceilings = pairs.map(AssociationKeeper.final)
        if !round.isEmpty { _ = try store.commit(round, now: now) }
    }

    private static func final(_ pair: AssociationPair) -> ReplayCeiling {
        ReplayCeiling(
            sa: pair.sameness.inbound,
            ceiling: pair.inbound.reference.with { $0.highest.load(ordering: .relaxed) })
    }

    /// Goes by another lifetime from now on.
    func limit(_ pair: AssociationPair, _ lifetime: Lifetime) {
        pair.limit(lifetime)
        state.withLock { $0.limited[pair.outbound.id] = lifetime.isEmpty ? nil : pair }
    }

    // MARK: Rounds

    /// What is on disk for SAs, for those who look.
    func numbers(of pair: AssociationPair) -> (granted: UInt64, ceiling: UInt64) {
        let granted = pair.outbound.reference.with { $0.grantedSequence.load(ordering: .relaxed) }
        return (granted, state.withLock { $0.inbound[pair.inbound.id]?.onDisk.ceiling ?? 0 })
    }

    /// Outbound SAs that have no numbers left below 2^32, by tunnel-independent identity.
    var exhausted: [SAIdentity] {
        state.withLock { state in state.outbound.values.filter(\.isExhausted).map(\.pair.sameness.outbound) }
    }

    /// One round: everything that workers asked for since the last, with one wait for the disk. True when an SA came to
    /// a limit of its lifetime. What the disk did not take is asked for again in the next round.
    ///
    /// Unless `isDue`, only when somebody waits: an SA whose blocks end, packets above a ceiling.
    func refill(now: Int64, isDue: Bool = true) throws -> Bool {
        var raised: Set<Int> = []
        arena.attention.take { raised.insert($0) }
        let instant = ContinuousClock.now
        let (wanted, isAtLimit) = state.withLock { state in
            state.pace.begin(at: instant)
            raised.formUnion(state.pending)
            state.pending = []
            var wanted = Wanted(), isAtLimit = false
            guard isDue || raised.contains(where: { state.isWaitedFor($0) }) else {
                state.pending = raised
                return (wanted, isAtLimit)
            }
            for id in raised {
                if let numbers = state.outbound[id] {
                    isAtLimit = isAtLimit || numbers.isAtLimit
                    if numbers.needsMore { wanted.outbound.append(numbers.sized(at: instant)) }
                } else if let ceiling = state.inbound[id] {
                    // One on its way down goes up again first.
                    if state.lowering.removeValue(forKey: id) != nil { ceiling.grant() }
                    isAtLimit = isAtLimit || ceiling.isAtLimit
                    guard let raised = ceiling.raised(at: instant, interval: state.pace.interval) else { continue }
                    wanted.inbound.append(raised)
                }
            }
            return (wanted, isAtLimit)
        }
        guard !wanted.isEmpty else { return isAtLimit }
        var round = StoreRound()
        round.reservations = wanted.outbound.flatMap(\.requests)
        round.ceilings = wanted.inbound.map(\.onDisk)
        do {
            let blocks = try store.commit(round, now: now)
            state.withLock { state in
                // Those that were given up meanwhile may have left their number to others.
                for (index, numbers) in wanted.outbound.enumerated()
                where state.outbound[numbers.id]?.pair === numbers.pair {
                    state.outbound[numbers.id] = numbers.granted(blocks[2 * index], blocks[2 * index + 1])
                }
                for ceiling in wanted.inbound where state.inbound[ceiling.id]?.pair === ceiling.pair {
                    ceiling.grant()
                    state.inbound[ceiling.id] = ceiling
                    if ceiling.isFar { state.far.insert(ceiling.id) }
                }
            }
        } catch {
            state.withLock { $0.pending.formUnion(wanted.outbound.map(\.id) + wanted.inbound.map(\.id)) }
            throw error
        }
        return isAtLimit
    }

    private struct Wanted {
        var outbound: [OutboundNumbers] = []
        var inbound: [InboundCeiling] = []
        var isEmpty: Bool { outbound.isEmpty && inbound.isEmpty }
    }

    /// Once a second: what SAs with a lifetime have carried is recorded, and ceilings that are far ahead of a tunnel
    /// that went quiet come down, so that a crash costs it little. `rounds` are the workers' at this time.
    ///
    /// A ceiling comes down in memory first. On disk it does a second later, when every worker has made a round since
    /// and so goes by it; until then a restart begins at the higher one.
    func calm(now: Int64, rounds: [UInt64]) throws {
        let instant = ContinuousClock.now
        let round = state.withLock { state in
            var round = StoreRound()
            for (id, pair) in state.limited {
                let usage = [pair.outboundUsage, pair.inboundUsage]
                if state.recorded[id] != usage { round.usage += usage }
                state.recorded[id] = usage
            }
            // Raised again in the meantime: then it is no longer among those.
            let settled = state.lowering.values.filter { lowering in
                zip(lowering.rounds, rounds).allSatisfy { $0 &+ 2 <= $1 }
                    && lowering.ceiling.highest <= lowering.ceiling.onDisk.ceiling
            }
            // Never up and down again: what a worker accepts in between would be above what is on disk.
            for lowering in settled {
                state.inbound[lowering.ceiling.id] = lowering.ceiling
                state.lowering[lowering.ceiling.id] = nil
            }
            for lowering in state.lowering.values { state.inbound[lowering.ceiling.id]?.grant() }
            state.lowering = [:]
            for id in state.far {
                guard !settled.contains(where: { $0.ceiling.id == id }),
                    let lower = state.inbound[id]?.lowered(at: instant, interval: state.pace.interval)
                else { continue }
                lower.grant()
                state.lowering[id] = Lowering(ceiling: lower, rounds: rounds)
            }
            round.ceilings = settled.map(\.ceiling.onDisk)
            state.far.subtract(settled.lazy.filter { !$0.ceiling.isFar }.map(\.ceiling.id))
            return round
        }
        // If the disk does not take it, a restart begins higher than it had to.
        if !round.isEmpty { _ = try store.commit(round, now: now) }
    }
}

/// A ceiling that workers go by already and that is not on disk yet.
struct Lowering: Sendable {
    let ceiling: InboundCeiling
    /// Of the workers when it came down.
    let rounds: [UInt64]
}
