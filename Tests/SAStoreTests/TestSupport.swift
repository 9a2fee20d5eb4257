import Foundation
import GRDB
import IPsec

@testable import SAStore

/// A directory that goes when the value does.
final class TemporaryDirectory {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/sa-store-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// A state directory in it, which does not exist at first.
    var state: String { path + "/state" }
    var file: String { state + "/sa-store.sqlite" }
    var lock: String { state + "/lock" }
    var keysSeen: String { state + "/keys-seen" }
}

/// A fingerprint for each number.
func fingerprint(_ number: Int) -> KeyFingerprint { KeyFingerprint(digest: SIMD4(0, 0, 0, UInt64(number))) }

func identity(_ key: Int, _ spi: UInt32) -> SAIdentity {
    SAIdentity(fingerprint: fingerprint(key), spi: SPI(rawValue: spi))
}

/// The time of tests that don't care.
let testNow: Int64 = 1_800_000_000

extension StateStore {
    /// On no machine that could be told.
    convenience init(directory: String) throws(StoreError) {
        try self.init(directory: directory, now: testNow, machine: nil)
    }

    /// A round of reservations alone.
    func reserve(_ requests: [ReservationRequest]) throws(StoreError) -> [ClosedRange<UInt64>?] {
        var round = StoreRound()
        round.reservations = requests
        return try commit(round, now: testNow)
    }

    /// What was ever reserved for the SA, which is opened.
    func sequenceNumbersReserved(for sa: SAIdentity) throws -> UInt64 {
        try open([sa], now: testNow)[0].sequenceReserved
    }

    /// A round of one.
    func sequenceNumbers(_ count: UInt64, _ sa: SAIdentity) throws -> ClosedRange<UInt64>? {
        try reserve([.sequenceNumbers(count: count, sa: sa)])[0]
    }

    /// A round of one.
    func vectors(_ count: UInt64, key: Int, floor: UInt64 = 0) throws -> ClosedRange<UInt64>? {
        try reserve([.initializationVectors(count: count, fingerprint: fingerprint(key), floor: floor)])[0]
    }
}

/// Runs SQL on a database file from outside, as the sqlite3 tool would.
func execute(_ sql: String, on file: String) throws {
    let queue = try DatabaseQueue(path: file)
    try queue.writeWithoutTransaction { try $0.execute(sql: sql) }
    try queue.close()
}

func octets(of file: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: file))) }

func write(_ octets: some Collection<UInt8>, to file: String) throws {
    try Data(octets).write(to: URL(fileURLWithPath: file))
}

/// The error that opening throws; nil when it opens.
func errorOfOpening(_ directory: String) -> StoreError? {
    do throws(StoreError) {
        _ = try StateStore(directory: directory)
        return nil
    } catch { return error }
}
