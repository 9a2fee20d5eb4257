import DataPlane
import Foundation
import Glibc
import Synchronization

/// The threads of a benchmark: the caller's when one worker is measured, and lcores on processors of their own when
/// more are.
struct BenchCrew: Sendable {
    /// Of each worker; empty when the caller's thread is the only one.
    let cores: [Int]
    private let count: Int

    /// Chooses the cores for the most workers that are measured at once. Throws `MachineError.tooFewCores`.
    init(
        workers: Int, available: [Int] = Environment.processors, siblings: (Int) -> [Int] = BenchCrew.siblings
    ) throws(MachineError) {
        count = workers
        guard workers > 1 else {
            cores = []
            return
        }
        // From the top: the kernel's own work gathers at the bottom.
        var chosen: [Int] = []
        for core in available.reversed() where core <= Environment.highestWorkerCore && chosen.count < workers {
            if !siblings(core).contains(where: chosen.contains) { chosen.append(core) }
        }
        guard chosen.count == workers else { throw .tooFewCores(wanted: workers, available: chosen.sorted()) }
        cores = chosen.sorted()
    }

    /// Runs `body` on every thread at once, with the place of each, and gives back what each made, in their order. It
    /// must wait at the barrier equally often everywhere. Throws what the first that failed threw.
    func run<Result: Sendable>(
        _ body: @escaping @Sendable (_ worker: Int, _ barrier: BenchBarrier) throws -> Result
    ) throws -> [Result] {
        let barrier = BenchBarrier(count)
        guard count > 1 else { return [try body(0, barrier)] }
        let box = ResultBox<Result>()
        Environment.run(on: cores) { worker in
            let result = Swift.Result { try body(worker, barrier) }
            if case .failure = result { barrier.abandon() }
            box.results.withLock { $0[worker] = result }
        }
        let all = box.results.withLock { $0 }
        for case .failure(let error) in all.values where !(error is BenchBarrier.Abandoned) { throw error }
        return try (0..<count).map { worker in
            guard let result = all[worker] else { throw BenchError(message: "worker \(worker) did not end") }
            return try result.get()
        }
    }

    private final class ResultBox<Result: Sendable>: Sendable {
        let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
    }

    /// Processors that are threads of the same core, by the kernel's word.
    static func siblings(of core: Int) -> [Int] {
        let path = "/sys/devices/system/cpu/cpu\(core)/topology/thread_siblings_list"
        let text = try? String(contentsOfFile: path, encoding: .utf8)
        return text.map { Surroundings.numbers($0.trimmingCharacters(in: .whitespacesAndNewlines)) } ?? [core]
    }
}

/// Where threads wait until all are there. They spin: what follows is to begin on all at once.
final class BenchBarrier: Sendable {
    /// Another thread failed and comes no more.
    struct Abandoned: Error {}

    private let count: Int
    private let arrived = Atomic(0)
    private let round = Atomic(0)
    private let isAbandoned = Atomic(false)

    /// For so many threads.
    init(_ count: Int) { self.count = count }

    /// Waits for the others.
    func wait() throws(Abandoned) {
        guard count > 1 else { return }
        let mine = round.load(ordering: .acquiring)
        if arrived.add(1, ordering: .acquiringAndReleasing).newValue == count {
            arrived.store(0, ordering: .relaxed)
            round.add(1, ordering: .releasing)
        }
        var spins = 0
        while round.load(ordering: .acquiring) == mine {
            if isAbandoned.load(ordering: .acquiring) { throw Abandoned() }
            spins &+= 1
            // The other waits for this processor, perhaps.
            if spins > 10_000_000 { sched_yield() }
        }
    }

    /// Lets all others go.
    func abandon() { isAbandoned.store(true, ordering: .releasing) }
}
