import CDPDK
import ESP
import IPsec

/// All workers of a gateway and what they share with the control plane.
public final class WorkerGroup: Sendable {
    /// Packets that a worker may keep for a while: for neighbours, for the disk, for the rest of a datagram.
    public static let heldPackets = Worker.heldLimit + AheadList.limit + FragmentTable.bufferLimit

    /// Packets that a worker may have with crypto devices.
    public static let crossingPackets = Worker.crossingLimit

    /// The SAs that tables may name.
    public let arena: AssociationArena
    /// What workers know of neighbours.
    public let census: NeighborCensus
    /// Where each worker's own packets come from.
    private let pools: [PacketPool]
    private let cell: TableCell
    private let blocks: [WorkerBlock]
    private let rings: [HandoffRings]
    private let notices: [NoticeRing]
    private let observatory: Observatory
    private let ports: [StartedPort]
    let gates = OffloadGates()
    let coprocessors: [Coprocessor]
    private let ticksPerSecond: UInt64
    private let mode: WorkerMode
    private let idle: WorkerIdle

    /// Prepares `workers` workers over ports that run, and coprocessors with a lane for each of them. `name` must be
    /// unique in the process. `nodes` says where rings lie; with `pools` each worker has its own instead of `pool`.
    public init(
        _ tables: ForwardingTables, arena: AssociationArena, ports: [StartedPort], pool: PacketPool, workers: Int,
        ticksPerSecond: UInt64, mode: WorkerMode, idle: WorkerIdle = .poll, name: String,
        coprocessors: [Coprocessor] = [], pools: [PacketPool] = [], nodes: NodePlan? = nil
    ) throws(DataPlaneError) {
        precondition(coprocessors.count <= Coprocessor.limit && (pools.isEmpty || pools.count == workers))
        self.arena = arena
        self.coprocessors = coprocessors
        self.ports = ports
        self.pools = pools.isEmpty ? Array(repeating: pool, count: workers) : pools
        self.ticksPerSecond = ticksPerSecond
        self.mode = mode
        self.idle = idle
        var rings: [HandoffRings] = []
        for worker in 0..<workers {
            rings.append(try HandoffRings(worker: worker, name: name, node: nodes?.workers[worker]))
        }
        self.rings = rings
        blocks = (0..<workers).map { _ in WorkerBlock(ports: ports.count) }
        tables.policies.prepare(workers: workers)
        cell = TableCell(tables)
        census = NeighborCensus(workers: workers)
        notices = (0..<workers).map { _ in NoticeRing() }
        observatory = Observatory(workers: workers)
    }

    deinit {
        for block in blocks { block.destroy() }
        for ring in rings { ring.destroy() }
    }

    /// The tables that were published last.
    public var tables: ForwardingTables { cell.latest }

    /// Makes workers go over to `tables`, which were built to follow the latest; each does before its next burst. The
    /// ports must be those that the group was made for.
    public func publish(_ tables: ForwardingTables) {
        precondition(tables.topology.ports.count == ports.count)
        tables.policies.prepare(workers: blocks.count)
        if case .live = mode {
            let before = self.tables.topology.ports
            for (index, port) in tables.topology.ports.enumerated() where port.addresses != before[index].addresses {
                // What the device can't do was told when it started.
                _ = ports[index].joinGroups(port)
            }
        }
        cell.publish(tables)
    }

    /// How often each policy of a direction was asked for since it is part of the site, in the order of
    /// `Topology.policiesInOrder(_:)` of the latest tables. A packet that came through a tunnel was held against its
    /// SA's selectors and counts there, not for an inbound policy.
    public func policyCounts(_ direction: Direction) -> [PolicyCount] { tables.policies.counts(direction) }

    /// Gives back tables that no worker looks at any more. True when only the latest are left: then nothing is done
    /// under SAs that only older ones name.
    public func reclaim() -> Bool { cell.reclaim(upTo: blocks.map(\.adoptedGeneration).min() ?? .max) }

    /// Takes what workers found out, the oldest of each first. One thread at a time.
    public func takeNotices(_ body: (WorkerNotice) -> Void) {
        for ring in notices { ring.take(body) }
    }

    /// Has workers show single packets, each within a tenth of a second; false while another request is under way, or
    /// has just ended.
    public func observe(_ request: ObservationRequest) -> Bool { observatory.begin(request) }

    /// Whether every worker has begun to show what `observe` asked for.
    public var isObserved: Bool { observatory.isUnderWay }

    /// Has workers show nothing any more. What they have shown and nobody took is gone.
    public func endObservation() { observatory.end() }

    /// Takes at most `limit` of what workers have shown, oldest first of each.
    public func takeObservations(limit: Int) -> [Observation] { observatory.take(limit: limit) }

