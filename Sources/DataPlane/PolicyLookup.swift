import CDPDK
import Wire

/// One direction of the SPD as a worker reads it.
@safe
struct PolicyView {
    let v4: UnsafeMutableRawPointer?
    let v6: UnsafeMutableRawPointer?
    let entries: FixedArrayView<PolicyEntry>
    let counters: PolicyCounters.Side

    init(_ classifier: PolicyClassifier, _ counters: PolicyCounters.Side) {
        unsafe v4 = unsafe classifier.v4
        unsafe v6 = unsafe classifier.v6
        entries = classifier.entries.unownedView
        self.counters = counters
    }
}

/// The policy pass: asks a classifier about the packets of a list that need a verdict, all at once.
///
/// List them by `append`, then `classify`. Neighbours that no policy can tell apart are a run, which is asked about,
/// counted, and given a verdict once: traffic comes in runs.
@safe
struct PolicyLookup: ~Copyable {
    /// Positions in the list of the packets that are asked about.
    let positions: FixedArray<UInt32>
    private let results: FixedArray<UInt32>
    /// Where each run begins among `positions`, and the octets of all packets before it. One more than there are runs.
    private let starts: FixedArray<UInt32>
    private let octets: FixedArray<UInt64>
    /// Of the first packet of each run, and where that is.
    private let words: FixedArray<cdpdk_flow_key>
    private let keys: FixedArray<UnsafePointer<cdpdk_flow_key>?>
    private let keys6: FixedArray<UnsafePointer<cdpdk_flow_key6>?>
    /// Of a list of both families: a family's results, and the runs that they are of.
    private let partial: FixedArray<UInt32>
    private let places: FixedArray<UInt32>
    private let places6: FixedArray<UInt32>
    private(set) var count = 0
    /// Runs among those that were asked about.
    private(set) var runs = 0

    init(capacity: Int) {
        positions = FixedArray(repeating: 0, count: capacity)
        results = FixedArray(repeating: 0, count: capacity)
        starts = FixedArray(repeating: 0, count: capacity + 1)
        octets = FixedArray(repeating: 0, count: capacity + 1)
        words = FixedArray(repeating: cdpdk_flow_key(), count: capacity)
        unsafe keys = FixedArray(repeating: nil, count: capacity)
        unsafe keys6 = FixedArray(repeating: nil, count: capacity)
        partial = FixedArray(repeating: 0, count: capacity)
        places = FixedArray(repeating: 0, count: capacity)
        places6 = FixedArray(repeating: 0, count: capacity)
        for index in 0..<capacity { unsafe keys[index] = unsafe UnsafePointer(words.unsafePointer(at: index)) }
    }

    mutating func removeAll() {
        count = 0
        runs = 0
    }

    /// Adds the packet at `position` of the list.
    @inline(__always)
    mutating func append(_ position: Int) {
        positions[count] = UInt32(truncatingIfNeeded: position)
        count &+= 1
    }

    /// Adds the packets from `first` to before `end`. Traps when there is no room for them.
    @inline(__always)
    mutating func append(from first: Int, to end: Int) {
        let start = count
        positions.number(from: start, to: start &+ end &- first, beginning: UInt32(truncatingIfNeeded: first))
        count = start &+ end &- first
    }

    /// The verdict on the packets of a run.
    @inline(__always)
    mutating func verdict(_ run: Int) -> PolicyResult { PolicyResult(rawValue: results[run]) }

    /// Where a run begins among `positions`; of the run behind the last, where that ends.
    @inline(__always)
    mutating func start(_ run: Int) -> Int { Int(starts[run]) }

    /// Asks about all that were added, and counts. What a tunnel of another worker covers is counted there. Of a tunnel
    /// with lanes the verdict names the entry of the lane that a run's flow has.
    @inline(__always)
    mutating func classify(
        _ list: borrowing PacketSlots, _ policies: PolicyView, _ tunnels: FixedArrayView<TunnelEntry>,
        _ lanes: LaneView, worker: Int?
    ) {
        runs = list.count6 == 0 ? ask(list, policies) : askBoth(list, policies)
        count(runs, list, policies, tunnels, lanes, worker: worker)
    }

    /// Asks about IPv4 packets; returns how many runs there are.
    @inline(__always)
    private mutating func ask(_ list: borrowing PacketSlots, _ policies: PolicyView) -> Int {
        var distinct = 0
        var total: UInt64 = 0
        var last = FlowWords.none
        let list = list.view, positions = self.positions.unownedView, count = self.count
        var index = 0
        while index < count {
            let ip = list[Int(positions[index])].ip
            // What is like the packet before it is seen without its words: 12 of 50 instructions less.
            if !last.surelyHolds(ip) && begin(distinct, index, total, ip, &last) { distinct &+= 1 }
            total &+= UInt64(truncatingIfNeeded: ip.count)
            index &+= 1
        }
        begin(distinct, count, total)
        unsafe PolicyLookup.classify(policies.v4, keys, results, distinct)
        return distinct
    }

