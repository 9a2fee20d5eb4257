// Which SAs every tunnel has, and which of them it sends under. Time and limits move them:
//
//   next, standby ---- due, activated, or the one before is at its soft limit ----> current ---> old ---> retired
//
// All but the retired are accepted: clocks of two sites differ, and packets are on their way when keys change. What is
// sent under changes in one moment, with the tables (make before break).
//
// A tunnel that several workers share has as many lanes (RFC 9611), each with pairs of its own that go this way by
// themselves. Nothing moves from one lane to another but the flows of a lane that ended: TunnelBook+Lanes.

import DataPlane
import ESP
import IPsec
import SAStore

/// The SAs of all tunnels, in the topology's order. A value: whoever changes it publishes what follows from it.
struct TunnelBook: Sendable {
    /// Where a pair comes from.
    enum Origin: String, Sendable { case file, runtime }

    /// What a pair is for its tunnel.
    enum State: String, Sendable { case next, standby, current, old, retired }

    /// A pair of SAs of a tunnel.
    struct Child: Sendable {
        let description: Topology.Child
        let origin: Origin
        /// Index of the tunnel's lane whose it is.
        let lane: Int
        /// Whether it is sent under by itself once its time has come; without a time, from the beginning.
        var begins: Bool
        /// When it became current by hand or in an SA's stead, and its place among such acts.
        var activated: (at: Int64, order: UInt64)?
        /// Nil once it is retired.
        var pair: AssociationPair?
        var state = State.next
        var outboundLimits = LimitsTold(), inboundLimits = LimitsTold()
        var isInboundOver = false

        var spis: [SPI] { [description.outbound.spi, description.inbound.spi] }
        var keys: [KeyFingerprint] { [description.outbound.key.fingerprint, description.inbound.key.fingerprint] }
    }

    /// Which limits of an SA somebody has been told of.
    struct LimitsTold: Sendable {
        var soft = false, hard = false
        /// Of an outbound SA: its numbers are used up.
        var isSpent = false
        var isAny: Bool { soft || hard }
    }

    /// A tunnel.
    struct Entry: Sendable {
        let name: String
        /// Index of the worker that has each lane.
        let owners: [Int]
        var lifetime: Lifetime
        var children: [Child]
        /// Where the site says that the peer is.
        var remote: IPAddress
        /// Where the peer was found, if not there.
        var peer: Peer?
        /// What a router said of the way to it.
        var path: Path?
    }

    var entries: [Entry] = []
    private var activations: UInt64 = 0
    /// The latest time it was told. A clock that is set back neither brings back what has gone nor sends under what
    /// the peer has left.
    private(set) var clock = Int64.min
    private var assigned = 0

    /// What happened to an SA.
    struct Event: Sendable, Equatable {
        enum Kind: String, Sendable { case softLimit, hardLimit, activated, retired, peerMoved, pathMTU }
        let kind: Kind
        let tunnel: String
        let direction: Direction?
        let spi: SPI
        /// Of a peer that moved, where to; of a path, its MTU.
        var detail = ""
    }

