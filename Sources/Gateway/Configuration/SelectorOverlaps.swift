import IPsec

/// Finds tunnels that claim the same traffic, without comparing each with each: a site may have 10 000 of them.
///
/// Blocks are intervals that nest or share nothing. Sorted, those inside of a block stand together behind it, and those
/// around it are found by its own leading bits. A tunnel is compared with those whose remote blocks meet its own, or
/// whose local blocks do, whichever are fewer: branches of a hub share what is local, and tunnels for all traffic share
/// what is remote.
struct SelectorOverlaps {
    /// What a tunnel carries: from any of the local blocks to any of the remote ones, and back.
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
            let hasFewerLocal = local.hits(tunnel.local) < remote.hits(tunnel.remote)
            let earlier = hasFewerLocal ? local.tunnels(meeting: tunnel.local) : remote.tunnels(meeting: tunnel.remote)
            var last = -1
            for other in earlier.sorted() where other < index && other != last {
                last = other
                compared += 1
                guard let remote = SelectorOverlaps.overlap(tunnels[other].remote, tunnel.remote),
                    let local = SelectorOverlaps.overlap(tunnels[other].local, tunnel.local)
                else { continue }
                body(
                    Overlap(
                        earlier: other, later: index, local: local.blocks, remote: remote.blocks,
                        isEqual: local.isEqual && remote.isEqual))
            }
        }
        return compared
    }

    /// Two blocks of the lists that share addresses, equal ones if there are any.
    static func overlap(_ left: [IPPrefix], _ right: [IPPrefix]) -> (blocks: Blocks, isEqual: Bool)? {
        var found: Blocks?
        for one in left {
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
    private struct Entry {
        var block: IPPrefix
        var tunnel: Int
        /// By address; a block before those inside of it.
        var order: UInt64 { BlockIndex.order(block) }
    }

    private let entries: [Entry]
    /// Prefix lengths that occur, ascending.
    private let lengths: [Int]

    init(_ lists: [[IPPrefix]]) {
        entries = lists.enumerated().flatMap { tunnel, blocks in blocks.map { Entry(block: $0, tunnel: tunnel) } }
            .sorted { ($0.order, $0.tunnel) < ($1.order, $1.tunnel) }
        lengths = Set(entries.map(\.block.length)).sorted()
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
        let around = lengths.prefix { $0 < block.length }.map { length in
            let order = BlockIndex.order(IPPrefix(containing: block.address, length: length))
            return first(from: order)..<first(from: order + 1)
        }
        let last = UInt64(truncatingIfNeeded: (block.address.rawValue | ~block.mask) & 0xffff_ffff)
        return around + [first(from: BlockIndex.order(block))..<first(from: (last + 1) << 6)]
    }

    /// The first entry whose order is not below `order`.
    private func first(from order: UInt64) -> Int {
        var low = 0, high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].order < order { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Lengths up to 32 take 6 bits.
    private static func order(_ block: IPPrefix) -> UInt64 {
        UInt64(block.address.v4Number) << 6 | UInt64(block.length)
    }
}
