import IPsec

/// Finds tunnels that claim the same traffic, without comparing each with each: a site may have 10 000 of them.
///
/// Blocks are intervals that nest or share nothing. Sorted, those inside of a block stand together behind it, and those
/// around it are found by its own leading bits. A tunnel is compared with those whose remote blocks meet its own, or
/// whose local blocks do, whichever are fewer: branches of a hub share what is local, and tunnels for all traffic share
/// what is remote. Which it is, is told for each family by itself, since a tunnel may be the one for IPv4 and the other
/// for IPv6.
struct SelectorOverlaps {
    /// What a tunnel carries: from any of the local blocks to any of the remote ones of the same family, and back.
    struct Selectors {
        var local: [IPPrefix]
        var remote: [IPPrefix]
    }

    /// Two blocks that share addresses, the earlier tunnel's first.
    typealias Blocks = (IPPrefix, IPPrefix)

    /// Traffic that two tunnels claim.
    struct Overlap {
        /// Indices of the tunnels.
        var earlier: Int, later: Int
        /// All four of one family.
        var local: Blocks, remote: Blocks
        /// Whether they have equal blocks, and not only such as share addresses.
        var isEqual: Bool
    }

    private let tunnels: [Selectors]
    private let local: BlockIndex
    private let remote: BlockIndex

    init(_ tunnels: [Selectors]) {
        self.tunnels = tunnels
        local = BlockIndex(tunnels.map(\.local))
        remote = BlockIndex(tunnels.map(\.remote))
    }

    /// Calls `body` for each pair of tunnels that claim the same traffic, by the later one and then by the earlier one.
    /// Returns how many pairs were compared.
    @discardableResult
    func forEach(_ body: (Overlap) -> Void) -> Int {
        var compared = 0
        for (index, tunnel) in tunnels.enumerated() {
            let earlier = IPFamily.allCases.flatMap { family in
                let ours = tunnel.local.filter { $0.family == family }
                let theirs = tunnel.remote.filter { $0.family == family }
                return local.hits(ours) < remote.hits(theirs)
                    ? local.tunnels(meeting: ours) : remote.tunnels(meeting: theirs)
            }
            var last = -1
            for other in earlier.sorted() where other < index && other != last {
                last = other
                compared += 1
                guard let found = SelectorOverlaps.overlap(tunnels[other], tunnel) else { continue }
                body(
                    Overlap(
                        earlier: other, later: index, local: found.local, remote: found.remote, isEqual: found.isEqual))
            }
        }
        return compared
    }

    private typealias Found = (local: Blocks, remote: Blocks, isEqual: Bool)

    /// What two tunnels share in one family: equal pairs of blocks if there are any, IPv4 before IPv6.
    private static func overlap(_ left: Selectors, _ right: Selectors) -> Found? {
        var found: Found?
        for family in IPFamily.allCases {
            guard let remote = overlap(left.remote, right.remote, family),
                let local = overlap(left.local, right.local, family)
            else { continue }
            if local.isEqual && remote.isEqual { return (local.blocks, remote.blocks, true) }
            found = found ?? (local.blocks, remote.blocks, false)
        }
        return found
    }

    /// Two blocks of the lists, of this family, that share addresses, equal ones if there are any.
    private static func overlap(
        _ left: [IPPrefix], _ right: [IPPrefix], _ family: IPFamily
    ) -> (blocks: Blocks, isEqual: Bool)? {
        var found: Blocks?
        for one in left where one.family == family {
            for other in right where one.overlaps(other) {
                if one == other { return ((one, other), true) }
                found = found ?? (one, other)
            }
        }
        return found.map { ($0, false) }
    }
}

/// Blocks of all tunnels, in an order in which what a block meets is found by halving.
private struct BlockIndex {
    /// By family and address; a block before those inside of it.
    private struct Place: Comparable {
        var family: IPFamily
        var address: UInt128
        var length: Int

        init(_ block: IPPrefix) {
            (family, address, length) = (block.family, block.address.rawValue, block.length)
        }

        /// Behind all blocks that begin with `last`.
        init(behind last: UInt128, of family: IPFamily) {
            (self.family, address, length) = (family, last, .max)
        }

        static func < (left: Place, right: Place) -> Bool {
            (left.family, left.address, left.length) < (right.family, right.address, right.length)
        }
    }

    private let entries: [(place: Place, tunnel: Int)]
    /// Prefix lengths that occur in each family, ascending.
    private let lengths: [IPFamily: [Int]]

    init(_ lists: [[IPPrefix]]) {
        entries = lists.enumerated().flatMap { tunnel, blocks in blocks.map { (Place($0), tunnel) } }
            .sorted { ($0.0, $0.1) < ($1.0, $1.1) }
        lengths = Dictionary(grouping: entries.map(\.place), by: \.family).mapValues { places in
            Set(places.map(\.length)).sorted()
        }
    }

    /// How many blocks meet those of `blocks`, each as often as it does.
    func hits(_ blocks: [IPPrefix]) -> Int {
        blocks.reduce(0) { $0 + ranges(meeting: $1).reduce(0) { $0 + $1.count } }
    }

    /// Whose blocks those are, as often as they do and in no order.
    func tunnels(meeting blocks: [IPPrefix]) -> [Int] {
        blocks.flatMap { block in ranges(meeting: block).flatMap { entries[$0].map(\.tunnel) } }
    }

    /// Where the blocks stand that are around `block`, a range for each length, and those that are it or inside of it.
    private func ranges(meeting block: IPPrefix) -> [Range<Int>] {
        let around = (lengths[block.family] ?? []).prefix { $0 < block.length }.map { length in
            var place = Place(IPPrefix(containing: block.address, length: length))
            let begin = first(from: place)
            place.length += 1
            return begin..<first(from: place)
        }
        let addresses: UInt128 = block.family == .v4 ? 0xffff_ffff : .max
        let last = block.address.rawValue | addresses & ~block.mask
        return around + [first(from: Place(block))..<first(from: Place(behind: last, of: block.family))]
    }

    /// The first entry that does not stand before `place`.
    private func first(from place: Place) -> Int {
        var low = 0, high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].place < place { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
