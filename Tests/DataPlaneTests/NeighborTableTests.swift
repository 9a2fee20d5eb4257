import SeededRandom
import Testing
import Wire

@testable import DataPlane

@Suite("Neighbour table")
struct NeighborTableTests {
    /// The table beside a dictionary that is right by being plain.
    private struct Judged: ~Copyable {
        var table: NeighborTable
        var model: [NeighborKey: Int] = [:]
        var owners: [Int: NeighborKey] = [:]
        let pinned: [NeighborKey]
        let context: String

        init(pinned: [NeighborKey], context: String) {
            self.pinned = pinned
            self.context = context
            table = NeighborTable(pinned: pinned)
            for (index, key) in pinned.enumerated() { model[key] = index }
        }

        /// False when the table was found wrong.
        mutating func findOrInsert(_ key: NeighborKey, clock: UInt64) -> Bool {
            let before = model[key]
            let isFull = model.count == table.entries.count
            guard let index = table.findOrInsert(key) else {
                let waited = model.values.count { $0 >= pinned.count && table.entries[$0].waiting > 0 }
                return before == nil && isFull && waited == NeighborTable.dynamicLimit
                    || fail("\(key) found no place, \(waited) of \(model.count) are waited for")
            }
            table.entries[index].usedAt = clock
            if let before { return index == before || fail("\(key) moved from \(before) to \(index)") }
            guard index >= pinned.count, index < table.entries.count else { return fail("\(key) at \(index)") }
            if let evicted = owners[index] {
                guard isFull else { return fail("\(evicted) made room in a table that had some") }
                model[evicted] = nil
                guard table.find(evicted) == nil else { return fail("\(evicted) is found after it went") }
            }
            model[key] = index
            owners[index] = key
            let entry = table.entries[index]
            return entry.bits == key.bits && entry.port == key.port && entry.waiting == 0
                && entry.state == .incomplete || fail("\(key) is \(entry)")
        }

        /// Every key the model knows is found where it says, and the table holds nothing else.
        mutating func agrees(absent: [NeighborKey]) -> Bool {
            for (key, index) in model where table.find(key) != index { return fail("\(key) is not at \(index)") }
            for key in absent where model[key] == nil && table.find(key) != nil { return fail("\(key) is found") }
            return table.count == model.count || fail("counts \(table.count), not \(model.count)")
        }

        func fail(_ text: String) -> Bool {
            Issue.record("\(context): \(text)")
            return false
        }
    }

    private static func key(_ random: inout SplitMix64, universe: Int) -> NeighborKey {
        // Neighbours as they come: blocks of consecutive addresses on a few ports.
        let number = random.below(universe)
        return NeighborKey(port: UInt16(number % 3), address: 0x0a00_0000 + UInt32(number / 3))
    }

    @Test("agrees with a dictionary while neighbours come and go", arguments: seeds(1...6))
    func agreesWithDictionary(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let pinned = (0..<random.below(40)).map { NeighborKey(port: UInt16($0 % 4), address: 0x0a00_0000 + UInt32($0)) }
        var judged = Judged(pinned: pinned, context: "seed \(seed)")
        let universe = NeighborTable.dynamicLimit * random.pick([1, 2, 4])
        for step in 0..<NeighborTable.dynamicLimit * 3 {
            let key = NeighborTableTests.key(&random, universe: universe)
            guard judged.findOrInsert(key, clock: UInt64(step)) else { return }
            // Someone may wait for it; whom nobody waits for any more may go again.
            if let index = judged.model[key], index >= pinned.count {
                judged.table.entries[index].waiting = random.once(in: 16) ? 1 : 0
            }
            if step % 1024 == 0 {
                let absent = (0..<200).map { _ in NeighborTableTests.key(&random, universe: universe) }
                guard judged.agrees(absent: absent) else { return }
            }
        }
        _ = judged.agrees(absent: [])
    }

    @Test("pinned neighbours keep their indices and stay", arguments: seeds(1...3))
    func pinnedStay(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let pinned = (0..<100).map { NeighborKey(port: 7, address: UInt32($0) &* 0x9e37_79b1) }
        var table = NeighborTable(pinned: pinned)
        for _ in 0..<3 * NeighborTable.dynamicLimit {
            let key = NeighborKey(port: 1, address: UInt32(truncatingIfNeeded: random.next()))
            guard let index = table.findOrInsert(key), index >= pinned.count else {
                Issue.record("seed \(seed): \(key) has no place of its own")
                return
            }
        }
        for (index, key) in pinned.enumerated() {
            let found = table.find(key)
            #expect(found == index, "seed \(seed)")
        }
    }

    @Test("one neighbour nobody waits for makes room, wherever it is")
    func lastToGo() throws {
        var table = NeighborTable(pinned: [])
        let limit = UInt32(NeighborTable.dynamicLimit)
        for address in 0..<limit {
            let index = table.findOrInsert(NeighborKey(port: 0, address: address))
            table.entries[try #require(index)].waiting = 1
        }
        let beyond = table.findOrInsert(NeighborKey(port: 0, address: limit))
        #expect(beyond == nil)
        for candidate in [5, limit / 2, limit - 1] {
            let found = table.find(NeighborKey(port: 0, address: candidate))
            let freed = try #require(found)
            table.entries[freed].waiting = 0
            let taken = table.findOrInsert(NeighborKey(port: 1, address: candidate))
            let gone = table.find(NeighborKey(port: 0, address: candidate))
            #expect(taken == freed && gone == nil)
            table.entries[freed].waiting = 1
        }
        for address in 0..<limit where ![5, limit / 2, limit - 1].contains(address) {
            guard table.find(NeighborKey(port: 0, address: address)) != nil else {
                Issue.record("\(address) was waited for and went")
                return
            }
        }
    }

    @Test("a neighbour in use outlives those that are not")
    func usedStay() throws {
        var table = NeighborTable(pinned: [])
        let favourite = NeighborKey(port: 2, address: 1)
        for clock in 1...UInt32(4 * NeighborTable.dynamicLimit) {
            let index = table.findOrInsert(favourite)
            table.entries[try #require(index)].usedAt = UInt64(clock) * 2
            let other = table.findOrInsert(NeighborKey(port: 0, address: clock))
            table.entries[try #require(other)].usedAt = UInt64(clock)
            guard table.find(favourite) == index else {
                Issue.record("it went at \(clock)")
                return
            }
        }
    }

    @Test("an entry is made of the Ethernet header's own octets")
    func header() {
        var neighbor = Neighbor()
        neighbor.setHeader(
            destination: MACAddress(rawValue: 0x0201_0203_0405), source: MACAddress(rawValue: 0x0a0b_0c0d_0e0f))
        #expect(neighbor.headerFirst == 0x0201_0203_0405_0a0b && neighbor.headerSecond == 0x0c0d_0e0f)
        #expect(neighbor.destination.rawValue == 0x0201_0203_0405)
    }
}
