import Foundation
import GRDB
import IPsec
import Testing

@testable import SAStore

@Suite("What the store knows of SAs")
struct RecordTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test("opening makes a record for each SA that has none, in one transaction, and returns all in order")
    func open() throws {
        let store = try StateStore(directory: directory.state)
        let first = identity(1, 0x1001), second = identity(2, 0x1002), third = identity(3, 0x1003)
        #expect(
            try store.open([second, first], now: 1000) == [
                SARecord(identity: second, installedAt: 1000), SARecord(identity: first, installedAt: 1000),
            ])
        #expect(store.written.commits == 1)
        #expect(try store.open([first, third, first], now: 2000).map(\.installedAt) == [1000, 2000, 1000])
        #expect(store.written.commits == 2)
        #expect(try store.open([third, second], now: 3000).map(\.installedAt) == [2000, 1000])
        #expect(try store.open([], now: 3000) == [])
        #expect(store.written.commits == 2, "nothing new, nothing written")
    }

    @Test("one round takes reservations, ceilings and usage together, and a restart finds them")
    func round() throws {
        let out = identity(1, 0x1001), inbound = identity(2, 0x2001)
        do {
            let store = try StateStore(directory: directory.state)
            _ = try store.open([out, inbound], now: 1000)
            var round = StoreRound()
            #expect(round.isEmpty)
            #expect(try store.commit(round, now: 1001) == [])
            round.reservations = [.sequenceNumbers(count: 10, sa: out)]
            round.ceilings = [
                ReplayCeiling(sa: inbound, ceiling: 77), ReplayCeiling(sa: inbound, ceiling: 99, reached: 88),
            ]
            round.usage = [SAUsage(sa: out, packets: 5, octets: 500), SAUsage(sa: inbound, packets: 6, octets: .max)]
            #expect(!round.isEmpty)
            let before = store.written
            #expect(try store.commit(round, now: 1001) == [1...10])
            let after = store.written
            #expect(after.commits == before.commits + 1 && after.octets > before.octets)
            #expect(after.octets - before.octets <= 8 * 4096)
        }
        let store = try StateStore(directory: directory.state)
        #expect(
            try store.open([out, inbound], now: 9000) == [
                SARecord(identity: out, installedAt: 1000, packets: 5, octets: 500, sequenceReserved: 10),
                SARecord(
                    identity: inbound, installedAt: 1000, packets: 6, octets: UInt64(Int64.max), replayCeiling: 99,
                    replayReached: 88),
            ])
    }

    @Test("a ceiling may go down again, usage does not")
    func lowered() throws {
        let store = try StateStore(directory: directory.state)
        let sa = identity(1, 0x1001)
        for (ceiling, packets) in [(100, 50), (30, 20)] as [(UInt64, UInt64)] {
            var round = StoreRound()
            round.ceilings = [ReplayCeiling(sa: sa, ceiling: ceiling)]
            round.usage = [SAUsage(sa: sa, packets: packets, octets: packets)]
            _ = try store.commit(round, now: testNow)
        }
        let record = try store.open([sa], now: testNow)[0]
        #expect(record.replayCeiling == 30 && record.packets == 50 && record.octets == 50)
    }

    @Test("a round that changes nothing waits for no disk")
    func unchanged() throws {
        let store = try StateStore(directory: directory.state)
        let sa = identity(1, 0x1001)
        var round = StoreRound()
        round.ceilings = [ReplayCeiling(sa: sa, ceiling: 5)]
        _ = try store.commit(round, now: testNow)
        let before = store.written
        _ = try store.commit(round, now: testNow)
        #expect(store.written == before)
    }

    @Test("records are looked at from outside, while a gateway runs and after it")
    func inspect() throws {
        #expect(try StateStore.inspect(directory: directory.state) == [])
        #expect(!FileManager.default.fileExists(atPath: directory.state))
        var store: StateStore? = try StateStore(directory: directory.state)
        _ = try store?.open([identity(2, 0x1002), identity(1, 0x1001)], now: 1000)
        _ = try store?.sequenceNumbers(10, identity(1, 0x1001))
        let expected = [
            SARecord(identity: identity(1, 0x1001), installedAt: 1000, sequenceReserved: 10),
            SARecord(identity: identity(2, 0x1002), installedAt: 1000),
        ]
        #expect(try StateStore.inspect(directory: directory.state) == expected)
        store = nil
        #expect(try StateStore.inspect(directory: directory.state) == expected)
    }

    @Test("closing ends the store; what comes after throws, and the next one has everything")
    func close() throws {
        do {
            let store = try StateStore(directory: directory.state)
            #expect(try store.vectors(5, key: 1) == 1...5)
            try store.close()
            #expect(throws: StoreError.self) { try store.vectors(5, key: 1) }
            #expect(errorOfOpening(directory.state) == .inUse(directory: directory.state))
        }
        #expect(try StateStore(directory: directory.state).vectors(5, key: 1) == 6...10)
    }

    @Test("100 000 SAs stored, loaded and reserved with group commit")
    func manySAs() throws {
        let sas = (0..<100_000).map { identity($0 &* 7_919, 0x1000 + UInt32($0)) }
        var round = StoreRound()
        round.reservations = sas.flatMap { sa -> [ReservationRequest] in
            [
                .sequenceNumbers(count: ReservationRequest.smallestBlock, sa: sa),
                .initializationVectors(count: 1 << 20, fingerprint: sa.fingerprint, floor: 1 << 30),
            ]
        }
        do {
            let store = try StateStore(directory: directory.state)
            #expect(try store.open(sas, now: testNow).count == sas.count)
            #expect(store.written.commits == 1)
            let blocks = try store.commit(round, now: testNow)
            #expect(store.written.commits == 2)
            let vectors: ClosedRange<UInt64> = 1 << 30...(1 << 30 + 1 << 20 - 1)
            #expect(blocks.count == 200_000)
            #expect(blocks.enumerated().allSatisfy { $1 == ($0 % 2 == 0 ? 1...1 << 18 : vectors) })
            // Every page is written once a commit, not once a row: 300 000 rows of some 150 octets.
            #expect(store.written.octets < 150 << 20)
        }
        let store = try StateStore(directory: directory.state)
        let records = try store.open(sas, now: testNow + 1)
        #expect(store.written.commits == 0)
        #expect(records.map(\.identity) == sas)
        #expect(records.allSatisfy { $0.sequenceReserved == 1 << 18 && $0.installedAt == testNow })
        let blocks = try store.commit(round, now: testNow + 1)
        #expect(store.written.commits == 1)
        #expect(blocks.first == 262_145...524_288)
    }
}
