import Foundation
import GRDB
import IPsec
import Testing

@testable import SAStore

@Suite("Reservations, RFC 4106 3.1 and RFC 4303 3.3.3")
struct StateStoreTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test("blocks of a run follow on each other")
    func contiguous() throws {
        let store = try StateStore(directory: directory.state)
        #expect(try store.sequenceNumbersReserved(for: identity(1, 0x1001)) == 0)
        #expect(try store.sequenceNumbers(100, identity(1, 0x1001)) == 1...100)
        #expect(try store.sequenceNumbers(1, identity(1, 0x1001)) == 101...101)
        #expect(try store.sequenceNumbersReserved(for: identity(1, 0x1001)) == 101)
        #expect(try store.vectors(10, key: 1) == 1...10)
        #expect(try store.vectors(10, key: 1) == 11...20)
        #expect(try store.vectors(10, key: 2) == 1...10)
    }

    @Test("one round serves many, and a counter that is named twice gets adjacent blocks")
    func round() throws {
        let store = try StateStore(directory: directory.state)
        let blocks = try store.reserve([
            .sequenceNumbers(count: 5, sa: identity(1, 0x1001)),
            .initializationVectors(count: 6, fingerprint: fingerprint(1), floor: 0),
            .sequenceNumbers(count: 7, sa: identity(1, 0x1001)),
        ])
        #expect(blocks == [1...5, 1...6, 6...12])
        #expect(try store.reserve([]) == [])
    }

    @Test("a restart resumes behind what was reserved")
    func restart() throws {
        do {
            let store = try StateStore(directory: directory.state)
            _ = try store.sequenceNumbers(1000, identity(1, 0x1001))
            _ = try store.vectors(2000, key: 1)
        }
        let store = try StateStore(directory: directory.state)
        #expect(try store.sequenceNumbersReserved(for: identity(1, 0x1001)) == 1000)
        #expect(try store.sequenceNumbers(1, identity(1, 0x1001)) == 1001...1001)
        #expect(try store.vectors(1, key: 1) == 2001...2001)
    }

    @Test("a new SPI under the same key starts its sequence afresh and keeps the IVs moving")
    func newSPI() throws {
        let store = try StateStore(directory: directory.state)
        _ = try store.sequenceNumbers(50, identity(1, 0x1001))
        _ = try store.vectors(50, key: 1)
        #expect(try store.sequenceNumbers(50, identity(1, 0x1002)) == 1...50)
        #expect(try store.vectors(50, key: 1) == 51...100)
        #expect(try store.sequenceNumbers(50, identity(1, 0x1001)) == 51...100)
    }

    @Test("the first IV is the higher one of the clock's floor and the reserved end + 1")
    func floor() throws {
        let store = try StateStore(directory: directory.state)
        #expect(try store.vectors(10, key: 1, floor: 1_000_000) == 1_000_000...1_000_009)
        #expect(try store.vectors(10, key: 1, floor: 500) == 1_000_010...1_000_019)
        #expect(try store.vectors(10, key: 1, floor: 1_000_020) == 1_000_020...1_000_029)
        #expect(try store.vectors(10, key: 1, floor: 1_000_029) == 1_000_030...1_000_039)
    }

    @Test("sequence numbers end at 2^32 - 1 with a shorter block, and one exhausted SA stops no other")
    func exhaustion() throws {
        let sa = identity(1, 0x1001)
        do {
            let store = try StateStore(directory: directory.state)
            #expect(try store.sequenceNumbers(0xffff_fff0, sa) == 1...0xffff_fff0)
            #expect(try store.sequenceNumbers(.max, sa) == 0xffff_fff1...0xffff_ffff)
            #expect(try store.sequenceNumbers(1, sa) == nil)
        }
        let store = try StateStore(directory: directory.state)
        let next = identity(2, 0x1002)
        #expect(
            try store.reserve([.sequenceNumbers(count: 1, sa: sa), .sequenceNumbers(count: 1, sa: next)]) == [
                nil, 1...1,
            ])
        #expect(try store.sequenceNumbersReserved(for: sa) == 0xffff_ffff)
    }

    @Test("sequence numbers with ESN go past 2^32 and end at 2^63 - 1; without, such an SA gets none")
    func extendedExhaustion() throws {
        let sa = identity(1, 0x1001), last = ReservationRequest.lastExtendedSequenceNumber
        func take(_ count: UInt64, last: UInt64 = last) throws -> ClosedRange<UInt64>? {
            let store = try StateStore(directory: directory.state)
            return try store.reserve([.sequenceNumbers(count: count, sa: sa, last: last)])[0]
        }
        #expect(try take(0xffff_fff0) == 1...0xffff_fff0)
        #expect(try take(0x20) == 0xffff_fff1...0x1_0000_0010)
        #expect(try take(1, last: ReservationRequest.lastSequenceNumber) == nil)
        #expect(try take(.max, last: .max) == 0x1_0000_0011...last)
        #expect(try take(1) == nil && take(1, last: .max) == nil)
        let record = try StateStore.inspect(directory: directory.state)[0]
        #expect(record.sequenceReserved == last && record.restartsLeft == 0)
    }

    @Test("restarts that are left, by where the SA ends")
    func restartsLeft() {
        let short = ReservationRequest.lastSequenceNumber, long = ReservationRequest.lastExtendedSequenceNumber
        #expect(SARecord.restartsLeft(behind: 0, last: short) == 16383)
        #expect(SARecord.restartsLeft(behind: 0, last: long) == (1 << 45) - 1)
        #expect(SARecord.restartsLeft(behind: short + 1, last: short) == 0)
        #expect(SARecord.restartsLeft(behind: .max, last: long) == 0)
        func left(_ reserved: UInt64) -> UInt64 {
            SARecord(identity: identity(1, 0x1001), installedAt: 0, sequenceReserved: reserved).restartsLeft
        }
        #expect(left(short) == 0 && left(short + 1) > 1 << 44)
    }

    @Test("IVs end at 2^63 - 1, and a clock beyond that takes none")
    func vectorExhaustion() throws {
        let store = try StateStore(directory: directory.state)
        let last = UInt64(Int64.max)
        #expect(try store.vectors(10, key: 1, floor: .max) == nil)
        #expect(try store.vectors(10, key: 1) == 1...10)
        #expect(try store.vectors(10, key: 1, floor: last - 3) == last - 3...last)
        #expect(try store.vectors(1, key: 1) == nil)
    }

    @Test("the clock's floor is 2^26 a second from 2020 on, and stays within its bounds")
    func clockFloor() {
        let start: Int64 = 1_577_836_800
        #expect(InitializationVectorFloor.at(start) == 0)
        #expect(InitializationVectorFloor.at(start + 1) == 1 << 26)
        #expect(InitializationVectorFloor.at(start + 31_622_400) == 31_622_400 << 26)
        #expect(InitializationVectorFloor.at(start - 1) == 0)
        #expect(InitializationVectorFloor.at(.min) == 0)
        #expect(InitializationVectorFloor.at(.max) == .max)
        #expect(InitializationVectorFloor.at(start + 1 << 38 - 1) == UInt64(1 << 38 - 1) << 26)
        #expect(InitializationVectorFloor.at(start + 1 << 38) == .max)
    }

    @Test("keys that were used are known from outside, while a gateway runs and after it")
    func knownFingerprints() throws {
        #expect(try StateStore.knownFingerprints(directory: directory.state) == [])
        #expect(!FileManager.default.fileExists(atPath: directory.state))
        var store: StateStore? = try StateStore(directory: directory.state)
        #expect(try StateStore.knownFingerprints(directory: directory.state) == [])
        _ = try store?.vectors(1, key: 1)
        _ = try store?.sequenceNumbers(1, identity(2, 0x1001))
        let both: Set = [fingerprint(1), fingerprint(2)]
        #expect(try StateStore.knownFingerprints(directory: directory.state) == both)
        #expect(try store?.vectors(1, key: 1) == 2...2)
        store = nil
        #expect(try StateStore.knownFingerprints(directory: directory.state) == both)
        #expect(errorOfOpening(directory.state) == nil)
    }

    @Test("10,000 SAs start in one round")
    func manySAs() throws {
        let store = try StateStore(directory: directory.state)
        let requests = (0..<10_000).flatMap { number -> [ReservationRequest] in
            [
                .sequenceNumbers(count: 1 << 16, sa: identity(number, 0x1000 + UInt32(number))),
                .initializationVectors(count: 1 << 20, fingerprint: fingerprint(number), floor: 1 << 30),
            ]
        }
        let vectors: ClosedRange<UInt64> = 1 << 30...(1 << 30 + 1 << 20 - 1)
        let blocks = try store.reserve(requests)
        #expect(blocks.count == 20_000)
        #expect(blocks.enumerated().allSatisfy { $1 == ($0 % 2 == 0 ? 1...1 << 16 : vectors) })
    }

    @Test("a full disk grants nothing of the round, and the store goes on when there is room again")
    func fullDisk() throws {
        let store = try StateStore(directory: directory.state)
        #expect(try store.vectors(10, key: 0) == 1...10)
        try store.queue.writeWithoutTransaction { db in
            let pages = try #require(try Int.fetchOne(db, sql: "PRAGMA page_count"))
            try db.execute(sql: "PRAGMA max_page_count = \(pages)")
        }
        let round = (0..<1000).map {
            ReservationRequest.initializationVectors(count: 10, fingerprint: fingerprint($0), floor: 0)
        }
        let error = try #require(throws: StoreError.self) { try store.reserve(round) }
        guard case .failed(directory.file, let detail) = error else {
            Issue.record("not .failed: \(error)")
            return
        }
        #expect(detail.contains("full"))
        #expect(try StateStore.knownFingerprints(directory: directory.state) == [fingerprint(0)])
        try store.queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = 100000") }
        let blocks = try store.reserve(round)
        #expect(blocks[0] == 11...20)
        #expect(blocks.dropFirst().allSatisfy { $0 == 1...10 })
    }
}
