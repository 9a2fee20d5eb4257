import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("SAD")
    struct SADTests {
        init() throws { try TestEnvironment.start() }

        private static func tables(_ spis: [UInt32], workers: Int = 1) throws -> ForwardingTables {
            let keys = try (key(1), key(2))
            let tunnels = try spis.enumerated().map { index, spi in
                try tunnel(
                    index, local: address("192.0.2.1"), remote: address("192.0.2.2"),
                    localSubnets: [prefix("10.0.0.0/8")], remoteSubnets: [prefix("11.0.0.0/8")],
                    spis: (0x1000 + UInt32(index), spi), keys: keys)
            }
            let ports = [port("lan", .protected, ["10.0.1.1/24"]), port("wan", .unprotected, ["192.0.2.1/24"])]
            return try ForwardingTables(
                Topology(ports: ports, routes: [], neighbors: [], tunnels: tunnels, policies: []), workers: workers,
                name: TestEnvironment.name())
        }

        /// SPIs whose search begins at the same slot of a table of `capacity`: the hash's multiplier is undone.
        private static func colliding(_ count: Int, capacity: Int, slot: UInt32) -> [UInt32] {
            var inverse: UInt32 = 1
            for _ in 0..<5 { inverse = inverse &* (2 &- 0x9e37_79b1 &* inverse) }
            let slots = capacity.trailingZeroBitCount
            return (0..<UInt32(count)).map { number in
                let high = slots + 8 < 32 ? (number >> 8) << UInt32(slots + 8) : 0
                return (high | slot << 8 | number & 0xff) &* inverse
            }
        }

        private func expectExactly(_ spis: [UInt32], in tables: ForwardingTables, random: inout SplitMix64) {
            let sad = SADView(slots: tables.associations.unownedView)
            for (index, spi) in spis.enumerated() {
                let slot = sad.find(spi), found = slot.association == nil ? nil : Int(slot.tunnel)
                guard found == index else {
                    Issue.record("SPI \(SPI(rawValue: spi)) of tunnel \(index) finds \(String(describing: found))")
                    return
                }
            }
            let present = Set(spis)
            let near = spis.prefix(200).flatMap { [$0 &+ 1, $0 &- 1, $0 ^ 0x8000_0000] }
            let others = near + [0, .max] + (0..<2000).map { _ in UInt32(truncatingIfNeeded: random.next()) }
            for spi in others where !present.contains(spi) {
                guard sad.find(spi).association == nil else {
                    Issue.record("SPI \(SPI(rawValue: spi)) is nobody's and is found")
                    return
                }
            }
        }

        @Test("every SPI is found and no other", arguments: [0, 1, 3, 4, 5, 16, 1000, 3000])
        func allFound(count: Int) throws {
            var random = SplitMix64(seed: UInt64(count))
            var spis: Set<UInt32> = []
            while spis.count < count { spis.insert(UInt32.random(in: 256...UInt32.max, using: &random)) }
            let ordered = spis.sorted()
            expectExactly(ordered, in: try SADTests.tables(ordered), random: &random)
        }

        @Test(
            "SPIs that all hash to one slot are found too, around the end of the table as well", arguments: [0, 77, -1])
        func collisions(slot: Int) throws {
            var random = SplitMix64(seed: 5)
            let count = 1000, capacity = 4096
            let start = UInt32(slot < 0 ? capacity - 1 : slot)
            let spis = SADTests.colliding(count, capacity: capacity, slot: start)
            #expect(Set(spis).count == count)
            #expect(spis.allSatisfy { SADView.start($0, mask: capacity - 1) == Int(start) })
            let tables = try SADTests.tables(spis)
            #expect(tables.associations.count == capacity)
            expectExactly(spis, in: tables, random: &random)
            // Absent ones that begin at the same slot run through all of it and end.
            let sad = SADView(slots: tables.associations.unownedView)
            let absent = SADTests.colliding(count + 100, capacity: capacity, slot: start).suffix(100)
            #expect(absent.allSatisfy { sad.find($0).association == nil })
        }

        @Test("workers share SAs out evenly, both directions of a tunnel to the same one")
        func owners() throws {
            let tables = try SADTests.tables((0..<9).map { 0x2000 + $0 }, workers: 4)
            let outbound = tables.states.map(\.owner)
            #expect(outbound == [0, 1, 2, 3, 0, 1, 2, 3, 0])
            #expect(tables.states.map { $0.inbound[0].reference.with { Int($0.owner) } } == outbound)
        }
    }
}
