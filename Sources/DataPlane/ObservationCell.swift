import Synchronization

/// By which a worker hears that somebody looks: the address of a ring, or 0. The worker looks ten times a second, and
/// says which ring it uses; one that is not wanted any more is destroyed when no worker uses it.
final class ObservationCell: Sendable {
    private let wanted = Atomic<UInt>(0), used = Atomic<UInt>(0)

    /// By the worker: whether it is to use another ring, or none.
    func isOther(than address: UInt) -> Bool { wanted.load(ordering: .relaxed) != address }

    /// By the worker: the address of the ring that it uses from now on.
    func adopt() -> UInt {
        let address = wanted.load(ordering: .acquiring)
        used.store(address, ordering: .releasing)
        return address
    }

    /// By the control plane.
    func want(_ address: UInt) { wanted.store(address, ordering: .releasing) }

    /// By the control plane: the ring that the worker uses, or 0.
    var inUse: UInt { used.load(ordering: .acquiring) }
}

/// The observation that is under way in a group of workers, at most one.
final class Observatory: Sendable {
    let cells: [ObservationCell]
    private let rings = Mutex<[ObservationRing]>([])

    init(workers: Int) { cells = (0..<workers).map { _ in ObservationCell() } }

    deinit {
        // No worker runs any more.
        rings.withLock { for ring in $0 { ring.destroy() } }
    }

    /// Begins one; false while another is under way, or a worker has not yet heard of its end.
    func begin(_ request: ObservationRequest) -> Bool {
        guard collect() else { return false }
        let plan = ObservationPlan(request)
        rings.withLock { rings in
            rings = cells.map { _ in ObservationRing(plan) }
            for (cell, ring) in zip(cells, rings) { cell.want(ring.address) }
        }
        return true
    }

    /// Whether every worker shows what was asked for last.
    var isUnderWay: Bool {
        rings.withLock { rings in !rings.isEmpty && zip(cells, rings).allSatisfy { $0.inUse == $1.address } }
    }

    /// Ends it; what was not taken is lost.
    func end() {
        for cell in cells { cell.want(0) }
        _ = collect()
    }

    /// Destroys the rings of one that has ended; true when there are none.
    func collect() -> Bool {
        rings.withLock { rings in
            let isOver = zip(cells, rings).allSatisfy { $0.isOther(than: $1.address) && $0.inUse == 0 }
            guard rings.isEmpty || isOver else { return false }
            for ring in rings { ring.destroy() }
            rings = []
            return true
        }
    }

    /// Takes at most `limit` records, as many of each worker's as of the others'.
    func take(limit: Int) -> [Observation] {
        rings.withLock { rings in
            var taken: [Observation] = [], isDone = rings.isEmpty
            while !isDone && taken.count < limit {
                isDone = true
                for (worker, ring) in rings.enumerated() where taken.count < limit {
                    guard let one = ring.take(worker: worker) else { continue }
                    taken.append(one)
                    isDone = false
                }
            }
            return taken
        }
    }

    /// Of all workers since it began.
    var losses: (missed: UInt64, unlooked: UInt64) {
        rings.withLock { rings in
            (rings.map(\.missed).reduce(0, +), rings.map(\.unlooked).reduce(0, +))
        }
    }
}