    /// Goes over to the tunnels of a topology: pairs that are asked for again stay as they are, those that are new are
    /// installed, those that were added by hand stay with their tunnel as long as they are what it asks for. Throws
    /// what the installer throws, and is unchanged then.
    mutating func follow(
        _ topology: Topology, workers: Int, installer: some AssociationInstaller, now: Int64
    ) throws {
        var known: [PairRequest.Sameness: Child] = [:]
        for child in entries.flatMap(\.children) {
            if let pair = child.pair { known[pair.sameness] = child }
        }
        let before = Dictionary(uniqueKeysWithValues: entries.map { ($0.name, $0) })
        var next: [Entry] = [], requests: [PairRequest] = [], places: [(entry: Int, child: Int)] = []
        var assigned = self.assigned
        let clock = max(clock, now)
        let file = FileNames(topology, isNeeded: entries.contains { $0.children.contains { $0.origin == .runtime } })
        next.reserveCapacity(topology.tunnels.count)
        let most = known.isEmpty ? topology.tunnels.reduce(0) { $0 + $1.children.count } : 0
        requests.reserveCapacity(most)
        places.reserveCapacity(most)
        for tunnel in topology.tunnels {
            let previous = before[tunnel.name]
            let asked = tunnel.children.map { PairRequest(tunnel, $0, owner: 0) }
            let byHand = (previous?.children ?? []).filter { $0.origin == .runtime && $0.pair != nil }
            let ownersKnown = known.isEmpty ? [] : asked.map { known[$0.sameness]?.pair?.owner }
            let lanes = TunnelLanes(
                tunnel.children, workers: workers, first: previous?.owners.first, ownersKnown: ownersKnown,
                byHand: byHand.map(\.lane), next: assigned)
            var entry = Entry(
                name: tunnel.name, owners: lanes.owners, lifetime: tunnel.lifetime, children: [],
                remote: tunnel.remoteAddress)
            if let previous, previous.remote == tunnel.remoteAddress {
                entry.peer = tunnel.profile.natTraversal ? previous.peer : nil
                entry.path = tunnel.learnsPathMTU ? previous.path : nil
            }
            if lanes.isNew { assigned += lanes.owners.count }
            let retired = TunnelBook.retiredByTime(tunnel.children, lanes.assignment, clock)
            let spis = Set(tunnel.children.flatMap { [$0.outbound.spi, $0.inbound.spi] })
            for (index, description) in tunnel.children.enumerated() {
                var request = asked[index]
                let lane = lanes.assignment.lanes[index]
                request.owner = entry.owners[lane]
                let kept =
                    known.isEmpty
                    ? nil : known[request.sameness].flatMap { $0.pair?.owner == request.owner ? $0 : nil }
                let begins = lanes.assignment.begins[index]
                // What has waited without a time goes on to wait, wherever it stands in the file now.
                var child = Child(
                    description: description, origin: .file, lane: lane,
                    begins: begins && (description.notBefore != nil || kept?.begins ?? true))
                child.activated = kept?.activated
                child.pair = kept?.pair
                if let kept {
                    (child.state, child.outboundLimits, child.inboundLimits) = (
                        kept.state, kept.outboundLimits, kept.inboundLimits
                    )
                }
                let wasRetired =
                    previous?.children.contains {
                        $0.state == .retired && $0.spis == child.spis && $0.keys == child.keys
                    } ?? false
                if kept == nil && (wasRetired || retired.contains(index)) {
                    child.state = .retired
                } else if kept == nil {
                    requests.append(request)
                    places.append((next.count, entry.children.count))
                }
                entry.children.append(child)
            }
            // What the file names now is the file's; what was made for other ends or another profile is of no use.
            entry.children += byHand.filter {
                $0.fits(tunnel) && spis.isDisjoint(with: $0.spis) && !file.names($0)
            }
            next.append(entry)
        }
        let pairs = try installer.install(requests, now: now)
        for (pair, place) in zip(pairs, places) { next[place.entry].children[place.child].pair = pair }
        entries = next
        self.assigned = assigned
        self.clock = clock
    }

    /// What may be only once in a gateway and is in a file: inbound SPIs and AES keys.
    private struct FileNames {
        private var inbound: Set<SPI> = []
        private var keys: Set<KeyFingerprint> = []

        init(_ topology: Topology, isNeeded: Bool) {
            guard isNeeded else { return }
            for child in topology.tunnels.lazy.flatMap(\.children) {
                inbound.insert(child.inbound.spi)
                keys.formUnion([child.outbound.key.fingerprint, child.inbound.key.fingerprint])
            }
        }

        func names(_ child: Child) -> Bool {
            inbound.contains(child.description.inbound.spi) || !keys.isDisjoint(with: child.keys)
        }
    }

    /// Of a tunnel's children those that are over by the schedule alone: those of two later times have begun.
    private static func retiredByTime(_ children: [Topology.Child], _ lanes: LaneAssignment, _ now: Int64) -> Set<Int> {
        guard children.count > 1 else { return [] }
        let begun = LaneAssignment.generations(children).filter { children[$0[0]].notBefore ?? .min <= now }
        return Set(begun.dropLast(2).joined().filter { children[$0].notBefore != nil || lanes.begins[$0] })
    }

    /// Every pair that is installed.
    var pairs: [AssociationPair] { entries.flatMap { $0.children.compactMap(\.pair) } }
}

extension TunnelBook {
    /// Whether tables of the same topology would say the same.
    func saysSame(as other: TunnelBook) -> Bool {
        states.elementsEqual(other.states) {
            $0.lanes.elementsEqual($1.lanes) { $0.outbound === $1.outbound && $0.owner == $1.owner }
                && $0.refusal == $1.refusal && $0.inbound.elementsEqual($1.inbound, by: ===)
        } && entries.elementsEqual(other.entries) { $0.peer == $1.peer && $0.path == $1.path }
    }
}

extension PairRequest {
    init(_ tunnel: Topology.Tunnel, _ child: Topology.Child, owner: Int) {
        self.init(
            local: tunnel.localAddress, remote: tunnel.remoteAddress, profile: tunnel.profile, owner: owner,
            outbound: child.outbound, inbound: child.inbound, lifetime: tunnel.lifetime)
    }
}

