// A tunnel's lanes: the pairs of SAs that it uses at the same time, each on a worker of its own (RFC 9611).
//
//   pairs of                 lane 0, worker a     lane 1, worker b
//   no time                  0                    1
//   a first not_before       2                    3
//   a second not_before      4                    none: 3 is old, and all flows go by lane 0
//
// Pairs with one time are one lane each. A time for which the file has fewer pairs ends the lanes that it has none for:
// what follows on keys takes their place, whichever lanes they were in.

import DataPlane
import IPsec

/// The lanes of a tunnel, and whose they are.
struct TunnelLanes {
    let assignment: LaneAssignment
    /// Index of the worker that has each lane.
    let owners: [Int]
    /// Whether nothing of the tunnel was anybody's before.
    let isNew: Bool

    /// - Parameters:
    ///   - first: who has the first lane already, if anybody has.
    ///   - ownersKnown: who has each of the pairs already; empty: nobody has any.
    ///   - byHand: lanes of other pairs that stay.
    ///   - next: the worker whose turn it is, modulo `workers`.
    init(
        _ children: [Topology.Child], workers: Int, first: Int?, ownersKnown: [Int?], byHand: [Int], next: Int
    ) {
        func lane(of owner: Int, first: Int) -> Int { (owner - first + workers) % workers }
        let isKnown = ownersKnown.contains { $0 != nil }
        var assignment = LaneAssignment(children, workers: workers)
        // Who owns an SA owns it for its life; so a tunnel that is renamed stays where its SAs are.
        let known = zip(ownersKnown, assignment.lanes).compactMap { pair in pair.0.map { lane(of: $0, first: pair.1) } }
        let start = first ?? known.first
        let base = start ?? next % workers
        if isKnown {
            let kept = ownersKnown.map { $0.map { lane(of: $0, first: base) } }
            assignment = LaneAssignment(children, workers: workers, kept: kept)
        }
        self.assignment = assignment
        isNew = start == nil
        let count = max(assignment.lanes.max() ?? 0, byHand.max() ?? 0) + 1
        owners = (0..<count).map { (base + $0) % workers }
    }
}

extension TunnelBook {
    /// What tables are to say.
    var states: [TunnelState] {
        entries.map { entry in
            var isOver = false
            var lanes: [TunnelState.Lane] = [], spent: [Int] = []
            for (lane, owner) in entry.owners.enumerated() {
                let current = entry.children.first { $0.state == .current && $0.lane == lane }
                let limits = current?.outboundLimits ?? LimitsTold()
                if limits.hard { isOver = true }
                if limits.isSpent { spent.append(lane) }
                lanes.append(TunnelState.Lane(outbound: limits.hard ? nil : current?.pair?.outbound, owner: owner))
            }
            // Where all lanes are spent, packets are dropped for that and not for want of an SA.
            let isLeft = lanes.indices.contains { lanes[$0].outbound != nil && !spent.contains($0) }
            if isLeft { for lane in spent { lanes[lane].outbound = nil } }
            return TunnelState(
                lanes: lanes, refusal: isOver ? .lifetimeExpired : .noOutboundSA,
                inbound: entry.children.compactMap { $0.pair?.inbound })
        }
    }

    /// The lane that a pair added by hand is for: of those that send, the one that fewest wait for.
    func laneForAddition(to entry: Int) -> Int {
        let children = entries[entry].children
        let lanes = entries[entry].owners.indices.map { lane in
            let own = children.filter { $0.lane == lane && $0.pair != nil }
            let waiting = own.count { $0.state == .next || $0.state == .standby }
            return (own.contains { $0.state == .current } ? 0 : 1, waiting, lane)
        }
        return lanes.min { $0 < $1 }?.2 ?? 0
    }

