import CDPDK
import ESP
import IPsec

/// All workers of a gateway and what they share with the control plane.
public final class WorkerGroup: Sendable {
    /// What the tables were built from.
    public let topology: Topology
    /// What all workers look things up in.
    public let tables: ForwardingTables
    /// Where packets live.
    public let pool: PacketPool
    private let blocks: [WorkerBlock]
    private let rings: [HandoffRings]
    private let ports: [StartedPort]
    private let ticksPerSecond: UInt64
    private let mode: WorkerMode

    /// Prepares `workers` workers over ports that run. `name` must be unique in the process.
    public init(
        _ topology: Topology, tables: ForwardingTables, ports: [StartedPort], pool: PacketPool, workers: Int,
        ticksPerSecond: UInt64, mode: WorkerMode, name: String
    ) throws(DataPlaneError) {
        self.topology = topology
        self.tables = tables
        self.ports = ports
        self.pool = pool
        self.ticksPerSecond = ticksPerSecond
        self.mode = mode
        var rings: [HandoffRings] = []
        for worker in 0..<workers { rings.append(try HandoffRings(worker: worker, name: name)) }
        self.rings = rings
        blocks = (0..<workers).map { _ in WorkerBlock(ports: topology.ports.count) }
    }

    deinit {
        for block in blocks { block.destroy() }
        for ring in rings { ring.destroy() }
    }

    /// What worker `index` is made from.
    public func plan(_ index: Int) -> WorkerPlan {
        WorkerPlan(
            index: index, topology: topology, tables: tables,
            ports: ports.map { port in
                WorkerPlan.Port(
                    id: port.id, mac: port.mac, rxQueue: index < port.rxQueues ? UInt16(index) : nil,
                    txQueue: UInt16(index))
            }, pool: pool, block: blocks[index], rings: rings, ticksPerSecond: ticksPerSecond, mode: mode)
    }

    /// Starts every worker on its lcore. Each is made where it runs; a failure to make one is trapped, since all it
    /// needs was tried before.
    public func launch(on cores: [Int]) throws(DataPlaneError) {
        precondition(cores.count == blocks.count)
        for (index, core) in cores.enumerated() {
            let box = unsafe Unmanaged.passRetained(PlanBox(plan(index))).toOpaque()
            let error = unsafe rte_eal_remote_launch(runWorker, box, UInt32(core))
            guard error == 0 else {
                unsafe Unmanaged<PlanBox>.fromOpaque(box).release()
                stop()
                throw .table(what: "worker on core \(core)", error: error)
            }
        }
    }

    /// Asks all workers to finish their round, drain and return.
    public func stop() { for block in blocks { block.stop() } }

    /// Waits for launched workers to return. What one handed to another that had already drained is dropped then.
    public func wait() {
        cdpdk_wait_lcores()
        var leftOver = MbufList(capacity: HandoffRings.capacity)
        for ring in rings.flatMap({ [$0.inside, $0.outside, $0.arp] }) {
            leftOver.dequeue(ring, limit: leftOver.capacity)
            for _ in 0..<leftOver.count { blocks[0].countDrop(.handoffFull) }
            leftOver.freeAll()
        }
    }

    /// Where all packets went so far. Live, a packet may be between two counters.
    public var counts: PacketCounts {
        var counts = PacketCounts(ports: topology.ports.count)
        for block in blocks { block.accumulate(into: &counts) }
        for ring in rings { counts.inFlight += UInt64(ring.count) }
        return counts
    }
}

private final class PlanBox: Sendable {
    let plan: WorkerPlan
    init(_ plan: WorkerPlan) { self.plan = plan }
}

/// What an lcore runs: makes its worker on its own stack and polls until told to stop.
@c
private func runWorker(_ argument: UnsafeMutableRawPointer?) -> CInt {
    guard let argument = unsafe argument else { return -1 }
    let box = unsafe Unmanaged<PlanBox>.fromOpaque(argument).takeRetainedValue()
    guard var worker = try? Worker(box.plan) else {
        preconditionFailure("a worker needs memory and the crypto library, and both were there a moment ago")
    }
    worker.run()
    return 0
}