// MARK: By hand

extension TunnelBook {
    /// Index of a tunnel; nil when there is none of that name.
    func index(of tunnel: String) -> Int? { entries.firstIndex { $0.name == tunnel } }

    /// Index of the child of a tunnel that has an SA with this SPI, either way, and is not retired.
    func child(with spi: SPI, in entry: Int) -> Int? {
        entries[entry].children.firstIndex { $0.pair != nil && $0.spis.contains(spi) }
    }

    /// Adds a pair that is installed already.
    mutating func add(_ description: Topology.Child, _ pair: AssociationPair, to entry: Int) {
        var child = Child(
            description: description, origin: .runtime,
            lane: entries[entry].owners.firstIndex(of: pair.owner) ?? 0, begins: description.notBefore != nil)
        child.pair = pair
        entries[entry].children.append(child)
    }

    /// Sends under a child from now on.
    mutating func activate(_ child: Int, in entry: Int, now: Int64) {
        activations += 1
        clock = max(clock, now)
        entries[entry].children[child].activated = (clock, activations)
    }

    /// Takes a child out.
    mutating func remove(_ child: Int, from entry: Int) { entries[entry].children.remove(at: child) }
}

// MARK: By time and limits

extension TunnelBook {
    /// Moves every tunnel to where it is at `now`, in seconds since 1970; tells what that changed.
    mutating func advance(to now: Int64) -> [Event] {
        clock = max(clock, now)
        let now = clock
        var events: [Event] = []
        forgetPaths(now)
        for index in entries.indices {
            tellLimits(index, now, &events)
            for lane in entries[index].owners.indices { choose(index, lane, now, &events) }
        }
        return events
    }

    /// When `advance` may have something to do again, as far as time decides it; nil: never.
    func nextChange(after now: Int64) -> Int64? {
        var times: [Int64] = []
        for entry in entries {
            if let path = entry.path { times.append(path.endsAt) }
            for child in entry.children {
                if let at = child.description.notBefore { times.append(at) }
                guard let pair = child.pair else { continue }
                for limit in [entry.lifetime.soft.seconds, entry.lifetime.hard.seconds].compactMap({ $0 }) {
                    let seconds = Int64(clamping: limit)
                    times.append(pair.outboundRecord.installedAt.addingReportingOverflow(seconds).partialValue)
                    times.append(pair.inboundRecord.installedAt.addingReportingOverflow(seconds).partialValue)
                }
            }
        }
        return times.filter { $0 > now }.min()
    }

    private mutating func tellLimits(_ index: Int, _ now: Int64, _ events: inout [Event]) {
        let entry = entries[index]
        for (number, child) in entry.children.enumerated() {
            guard let pair = child.pair else { continue }
            let (outboundSoft, outboundHard) = pair.outbound.reference.with { ($0.isSoftExpired, $0.isHardExpired) }
            let (inboundSoft, inboundHard) = pair.inbound.reference.with { ($0.isSoftExpired, $0.isHardExpired) }
            func isPast(_ limit: UInt64?, _ record: SARecord) -> Bool {
                limit.map { now.subtractingReportingOverflow(record.installedAt).partialValue >= Int64(clamping: $0) }
                    ?? false
            }
            let soft = entry.lifetime.soft.seconds, hard = entry.lifetime.hard.seconds
            let outbound = LimitsTold(
                soft: outboundSoft || isPast(soft, pair.outboundRecord),
                hard: outboundHard || isPast(hard, pair.outboundRecord), isSpent: pair.isSpent)
            let inbound = LimitsTold(
                soft: inboundSoft || isPast(soft, pair.inboundRecord),
                hard: inboundHard || isPast(hard, pair.inboundRecord))
            func tell(_ kind: Event.Kind, _ direction: Direction, _ was: Bool, _ now: Bool, _ spi: SPI) {
                guard now && !was else { return }
                events.append(Event(kind: kind, tunnel: entry.name, direction: direction, spi: spi))
            }
            let (out, into) = (child.description.outbound.spi, child.description.inbound.spi)
            tell(.softLimit, .outbound, child.outboundLimits.soft, outbound.soft, out)
            tell(.hardLimit, .outbound, child.outboundLimits.hard, outbound.hard, out)
            tell(.softLimit, .inbound, child.inboundLimits.soft, inbound.soft, into)
            tell(.hardLimit, .inbound, child.inboundLimits.hard, inbound.hard, into)
            if inbound.hard { pair.inbound.reference.with { $0.expire() } }
            entries[index].children[number].outboundLimits = outbound
            entries[index].children[number].inboundLimits = inbound
        }
    }
}
