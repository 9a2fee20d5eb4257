import Synchronization
import Testing

@testable import Gateway

struct BenchCrewTests {
    @Test func oneWorkerTakesNoCoreOfItsOwn() throws {
        #expect(try BenchCrew(workers: 1, available: [3], siblings: { [$0] }).cores == [])
    }

    @Test func workersTakePhysicalCoresFromTheTop() throws {
        let flat = try BenchCrew(workers: 2, available: Array(0..<8), siblings: { [$0] })
        #expect(flat.cores == [6, 7])
        // Threads of one core beside each other, as some machines number them.
        let pairs = try BenchCrew(workers: 2, available: Array(0..<8), siblings: { [$0 & ~1, $0 | 1] })
        #expect(pairs.cores == [5, 7])
        // And as others do.
        let halves = try BenchCrew(workers: 3, available: Array(0..<8), siblings: { [$0 % 4, $0 % 4 + 4] })
        #expect(halves.cores == [5, 6, 7])
    }

    @Test func twoThreadsOfOneCoreAreNotTwoCores() {
        let error = #expect(throws: MachineError.self) {
            try BenchCrew(workers: 2, available: [4, 5], siblings: { _ in [4, 5] })
        }
        #expect(error?.exitCode == .unavailable)
        #expect(error.map { "\($0)".contains("taskset") } == true)
    }

    @Test func whoWaitsIsLetGoWhenAnotherFails() async {
        let barrier = BenchBarrier(2)
        let waiting = Task.detached { try barrier.wait() }
        barrier.abandon()
        await #expect(throws: BenchBarrier.Abandoned.self) { try await waiting.value }
    }

    @Test func nobodyPassesTheBarrierAlone() async {
        let barrier = BenchBarrier(2), rounds = 1000
        let steps = (0..<2).map { _ in Steps() }
        await withTaskGroup { group in
            for own in 0..<2 {
                group.addTask {
                    for round in 0..<rounds {
                        steps[own].count.store(round, ordering: .releasing)
                        try? barrier.wait()
                        // The other has come as far, and can't be two rounds ahead.
                        let other = steps[1 - own].count.load(ordering: .acquiring)
                        #expect(other == round || other == round + 1)
                    }
                }
            }
        }
    }

    @Test func fewerWorkersHaveTheirTurnOnEachThread() {
        var options = BenchOptions()
        options.paths = [.software, .lookaside]
        options.workers = [1, 2]
        let setups = BenchSetup.all(options, associations: 7)
        #expect(setups.map(\.workers) == [1, 1, 2, 1, 1, 2])
        #expect(setups.map(\.firstThread) == [0, 1, 0, 0, 1, 0])
        #expect(Set(setups.map(\.name)).count == 6)
        // Whoever needs a crypto device has two of its own.
        let devices = setups.flatMap(\.cryptoDevices)
        #expect(devices.count == 6 && Set(devices).isSubset(of: BenchSetup.cryptoDevices(options)))
        #expect(Set(devices).count == 6)
        #expect(setups[1].worker(on: 0) == nil && setups[1].worker(on: 1) == 0 && setups[2].worker(on: 1) == 1)
        options.latency = true
        #expect(BenchSetup.all(options, associations: 7).map(\.firstThread) == [0, 0, 0, 0])
    }

    @Test func oneOfManyTakesPartInWhatItHasAWorkerFor() {
        let mean = Bench.Samples.mean([
            Bench.Samples(encap: [100, 120], decap: [1, 1], both: [2, 2], floor: [10, 10]),
            Bench.Samples(encap: [200, 180], decap: [3, 1], both: [2, 4], floor: [30, 10]),
        ])
        #expect(mean.encap == [150, 150] && mean.decap == [2, 1] && mean.both == [2, 3] && mean.floor == [20, 10])
    }
}

private final class Steps: Sendable {
    let count = Atomic(-1)
}