    /// Of those of a lane that have begun the last is current, the one before is old, and what was before that is over.
    mutating func choose(_ index: Int, _ lane: Int, _ now: Int64, _ events: inout [Event]) {
        var begun = begun(index, lane, now)
        if let last = begun.last?.number, entries[index].children[last].outboundLimits.isAny,
            let younger = younger(than: last, index)
        {
            activate(younger, in: index, now: now)
            begun.append(Beginning(at: now, order: .max, number: younger))
        }
        for number in entries[index].children.indices where entries[index].children[number].lane == lane {
            let child = entries[index].children[number]
            let state = TunnelBook.state(of: child, number, begun, now)
            guard state != child.state, child.state != .retired else { continue }
            entries[index].children[number].state = state
            let name = entries[index].name, spi = child.description.outbound.spi
            if state == .current { events.append(Event(kind: .activated, tunnel: name, direction: nil, spi: spi)) }
            if state == .retired {
                entries[index].children[number].pair = nil
                events.append(Event(kind: .retired, tunnel: name, direction: nil, spi: spi))
            }
        }
    }

    /// What comes to be sent under in a lane, and when.
    private struct Beginning {
        let at: Int64
        let order: UInt64
        /// Nil: nothing.
        let number: Int?

        static func < (left: Beginning, right: Beginning) -> Bool {
            (left.at, left.order, left.number ?? -1) < (right.at, right.order, right.number ?? -1)
        }
    }

    private static func state(of child: Child, _ number: Int, _ begun: [Beginning], _ now: Int64) -> State {
        switch begun.lastIndex(where: { $0.number == number }) {
        case let place? where place == begun.count - 1: return .current
        case let place? where place == begun.count - 2: return .old
        case .some: return .retired
        case nil: break
        }
        guard let at = child.description.notBefore else { return .standby }
        guard at <= now else { return .next }
        // A spare of its time, with which it goes.
        return begun.count > 1 && at < begun[begun.count - 2].at ? .retired : .standby
    }

    /// Children of a lane that are or were to be sent under, in the order in which they were. Those of the file without
    /// a time from the beginning; others by their time or by hand. A time of the file that has none for this lane is
    /// one of them: then nothing is sent in it.
    private func begun(_ index: Int, _ lane: Int, _ now: Int64) -> [Beginning] {
        let children = entries[index].children
        func start(_ number: Int) -> Beginning? {
            let child = children[number]
            guard child.lane == lane, child.pair != nil else { return nil }
            if let activated = child.activated {
                return Beginning(at: activated.at, order: activated.order, number: number)
            }
            let at = child.description.notBefore ?? .min
            return child.begins && at <= now ? Beginning(at: at, order: 0, number: number) : nil
        }
        let ends = entries[index].owners.count > 1 ? ends(of: lane, index, now) : []
        let begun = (children.indices.compactMap(start) + ends).sorted { $0 < $1 }
        // When those that were are gone: better what waits than nothing.
        if begun.isEmpty, let first = children.firstIndex(where: { $0.lane == lane }), children[first].pair != nil,
            children[first].origin == .file, children[first].description.notBefore == nil
        {
            return [Beginning(at: .min, order: 0, number: first)]
        }
        return begun
    }

    private func ends(of lane: Int, _ index: Int, _ now: Int64) -> [Beginning] {
        let file = entries[index].children.filter { $0.origin == .file }
        func times(_ children: [Child]) -> Set<Int64> { Set(children.compactMap(\.description.notBefore)) }
        return times(file).subtracting(times(file.filter { $0.lane == lane })).filter { $0 <= now }.map {
            Beginning(at: $0, order: 0, number: nil)
        }
    }

    /// The one to go over to when `last` has reached its soft limit: the next of its lane that waits for nothing; and
    /// when it is at its hard limit, even one whose time is still to come.
    private func younger(than last: Int, _ index: Int) -> Int? {
        let children = entries[index].children
        let later = children.indices.filter {
            $0 > last && children[$0].lane == children[last].lane && children[$0].pair != nil
                && !children[$0].outboundLimits.isAny
        }
        // A spare of a time waits until that has come.
        let standby = later.first { number in
            children[number].description.notBefore.map { $0 <= clock && !children[number].begins } ?? true
        }
        return standby ?? (children[last].outboundLimits.hard ? later.first : nil)
    }
}