    /// Begins a run with a packet of another flow than `last`, and only with such.
    @inline(never)
    private mutating func begin(
        _ run: Int, _ index: Int, _ octets: UInt64, _ ip: PacketBytes, _ last: inout FlowWords
    ) -> Bool {
        let flow = FlowWords(ip)
        guard flow != last else { return false }
        words[run] = flow.key
        begin(run, index, octets)
        last = flow
        return true
    }

    @inline(__always)
    private mutating func begin(_ run: Int, _ index: Int, _ octets: UInt64) {
        starts[run] = UInt32(truncatingIfNeeded: index)
        self.octets[run] = octets
    }

    @inline(__always)
    private static func classify(
        _ classifier: UnsafeMutableRawPointer?, _ keys: borrowing FixedArray<UnsafePointer<cdpdk_flow_key>?>,
        _ results: borrowing FixedArray<UInt32>, _ count: Int
    ) {
        guard let classifier = unsafe classifier else { return clear(results, count) }
        unsafe cdpdk_classify(
            classifier, keys.unsafePointer(at: 0), results.unsafePointer(at: 0), UInt32(truncatingIfNeeded: count))
    }

    @inline(never)
    private static func clear(_ results: borrowing FixedArray<UInt32>, _ count: Int) {
        for index in 0..<count { results[index] = 0 }
    }

    /// The same for a list of both families: a classifier for each.
    @inline(never)
    private mutating func askBoth(_ list: borrowing PacketSlots, _ policies: PolicyView) -> Int {
        var distinct = 0, distinct4 = 0, distinct6 = 0
        var total: UInt64 = 0
        var index = 0
        while index < count {
            let slot = Int(positions[index])
            if index == 0 || !list.haveSameKey(slot, Int(positions[index &- 1])) {
                if list[slot].isIPv6 {
                    unsafe keys6[distinct6] = unsafe list.unsafeKey6(slot)
                    places6[distinct6] = UInt32(truncatingIfNeeded: distinct)
                    distinct6 &+= 1
                } else {
                    words[distinct4] = FlowWords(list[slot].ip).key
                    places[distinct4] = UInt32(truncatingIfNeeded: distinct)
                    distinct4 &+= 1
                }
                begin(distinct, index, total)
                distinct &+= 1
            }
            total &+= UInt64(truncatingIfNeeded: list[slot].ip.count)
            index &+= 1
        }
        begin(distinct, count, total)
        if distinct4 > 0 {
            unsafe PolicyLookup.classify(policies.v4, keys, partial, distinct4)
            PolicyLookup.scatter(partial, places, distinct4, results)
        }
        if distinct6 > 0 {
            if let classifier = unsafe policies.v6 {
                unsafe cdpdk_classify6(
                    classifier, keys6.unsafePointer(at: 0), partial.unsafePointer(at: 0),
                    UInt32(truncatingIfNeeded: distinct6))
            } else {
                PolicyLookup.clear(partial, distinct6)
            }
            PolicyLookup.scatter(partial, places6, distinct6, results)
        }
        return distinct
    }

    private static func scatter(
        _ partial: borrowing FixedArray<UInt32>, _ places: borrowing FixedArray<UInt32>, _ count: Int,
        _ results: borrowing FixedArray<UInt32>
    ) {
        var index = 0
        while index < count {
            results[Int(places[index])] = partial[index]
            index &+= 1
        }
    }

    /// Puts what results stand for in their place, and counts each run for its policy.
    @inline(__always)
    private mutating func count(
        _ distinct: Int, _ list: borrowing PacketSlots, _ policies: PolicyView, _ tunnels: FixedArrayView<TunnelEntry>,
        _ lanes: LaneView, worker: Int?
    ) {
        var run = 0
        while run < distinct {
            let entry = policies.entries[Int(results[run])]
            results[run] = entry.result.rawValue
            // Whoever owns the tunnel's SAs asks again.
            var isOthers =
                worker.map { entry.result.action == .protect && Int(tunnels[entry.result.tunnel].owner) != $0 } ?? false
            // Not asked of a tunnel that is this worker's alone, as most are where it matters.
            if isOthers, tunnels[entry.result.tunnel].owner == TunnelEntry.ownersOfLanes {
                isOthers = chooseLane(run, of: entry.result.tunnel, list, tunnels, lanes) != worker
            }
            if !isOthers {
                policies.counters.add(
                    packets: UInt64(starts[run &+ 1] &- starts[run]), octets: octets[run &+ 1] &- octets[run],
                    to: entry.policy)
            }
            run &+= 1
        }
    }

    /// Puts the lane in the place of its tunnel; returns the worker whose it is.
    @inline(never)
    private mutating func chooseLane(
        _ run: Int, of tunnel: Int, _ list: borrowing PacketSlots, _ tunnels: FixedArrayView<TunnelEntry>,
        _ lanes: LaneView
    ) -> Int {
        let slot = Int(positions[Int(starts[run])])
        let hash = list[slot].isIPv6 ? FlowHash.of(list.key6(slot)) : FlowHash.of(FlowWords(list[slot].ip))
        let entry = lanes.entry(of: tunnel, hash: hash)
        results[run] = PolicyResult(.protect(tunnel: entry)).rawValue
        return Int(tunnels[entry].owner)
    }
}