    /// Since `observe`: packets that were to be shown and found no room, and packets that went by uninspected because
    /// more came than can be followed one by one.
    public var observationLosses: (missed: UInt64, unlooked: UInt64) { observatory.losses }

    /// Seconds that each worker has spent on rounds that had packets.
    public var busySeconds: [Double] {
        blocks.map { Double($0.get(.busyTicks)) / Double(max(1, ticksPerSecond)) }
    }

    /// Packets that each worker has received.
    public var receivedPackets: [UInt64] { blocks.map { $0.get(.received) } }

    /// Packets that each worker has passed to others because they own what the packets need.
    public var handedOver: [UInt64] { blocks.map { $0.get(.handedOver) } }

    /// Packets that each worker has taken from others for the same reason.
    public var takenOver: [UInt64] { blocks.map { $0.get(.takenOver) } }

    /// The clock of observations, in ticks, and how many make a second.
    public var clock: (ticks: UInt64, perSecond: UInt64) { (rte_rdtsc(), ticksPerSecond) }

    /// Rounds that each worker has made: when all have grown, whatever a worker was doing before is over.
    public var rounds: [UInt64] { blocks.map { $0.get(.rounds) } }

    /// The longest that a worker stood still to go over to new tables, in nanoseconds, for each worker.
    public var longestAdoptionNanoseconds: [UInt64] {
        blocks.map { $0.get(.longestAdoption) * 1000 / max(1, ticksPerSecond / 1_000_000) }
    }

    /// Packets that wait in each worker's handoff rings.
    public var handoffDepths: [Int] { rings.map(\.count) }

    /// What worker `index` is made from.
    public func plan(_ index: Int) -> WorkerPlan {
        var plan = WorkerPlan(
            index: index, tables: cell, attention: arena.attention, census: census, notices: notices[index],
            gates: gates, coprocessors: coprocessors, observations: observatory.cells[index],
            ports: ports.map { port in
                WorkerPlan.Port(
                    id: port.id, mac: port.mac, rxQueue: index < port.rxQueues ? UInt16(index) : nil,
                    txQueue: UInt16(index), engine: port.engineAddress)
            }, pool: pools[index], block: blocks[index], rings: rings, ticksPerSecond: ticksPerSecond, mode: mode)
        plan.idle = idle
        return plan
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

    /// Whether every worker has let go of all that it began under earlier gates than these.
    func havePassed(gates version: UInt64) -> Bool { blocks.allSatisfy { $0.passedGates >= version } }

    /// Coprocessors that did nothing any more for some worker, by their index.
    var stuckCoprocessors: Set<Int> {
        let bits = blocks.reduce(0) { $0 | $1.get(.stuck) }
        return Set(coprocessors.indices.filter { bits >> UInt64($0) & 1 != 0 })
    }

    /// Packets that each worker has sent by a port.
    func sent(port: Int) -> [UInt64] { blocks.map { $0.get(.txPackets, port: port) } }

    /// Packets that came in by a port and that its IPsec engine called wrong, and those of them that software then
    /// found right.
    public func deviceErrors(port: Int) -> (failed: UInt64, erred: UInt64) {
        blocks.reduce((0, 0)) {
            ($0.0 + $1.get(.deviceFailed, port: port), $0.1 + $1.get(.deviceErred, port: port))
        }
    }

    /// Asks all workers to finish their round, drain and return.
    public func stop() { for block in blocks { block.stop() } }

    /// Waits for launched workers to return. What one handed to another that had already drained is dropped then.
    public func wait() {
        cdpdk_wait_lcores()
        var leftOver = MbufList(capacity: HandoffRings.capacity)
        for ring in rings.flatMap({ [$0.inside, $0.outside, $0.discovery] }) {
            leftOver.dequeue(ring, limit: leftOver.capacity)
            for _ in 0..<leftOver.count { blocks[0].countDrop(.handoffFull) }
            leftOver.freeAll()
        }
    }

    /// Where all packets went, once the workers stand still: each is counted where it began and where it ended or
    /// waits. While they run a packet may be between two counters; `runningCounts` is for then.
    public var counts: PacketCounts {
        var counts = PacketCounts(ports: ports.count)
        // Ends before beginnings: of a packet whose end is seen, the beginning is.
        for block in blocks { block.accumulateEnds(into: &counts) }
        for block in blocks { block.accumulateBeginnings(into: &counts) }
        for ring in rings { counts.inFlight += UInt64(ring.count) }
        return counts
    }

    /// Where all packets went so far, of workers that run; its sums add up.
    public var runningCounts: PacketCounts { counts.ofRunning }
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
