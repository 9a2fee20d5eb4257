import DataPlane
import ESP
import Foundation
import IPsec
import Testing

@testable import Gateway
@testable import SAStore

/// A keeper over a store in a directory of its own, and a worker. A crash is a new keeper over the same directory.
final class KeeperRig {
    static let start: Int64 = 1_800_000_000
    let path = FileManager.default.temporaryDirectory.path + "/keeper-" + UUID().uuidString
    let arena: AssociationArena
    private var opened: (store: StateStore, keeper: AssociationKeeper)?
    var worker: TestWorker
    var now = KeeperRig.start
    /// The clock of rates, which stands still unless a test moves it.
    var instant = ContinuousClock.now + .seconds(1)

    init() throws {
        let arena = try AssociationArena()
        self.arena = arena
        worker = TestWorker(arena)
        try crash()
    }

    deinit {
        opened = nil
        try? FileManager.default.removeItem(atPath: path)
    }

    var store: StateStore { opened?.store ?? { preconditionFailure("no store") }() }
    var keeper: AssociationKeeper { opened?.keeper ?? { preconditionFailure("no keeper") }() }

    /// Everything in memory is gone; what is on disk is there.
    func crash() throws {
        opened = nil
        let store = try StateStore(directory: path, now: now, machine: nil)
        opened = (store, AssociationKeeper(store: store, arena: arena))
    }

    /// As after `state reset`: the keys that were used are refused.
    func burn() throws {
        opened = nil
        _ = try StateStore.reset(directory: path, now: now, machine: nil, by: "test")
        try crash()
    }

    /// From here on the disk takes nothing, or everything again.
    func fail(_ fails: Bool) throws {
        try store.queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = \(fails ? 1 : 0)") }
    }

    /// A keeper over the same directory that takes no numbers before `gate` is open.
    func keeper(numbersAfter gate: Gate) -> AssociationKeeper {
        AssociationKeeper(store: store, arena: arena, numbersAfter: gate)
    }

    func install(_ number: Int, lifetime: Lifetime = Lifetime(), window: Int = 64) throws -> AssociationPair {
        try keeper.install([TestChildren.request(number, lifetime: lifetime, window: window)], now: now)[0]
    }

    /// A round of the keeper, a commit's interval after the one before.
    func refill(isDue: Bool = true) throws -> Bool {
        instant += InboundCeiling.interval
        return try keeper.refill(now: now, at: instant, isDue: isDue)
    }

    /// What the keeper does once a second.
    func calm(_ rounds: [UInt64]) throws {
        instant += .seconds(1)
        try keeper.calm(now: now, at: instant, rounds: rounds)
    }

    /// What is on disk of an SA, as somebody else reads it.
    func record(_ sa: SAIdentity) throws -> SARecord {
        try #require(try StateStore.inspect(directory: path).first { $0.identity == sa })
    }

    func ceiling(_ pair: AssociationPair) throws -> UInt64 { try record(pair.sameness.inbound).replayCeiling }

    /// The highest number that the worker may accept now.
    func ceilingInMemory(_ pair: AssociationPair) -> UInt64 {
        pair.inbound.reference.with { association in
            var low: UInt64 = 0, high: UInt64 = 1 << 40
            while low < high {
                let middle = (low + high + 1) / 2
                if association.reaches(middle) { low = middle } else { high = middle - 1 }
            }
            return low
        }
    }

    /// Lets the worker have sent numbers up to this one.
    func jump(_ pair: AssociationPair, to number: UInt64) {
        pair.outbound.reference.with { $0.sequenceNumber.store(number, ordering: .relaxed) }
    }

    func send(_ count: Int, _ pair: AssociationPair) -> (sent: [TestWorker.Numbers], refusal: DropReason?) {
        worker.send(count, under: pair)
    }

    func accept(_ numbers: ClosedRange<UInt64>, _ pair: AssociationPair) -> [DropReason?] {
        numbers.map { worker.accept($0, under: pair) }
    }

    func highest(_ pair: AssociationPair) -> UInt64 {
        pair.inbound.reference.with { $0.highest.load(ordering: .relaxed) }
    }
}
