// Who answers to an address on a link: a worker's own copy of what ARP and neighbour discovery found out. RFC 826, RFC
// 1122 section 2.3.2, RFC 4861 section 7.3.
//
//   incomplete --- answer --> reachable --- 30 s, still used --> stale --- answer --> reachable
//       |                                                          |
//       '-- 3 requests, 1 s apart, no answer: waiting packets are dropped; a new packet starts over
//
// What was heard without having been asked for counts as reachable for 5 s only (DELAY_FIRST_PROBE_TIME).
//
// Workers share nothing: what the link says goes round all of them (Worker+Discovery.swift).

import Wire

/// One neighbour: 64 octets, its Ethernet header ready to be copied in front of a packet.
struct Neighbor: BitwiseCopyable {
    enum State: UInt8 { case free, incomplete, reachable, stale, permanent }

    /// Destination and source MAC as the header's first 12 octets hold them: two words as numbers in network order.
    var headerFirst: UInt64 = 0
    var headerSecond: UInt32 = 0
    /// Of what is sent to it: what its address is of.
    var etherType: UInt16 = 0
    var port: UInt16 = 0
    /// As `NeighborKey` has it.
    var bits: UInt128 = 0
    /// When something is due: a request while incomplete or stale, a new look when reachable. In clock ticks.
    var dueAt: UInt64 = 0
    /// When a packet last went there.
    var usedAt: UInt64 = 0
    /// Packets that wait for it.
    var waiting: UInt16 = 0
    var requestsLeft: UInt8 = 0
    var state: State = .free

    /// Whether packets can go there.
    @inline(__always)
    var isUsable: Bool { state.rawValue >= State.reachable.rawValue }

    var key: NeighborKey { NeighborKey(port: port, bits: bits) }

    var destination: MACAddress { MACAddress(rawValue: headerFirst >> 16) }

    mutating func setHeader(destination: MACAddress, source: MACAddress) {
        headerFirst = destination.rawValue << 16 | source.rawValue >> 32
        headerSecond = UInt32(truncatingIfNeeded: source.rawValue)
    }
}

/// The neighbours of all ports: pinned ones with fixed indices, then those found on demand, at most `dynamicLimit`.
struct NeighborTable: ~Copyable {
    /// On-demand neighbours at once; the longest unused makes room.
    static let dynamicLimit = 4096
    /// Requests before giving up, a second apart.
    static let requestLimit: UInt8 = 3
    static let reachableSeconds: UInt64 = 30, unverifiedSeconds: UInt64 = 5

    let entries: FixedArray<Neighbor>
    private let buckets: FixedArray<UInt32>
    private let pinnedCount: Int
    private(set) var count: Int
    // The one that was found last: traffic comes in runs, and a look at an entry that will be read anyway is cheaper
    // than a search.
    private var latest = 0
    /// How often an index came to mean another neighbour.
    private(set) var changes: UInt64 = 0
    // Where the search for a neighbour that can go continues.
    private var hand: Int

    private static let empty: UInt32 = .max

    /// A table in which `pinned` have the indices 0…, all incomplete.
    init(pinned: [NeighborKey]) {
        pinnedCount = pinned.count
        let capacity = pinned.count + NeighborTable.dynamicLimit
        entries = FixedArray(repeating: Neighbor(), count: capacity)
        var size = 64
        while size < capacity * 2 { size *= 2 }
        buckets = FixedArray(repeating: NeighborTable.empty, count: size)
        count = pinned.count
        hand = pinned.count
        for (index, key) in pinned.enumerated() { insert(key, at: index) }
    }

    @inline(__always)
    private func bucket(_ key: NeighborKey) -> Int {
        // IPv6 neighbours of a link share the upper half; what is below it spreads IPv4 as well.
        let high = UInt64(truncatingIfNeeded: key.bits >> 64), low = UInt64(truncatingIfNeeded: key.bits)
        let mixed = (low ^ high &* 0xff51_afd7_ed55_8ccd ^ UInt64(key.port) << 48) &* 0x9e37_79b9_7f4a_7c15
        return Int(truncatingIfNeeded: mixed >> 32) & (buckets.count &- 1)
    }

    /// The index of a neighbour; nil when it is not known.
    @inline(__always)
    func find(_ key: NeighborKey) -> Int? {
        var slot = bucket(key)
        while buckets[slot] != NeighborTable.empty {
            let index = Int(buckets[slot])
            if entries[index].bits == key.bits && entries[index].port == key.port { return index }
            slot = (slot &+ 1) & (buckets.count &- 1)
        }
        return nil
    }

    /// The index of a neighbour, made incomplete when it was not known; nil when every place is waited for.
    @inline(__always)
    mutating func findOrInsert(_ key: NeighborKey) -> Int? {
        // Free entries have port 0 and no address, which no key has.
        if latest < count && entries[latest].bits == key.bits && entries[latest].port == key.port { return latest }
        guard let index = searchOrInsert(key) else { return nil }
        latest = index
        return index
    }

    @inline(never)
    private mutating func searchOrInsert(_ key: NeighborKey) -> Int? {
        if let known = find(key) { return known }
        if count < entries.count {
            count += 1
            insert(key, at: count - 1)
            return count - 1
        }
        guard let index = evict() else { return nil }
        insert(key, at: index)
        return index
    }

    private mutating func insert(_ key: NeighborKey, at index: Int) {
        changes &+= 1
        entries[index] = Neighbor()
        entries[index].bits = key.bits
        entries[index].etherType = key.isIPv4 ? EtherType.ipv4 : EtherType.ipv6
        entries[index].port = key.port
        entries[index].state = .incomplete
        var slot = bucket(key)
        while buckets[slot] != NeighborTable.empty { slot = (slot + 1) & (buckets.count - 1) }
        buckets[slot] = UInt32(index)
    }

    /// Frees the longest unused of the next 64 neighbours that are neither pinned nor waited for, and looks further
    /// only when none of them can go.
    private mutating func evict() -> Int? {
        var oldest: Int?
        for looked in 0..<entries.count - pinnedCount {
            if looked >= 64 && oldest != nil { break }
            hand = hand + 1 < entries.count ? hand + 1 : pinnedCount
            let candidate = entries[hand]
            guard candidate.state != .permanent, candidate.waiting == 0 else { continue }
            if oldest.map({ candidate.usedAt < entries[$0].usedAt }) ?? true { oldest = hand }
        }
        guard let oldest else { return nil }
        remove(oldest)
        return oldest
    }

    /// Takes a neighbour out of its bucket and closes the gap, so that searches need no tombstones.
    private func remove(_ index: Int) {
        let mask = buckets.count - 1
        var gap = bucket(entries[index].key)
        while buckets[gap] != UInt32(index) { gap = (gap + 1) & mask }
        var slot = (gap + 1) & mask
        while buckets[slot] != NeighborTable.empty {
            let home = bucket(entries[Int(buckets[slot])].key)
            // It may move back into the gap when its home does not lie behind the gap.
            if (slot - home) & mask >= (slot - gap) & mask {
                buckets[gap] = buckets[slot]
                gap = slot
            }
            slot = (slot + 1) & mask
        }
        buckets[gap] = NeighborTable.empty
    }
}
