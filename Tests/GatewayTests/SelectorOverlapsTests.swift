import IPsec
import SeededRandom
import Testing

@testable import Gateway

@Suite("Tunnels that claim the same traffic")
struct SelectorOverlapsTests {
    private typealias Selectors = SelectorOverlaps.Selectors

    /// What is said of a pair, as text.
    private static func text(_ overlap: SelectorOverlaps.Overlap) -> String {
        "\(overlap.later) \(overlap.earlier): \(overlap.local.0) \(overlap.local.1), \(overlap.remote.0) "
            + "\(overlap.remote.1) \(overlap.isEqual)"
    }

    /// Each tunnel compared with each before it.
    private static func model(_ tunnels: [Selectors]) -> [String] {
        func meeting(_ left: [IPPrefix], _ right: [IPPrefix]) -> (blocks: (IPPrefix, IPPrefix), isEqual: Bool)? {
            let pairs = left.flatMap { one in right.map { (one, $0) } }.filter { one, other in
                one.contains(other.address) || other.contains(one.address)
            }
            if let equal = pairs.first(where: { $0 == $1 }) { return (equal, true) }
            return pairs.first.map { ($0, false) }
        }
        /// Traffic has one family: blocks of the two never meet.
        func meeting(_ earlier: Int, _ later: Int, _ family: IPFamily) -> SelectorOverlaps.Overlap? {
            let all = [tunnels[earlier].local, tunnels[later].local, tunnels[earlier].remote, tunnels[later].remote]
                .map { $0.filter { $0.family == family } }
            guard let local = meeting(all[0], all[1]), let remote = meeting(all[2], all[3]) else { return nil }
            return SelectorOverlaps.Overlap(
                earlier: earlier, later: later, local: local.blocks, remote: remote.blocks,
                isEqual: local.isEqual && remote.isEqual)
        }
        return tunnels.indices.flatMap { later in
            (0..<later).compactMap { earlier in
                let found = IPFamily.allCases.compactMap { meeting(earlier, later, $0) }
                return (found.first(where: \.isEqual) ?? found.first).map(text)
            }
        }
    }

    /// Blocks of spaces that are small enough for them to meet, at their beginnings, middles and ends.
    private static func blocks(_ random: inout SplitMix64, bits: Int) -> [IPPrefix] {
        var blocks: [IPPrefix] = []
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            let family = IPFamily.allCases.randomElement(using: &random) ?? .v4, all = family.bits
            // The middle of IPv6 has the same low words as IPv4's blocks, so that a mix-up would meet.
            let base: UInt128 = [0, 0x0a00_0000, 1 << 64, .max << 8, .max].randomElement(using: &random) ?? 0
            let host = UInt128(UInt32.random(in: 0..<1 << UInt32(bits), using: &random))
            let length =
                Int.random(in: 0..<16, using: &random) == 0 ? 0 : Int.random(in: all - 2 - bits...all, using: &random)
            let number = base | host
            let address = family == .v4 ? IPAddress(v4: UInt32(truncatingIfNeeded: number)) : IPAddress(v6: number)
            let block = IPPrefix(containing: address, length: length)
            if !blocks.contains(block) { blocks.append(block) }
        }
        return blocks
    }

    @Test("all pairs and their blocks are those of the model", arguments: 1...6 as ClosedRange<UInt64>)
    func model(seed: UInt64) {
        var random = SplitMix64(seed: seed), found = 0
        for round in 0..<200 {
            let bits = Int.random(in: 1...8, using: &random)
            let tunnels = (0..<Int.random(in: 0...20, using: &random)).map { _ in
                Selectors(
                    local: SelectorOverlapsTests.blocks(&random, bits: bits),
                    remote: SelectorOverlapsTests.blocks(&random, bits: bits))
            }
            var told: [String] = []
            SelectorOverlaps(tunnels).forEach { told.append(SelectorOverlapsTests.text($0)) }
            #expect(told == SelectorOverlapsTests.model(tunnels), "seed \(seed), round \(round)")
            found += told.count
        }
        #expect(found > 500, "seed \(seed)")
    }

    private static func block(_ address: Int, _ length: Int) -> IPPrefix {
        IPPrefix(containing: IPAddress(v4: UInt32(address)), length: length)
    }

    @Test("sites of 20 000 tunnels take no comparison where nothing is shared, and one where two tunnels share it")
    func comparisons() {
        let count = 20_000, any = SelectorOverlapsTests.block(0, 0),
            office = SelectorOverlapsTests.block(0xac10_0000, 12)
        // A hub's branches, and tunnels for all traffic of a network each.
        let hub = (0..<count).map { index in
            Selectors(local: [office], remote: [SelectorOverlapsTests.block(0x0a00_0000 + index << 8, 24)])
        }
        let full = (0..<count).map { index in
            Selectors(local: [SelectorOverlapsTests.block(0x0b00_0000 + index << 8, 24)], remote: [any])
        }
        // Both in one: what is shared in IPv4 is local, and in IPv6 remote.
        let both = (0..<count).map { index in
            let own = IPPrefix(containing: IPAddress(v6: 0xfd00 << 112 | UInt128(index) << 64), length: 64)
            return Selectors(
                local: [office, own], remote: [SelectorOverlapsTests.block(0x0a00_0000 + index << 8, 24), .any(.v6)])
        }
        for tunnels in [hub, full, both] { #expect(SelectorOverlaps(tunnels).forEach { _ in } == 0) }
        var told: [SelectorOverlaps.Overlap] = []
        let twice = hub + [hub[77]]
        #expect(SelectorOverlaps(twice).forEach { told.append($0) } == 1)
        #expect(told.map(\.earlier) == [77] && told.map(\.later) == [count] && told.map(\.isEqual) == [true])
    }
}
