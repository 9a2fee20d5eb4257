// One tunnel over several workers: RFC 9611. Such a tunnel has lanes: pairs of SAs that are used at the same time, each
// the property of one worker. Which lane a packet leaves by says the hash of its flow, so that a flow's packets stay in
// order; a key never has two counters, because a lane has one worker.
//
//   flow ---- hash ----> one of the tunnel's places ---- table ----> lane
//
// A place is its own lane's as long as that sends. When a lane ends, each of its places goes to a lane that is left,
// and all other places stay where they are; when it begins again, they come back.

import CDPDK

/// Which lane each place of a tunnel belongs to.
enum LanePlan {
    /// Of each lane: as many as share out a lane that ended among the others.
    static let placesPerLane = 32

    /// The lane of each place, where `isSending` says which lanes send, at least one of them.
    static func places(_ isSending: [Bool]) -> [Int] {
        let sending = isSending.indices.filter { isSending[$0] }
        precondition(!sending.isEmpty, "the flows of a tunnel go somewhere")
        return (0..<isSending.count * placesPerLane).map { place in
            let own = place % isSending.count
            if isSending[own] { return own }
            // The highest wins (rendezvous hashing): another lane that ends takes along its own places alone.
            return sending.max { weight(place, $0) < weight(place, $1) } ?? own
        }
    }

    private static func weight(_ place: Int, _ lane: Int) -> UInt64 {
        mixed(UInt64(place) << 32 | UInt64(lane) &+ 1)
    }

    /// Spreads what differs in any bit over all of them (the finish of SplitMix64).
    @inline(__always)
    static func mixed(_ number: UInt64) -> UInt64 {
        var bits = (number ^ number >> 30) &* 0xbf58_476d_1ce4_e5b9
        bits = (bits ^ bits >> 27) &* 0x94d0_49bb_1331_11eb
        return bits ^ bits >> 31
    }
}

/// The places of a tunnel among those of all.
struct LaneSet: BitwiseCopyable {
    var first: UInt32
    /// None for a tunnel that one worker has alone.
    var count: UInt32
}

/// Lanes as a worker reads them. The entries of lanes stand behind those of the tunnels.
struct LaneView {
    /// Of each tunnel; none where no tunnel has lanes.
    let sets: FixedArrayView<LaneSet>
    /// Indices of tunnel entries.
    let places: FixedArrayView<UInt32>
    /// The tunnel of each lane's entry.
    let owners: FixedArrayView<UInt32>
    /// Entries that are tunnels.
    let tunnels: Int

    /// The entry by which a tunnel with lanes sends a flow.
    @inline(__always)
    func entry(of tunnel: Int, hash: UInt32) -> Int {
        let set = sets[tunnel]
        return Int(places[Int(UInt64(set.first) &+ (UInt64(hash) &* UInt64(set.count)) >> 32)])
    }

    /// The tunnel of an entry.
    func tunnel(of entry: Int) -> Int { entry < tunnels ? entry : Int(owners[entry &- tunnels]) }
}

/// The lanes of all tunnels.
struct LaneTable: ~Copyable {
    /// What of a tunnel's entry is another one's for a lane.
    typealias Entry = (tunnel: Int, lane: TunnelState.Lane)

    private let sets: FixedArray<LaneSet>
    private let places: FixedArray<UInt32>
    private let owners: FixedArray<UInt32>
    private let tunnels: Int

    /// Of tunnels that are in `states`; `entries` gets those of lanes, in the order of their indices.
    init(_ states: [TunnelState], _ entries: inout [Entry]) {
        var sets: [LaneSet] = [], places: [UInt32] = []
        for (tunnel, state) in states.enumerated() where state.sole == nil {
            while sets.count < states.count { sets.append(LaneSet(first: 0, count: 0)) }
            var indices: [UInt32] = []
            for lane in state.lanes {
                indices.append(UInt32(states.count + entries.count))
                if lane.outbound != nil { entries.append((tunnel, lane)) }
            }
            let own = LanePlan.places(state.lanes.map { $0.outbound != nil })
            sets[tunnel] = LaneSet(first: UInt32(places.count), count: UInt32(own.count))
            places += own.map { indices[$0] }
        }
        self.sets = FixedArray(sets)
        self.places = FixedArray(places)
        owners = FixedArray(entries.map { UInt32($0.tunnel) })
        tunnels = states.count
    }

    /// For a worker that goes by the tables it is of.
    var view: LaneView {
        LaneView(sets: sets.unownedView, places: places.unownedView, owners: owners.unownedView, tunnels: tunnels)
    }
}

/// Of a flow, what lanes are chosen by.
enum FlowHash {
    /// Of addresses, protocol and ports. A datagram's fragments all have that of its addresses and protocol, because
    /// only the first shows ports.
    @inline(__always)
    static func of(_ words: FlowWords) -> UInt32 {
        let seen = words.isFirstFragment ? words.rest & FlowWords.protocolMask : words.rest
        return UInt32(truncatingIfNeeded: LanePlan.mixed(LanePlan.mixed(words.addresses) &+ seen) >> 32)
    }

    /// Likewise; fragments have that of their addresses alone, because a later one may not know its protocol: what it
    /// says is the first header behind the fragment header (RFC 8200 section 4.5).
    @inline(__always)
    static func of(_ key: cdpdk_flow_key6) -> UInt32 {
        var bits = LanePlan.mixed(pair(key.source.0, key.source.1))
        bits = LanePlan.mixed(bits &+ pair(key.source.2, key.source.3))
        bits = LanePlan.mixed(bits &+ pair(key.destination.0, key.destination.1))
        bits = LanePlan.mixed(bits &+ pair(key.destination.2, key.destination.3))
        if key.fragment == 0 {
            let ports = UInt64(key.source_port) << 16 | UInt64(key.destination_port)
            bits = LanePlan.mixed(bits &+ (ports | UInt64(key.protocol) << 32))
        }
        return UInt32(truncatingIfNeeded: bits >> 32)
    }

    @inline(__always)
    private static func pair(_ one: UInt32, _ other: UInt32) -> UInt64 { UInt64(one) << 32 | UInt64(other) }
}
