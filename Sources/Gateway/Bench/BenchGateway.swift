import DataPlane
import ESP
import SAStore
import Synchronization

/// A gateway between ports without devices, whose workers are the benchmark's threads to make, poll, feed and drain.
final class BenchGateway: Sendable {
    /// The protected and the unprotected port, of each worker its own.
    let ports: [[RingPort]]
    let group: WorkerGroup
    private let coprocessor: Coprocessor?
    private let offload: OffloadKeeper?
    /// Nil when all numbers may be used.
    let numbers: BenchNumbers?

    /// Where the setup names a directory, numbers are reserved in a store there as a gateway that runs does.
    init(
        _ topology: Topology, _ setup: BenchSetup, pool: PacketPool, name: String, cryptoDevice: String? = nil
    ) throws {
        let isInline = setup.path == .inline, workers = setup.workers
        let ports = try (0..<workers).map { worker in
            try topology.ports.enumerated().map { index, port in
                try RingPort(
                    port, index: index, pool: pool, name: "\(name)-\(worker)", isInline: isInline && index == 1)
            }
        }
        let first = ports[0].map(\.port)
        let arena = try AssociationArena()
        var book = TunnelBook()
        let numbers = try setup.directory.map { try BenchNumbers(directory: "\($0)/\(name)", arena: arena) }
        if let numbers {
            try book.follow(topology, workers: workers, installer: numbers.keeper, now: ControlPlane.now)
        } else {
            // Keys are random and die with the process: all numbers may be used.
            try book.follow(topology, workers: workers, installer: UnboundInstaller(arena: arena), now: 0)
        }
        _ = book.advance(to: 0)
        let coprocessor = try cryptoDevice.map {
            try Coprocessor($0, workers: workers, sessions: 2 * topology.tunnels.count + 16)
        }
        let tables = try ForwardingTables(
            topology, states: book.states, name: name, engines: isInline ? [1] : [])
        let group = try WorkerGroup(
            tables, arena: arena, ports: first, pool: pool, workers: workers,
            ticksPerSecond: Environment.ticksPerSecond, mode: .replay(resolve: false), name: name,
            coprocessors: coprocessor.map { [$0] } ?? [])
        if isInline { IdleEngine.takeAll(group, port: 1) }
        offload = coprocessor.map { _ in OffloadKeeper(group, ports: first, workers: workers) }
        offload?.follow(book.wishes(topology, ways: tables.ways, overrides: [:]))
        numbers?.start(group)
        self.ports = ports
        self.group = group
        self.numbers = numbers
        self.coprocessor = coprocessor
    }

    /// After its workers have drained.
    func close() throws {
        try numbers?.stop()
        offload?.stop()
        _ = coprocessor?.close()
        for port in ports.joined() { port.close() }
    }

    /// What a worker is made from.
    func plan(_ worker: Int) -> WorkerPlan {
        var plan = group.plan(worker)
        plan.use(ports[worker])
        return plan
    }
}

/// The store, keeper and keeper's thread of a benchmarked gateway.
final class BenchNumbers: Sendable {
    let keeper: AssociationKeeper
    let store: StateStore
    private let thread = Mutex<KeeperThread?>(nil)
    private let failure = Mutex<(any Error)?>(nil)

    init(directory: String, arena: AssociationArena) throws {
        store = try StateStore(directory: directory, now: ControlPlane.now, machine: nil)
        keeper = AssociationKeeper(store: store, arena: arena)
    }

    func start(_ group: WorkerGroup) {
        let started = KeeperThread(
            keeper, look: {}, rounds: { group.rounds }, atLimit: {},
            failed: { [self] error in failure.withLock { $0 = error } })
        thread.withLock { $0 = started }
    }

    /// Throws what the store failed with, if it did.
    func stop() throws {
        thread.withLock { $0.take() }?.stop()
        if let error = failure.withLock({ $0 }) { throw error }
    }
}
