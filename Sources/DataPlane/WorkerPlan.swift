import ESP
import Wire

/// The queues by which other workers pass packets to one: each takes what only its reader may handle.
public struct HandoffRings: BitwiseCopyable, Sendable {
    static let capacity = 1024
    /// Rounds in which a worker has taken all that was in a full one, and two more.
    static let rounds = UInt64(capacity / Worker.burst) + 2

    /// Packets from the protected side (or decrypted) whose outbound SA the reader owns.
    let inside: PacketRing
    /// Packets from the unprotected side whose inbound SA the reader owns.
    let outside: PacketRing
    /// What links say of neighbours, frames of ARP and of neighbour discovery, on its way round all workers.
    let discovery: PacketRing

    /// Rings for the worker with this index, on its NUMA node.
    public init(worker: Int, name: String, node: Int? = nil) throws(DataPlaneError) {
        func ring(_ what: String) throws(DataPlaneError) -> PacketRing {
            try PacketRing(
                name: "\(name)-\(what)-\(worker)", capacity: HandoffRings.capacity, single: false, node: node)
        }
        inside = try ring("inside")
        outside = try ring("outside")
        discovery = try ring("discovery")
    }

    /// Packets in all three.
    var count: Int { inside.count + outside.count + discovery.count }

    func destroy() {
        inside.destroy()
        outside.destroy()
        discovery.destroy()
    }
}

/// How a worker treats what a capture file can't give it.
public enum WorkerMode: Sendable {
    /// Real ports: frames for the port's own address, the broadcast address and the groups it joined; ARP and neighbour
    /// discovery.
    case live
    /// Capture files: frames for any address. With `resolve` neighbours are asked for as in live mode, else every next
    /// hop without an entry is 02:00:00:00:00:01 and nothing is asked.
    case replay(resolve: Bool)

    /// What others can't guess of where fragments are kept; in replay nothing depends on chance.
    var secret: UInt64 {
        switch self {
        case .live: .random(in: 0 ... .max)
        case .replay: 0
        }
    }
}

/// Everything a worker needs to be made where it will run.
public struct WorkerPlan: Sendable {
    /// A port as one worker uses it.
    public struct Port: Sendable {
        /// DPDK's number.
        public var id: UInt16
        /// Its own address.
        public var mac: MACAddress
        /// The receive queue this worker polls; nil when other workers poll them all.
        public var rxQueue: UInt16?
        /// The transmit queue that is this worker's alone.
        public var txQueue: UInt16
        /// The address of its driver's IPsec engine; 0 without.
        var engine: UInt

        /// A port as one worker uses it.
        init(id: UInt16, mac: MACAddress, rxQueue: UInt16?, txQueue: UInt16, engine: UInt) {
            self.engine = engine
            self.id = id
            self.mac = mac
            self.rxQueue = rxQueue
            self.txQueue = txQueue
        }
    }

    /// Which of the workers it is.
    public var index: Int
    /// Where it finds the tables to look things up in.
    public var tables: TableCell
    /// Where it tells of SAs that want something.
    public var attention: AttentionMap
    /// Where it tells of its neighbours.
    public var census: NeighborCensus
    /// Where it tells of peers and paths.
    public var notices: NoticeRing
    /// What says whether it may leave packets to a NIC.
    var gates: OffloadGates
    /// Where it hears of who looks at packets.
    var observations: ObservationCell
    /// Devices that do cryptography beside the packets' way.
    var coprocessors: [Coprocessor]
    /// In the topology's order.
    public var ports: [Port]
    /// Where its own packets come from.
    public var pool: PacketPool
    /// Where it counts.
    public var block: WorkerBlock
    /// Of all workers, this one's at `index`.
    public var rings: [HandoffRings]
    /// Of the clock that `poll` is given.
    public var ticksPerSecond: UInt64
    /// How it treats what a capture file can't give.
    public var mode: WorkerMode
    /// What it does while nothing comes.
    var idle = WorkerIdle.poll

    /// A plan.
    init(
        index: Int, tables: TableCell, attention: AttentionMap, census: NeighborCensus, notices: NoticeRing,
        gates: OffloadGates, coprocessors: [Coprocessor], observations: ObservationCell, ports: [Port],
        pool: PacketPool,
        block: WorkerBlock, rings: [HandoffRings], ticksPerSecond: UInt64, mode: WorkerMode
    ) {
        self.index = index
        self.tables = tables
        self.attention = attention
        self.census = census
        self.notices = notices
        self.gates = gates
        self.observations = observations
        self.coprocessors = coprocessors
        self.ports = ports
        self.pool = pool
        self.block = block
        self.rings = rings
        self.ticksPerSecond = ticksPerSecond
        self.mode = mode
    }
}
