import IPsec
import SeededRandom
import Testing

@testable import DataPlane

@Suite("Which SAs a NIC gets")
struct OffloadPlacementTests {
    private static func request(
        _ id: Int, port: Int = 0, _ direction: Direction = .outbound, spi: UInt32? = nil, local: UInt32 = 1,
        isRequired: Bool = false, rank: Int = 0, isPresent: Bool = false
    ) -> OffloadPlacement.Request {
        OffloadPlacement.Request(
            id: id, port: port, direction: direction, spi: SPI(rawValue: spi ?? UInt32(1000 + id)),
            local: IPAddress(v4: local), isRequired: isRequired, rank: rank, isPresent: isPresent)
    }

    @Test("what it has it keeps; then what the site requires; then by rank")
    func order() {
        let requests = [
            Self.request(1, rank: 0), Self.request(2, rank: 1), Self.request(3, isRequired: true, rank: 2),
            Self.request(4, rank: 2, isPresent: true),
        ]
        for (slots, placed) in [(0, []), (1, [4]), (2, [3, 4]), (3, [1, 3, 4]), (4, [1, 2, 3, 4])] {
            let result = OffloadPlacement.place(requests) { _, _ in OffloadPlacement.Room(slots: slots) }
            #expect(result.placed == Set(placed))
            #expect(result.refused.values.allSatisfy { $0 == .saTableFull })
            #expect(result.refused.count + placed.count == 4)
        }
    }

    @Test("of two with one SPI the first is in, whichever address they have; another port or direction is another room")
    func duplicates() {
        let requests = [
            Self.request(1, spi: 7, local: 1), Self.request(2, spi: 7, local: 2), Self.request(3, port: 1, spi: 7),
            Self.request(4, .inbound, spi: 7),
        ]
        let result = OffloadPlacement.place(requests) { _, _ in OffloadPlacement.Room(slots: 9) }
        #expect(result.placed == [1, 3, 4] && result.refused == [2: .duplicateSPI])
        let lenient = OffloadPlacement.place(requests) { _, _ in
            OffloadPlacement.Room(slots: 9, uniqueSPIs: false)
        }
        #expect(lenient.placed == [1, 2, 3, 4])
    }

    @Test("own addresses are counted, not SAs of one")
    func addresses() {
        let requests = (0..<6).map { Self.request($0, .inbound, local: UInt32($0 / 2)) }
        let result = OffloadPlacement.place(requests) { _, _ in OffloadPlacement.Room(slots: 9, addresses: 2) }
        #expect(result.placed == [0, 1, 2, 3] && result.refused == [4: .addressTableFull, 5: .addressTableFull])
    }

    @Test("no port, no room")
    func noRoom() {
        let result = OffloadPlacement.place([Self.request(1)]) { _, _ in nil }
        #expect(result.placed == [] && result.refused == [1: .noEngine])
    }

    @Test("whatever is asked in whatever order, nothing is put out, nothing is over, each has one answer")
    func anything() {
        for _ in 0..<300 {
            let seed = UInt64.random(in: 0 ... .max)
            var random = SplitMix64(seed: seed)
            let slots = Int.random(in: 1...12, using: &random), addresses = Int.random(in: 1...4, using: &random)
            let room: (Int, Direction) -> OffloadPlacement.Room? = { port, _ in
                port == 2 ? nil : OffloadPlacement.Room(slots: slots, addresses: addresses)
            }
            for _ in 0..<8 {
                let requests = (0..<Int.random(in: 0...30, using: &random)).map { id in
                    Self.request(
                        id, port: id % 3, id % 2 == 0 ? .outbound : .inbound,
                        spi: UInt32.random(in: 300...312, using: &random),
                        local: UInt32.random(in: 1...6, using: &random), isRequired: Bool.random(using: &random),
                        rank: Int.random(in: 0...2, using: &random))
                }.shuffled(using: &random)
                let (placed, refused) = OffloadPlacement.place(requests, room: room)
                #expect(Set(requests.map(\.id)) == placed.union(refused.keys), "seed \(seed)")
                #expect(placed.isDisjoint(with: refused.keys), "seed \(seed)")
                for port in 0..<3 {
                    for direction in Direction.allCases {
                        let here = requests.filter {
                            placed.contains($0.id) && $0.port == port && $0.direction == direction
                        }
                        #expect(here.count <= (port == 2 ? 0 : slots), "seed \(seed)")
                        #expect(Set(here.map(\.spi)).count == here.count, "seed \(seed)")
                        #expect(Set(here.map(\.local)).count <= addresses, "seed \(seed)")
                    }
                }
                // Asked again with others besides, what is in stays in.
                let again = requests.map { request in
                    var request = request
                    request.isPresent = placed.contains(request.id)
                    return request
                }
                let more = again + [Self.request(99, isRequired: true), Self.request(98, port: 1, isRequired: true)]
                #expect(OffloadPlacement.place(more, room: room).placed.isSuperset(of: placed), "seed \(seed)")
            }
        }
    }
}

@Suite("What is known of drivers")
struct EngineRulesTests {
    @Test("net_ixgbe of DPDK 22.11 and nothing else")
    func drivers() {
        let rules = EngineRules.of(driver: "net_ixgbe", version: "DPDK 22.11.11")
        #expect(rules == .ixgbe)
        // A ninth bit of the SA's index would be another SA's key (P4); one place is the sentinel's.
        #expect(rules?.usableSlots(.outbound) == 255 && rules?.usableSlots(.inbound) == 1023)
        #expect(rules?.removalDisarms == true && rules?.removesBySPI == true)
        for (driver, version) in [
            ("net_ixgbe", "DPDK 23.11.0"), ("net_ixgbe", "DPDK 22.1.0"), ("net_ixgbe_vf", "DPDK 22.11.11"),
            ("net_ice", "DPDK 22.11.11"), ("", ""),
        ] {
            #expect(EngineRules.of(driver: driver, version: version) == nil)
        }
    }

    @Test("what of an SA no engine takes")
    func hindrances() {
        func reason(_ direction: Direction, _ change: (inout AssociationProfile) -> Void) -> FallbackReason? {
            var profile = AssociationProfile()
            change(&profile)
            return OffloadWish.hindrance(profile, direction)
        }
        for direction in Direction.allCases {
            #expect(reason(direction) { _ in } == nil)
            #expect(reason(direction) { $0.mode = .transport } == nil)
            #expect(reason(direction) { $0.extendedSequenceNumbers = true } == .esn)
            #expect(reason(direction) { $0.natTraversal = true } == .natTraversal)
            for algorithm in Algorithm.all where algorithm != .aes128GCM16 {
                #expect(reason(direction) { $0.algorithm = algorithm } == .algorithm)
            }
        }
        #expect(reason(.outbound) { $0.tfcPaddingOctets = 256 } == .tfcPadding)
        #expect(reason(.inbound) { $0.tfcPaddingOctets = 256 } == nil)
    }
}
