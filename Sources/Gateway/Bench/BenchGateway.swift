import DataPlane
import ESP
import IPsec
import SAStore
import Synchronization
import Wire

/// A production worker between two ports without devices, fed and drained by the benchmark's own thread.
struct BenchGateway: ~Copyable {
    let lan: RingPort
    let wan: RingPort
    let group: WorkerGroup
    private let coprocessor: Coprocessor?
    private let offload: OffloadKeeper?
    var worker: Worker
    /// Nil when all numbers may be used.
    let numbers: BenchNumbers?

    /// With a `directory`, numbers are reserved in a store there as a gateway that runs does.
    init(
        _ topology: Topology, pool: PacketPool, name: String, directory: String?, path: BenchOptions.Path = .software,
        cryptoDevice: String? = nil
    ) throws {
        let isInline = path == .inline
        let lan = try RingPort(topology.ports[0], index: 0, pool: pool, name: name)
        let wan = try RingPort(topology.ports[1], index: 1, pool: pool, name: name, isInline: isInline)
        let arena = try AssociationArena()
        var book = TunnelBook()
        let numbers = try directory.map { try BenchNumbers(directory: "\($0)/\(name)", arena: arena) }
        if let numbers {
            try book.follow(topology, workers: 1, installer: numbers.keeper, now: ControlPlane.now)
        } else {
            // Keys are random and die with the process: all numbers may be used.
            try book.follow(topology, workers: 1, installer: UnboundInstaller(arena: arena), now: 0)
        }
        _ = book.advance(to: 0)
        let coprocessor = try cryptoDevice.map {
            try Coprocessor($0, workers: 1, sessions: 2 * topology.tunnels.count + 16)
        }
        let tables = try ForwardingTables(
            topology, states: book.states, name: name, engines: isInline ? [1] : [])
        let group = try WorkerGroup(
            tables, arena: arena, ports: [lan.port, wan.port], pool: pool, workers: 1,
            ticksPerSecond: Environment.ticksPerSecond, mode: .replay(resolve: false), name: name,
            coprocessors: coprocessor.map { [$0] } ?? [])
        worker = try Worker(group.plan(0))
        if isInline { IdleEngine.takeAll(group, port: 1) }
        offload = coprocessor.map { _ in OffloadKeeper(group, ports: [lan.port, wan.port], workers: 1) }
        offload?.follow(book.wishes(topology, ways: tables.ways, overrides: [:]))
        if path == .null { worker.stopCryptography() }
        numbers?.start(group)
        self.lan = lan
        self.wan = wan
        self.group = group
        self.numbers = numbers
        self.coprocessor = coprocessor
    }

    mutating func close() throws {
        try numbers?.stop()
        worker.drain()
        offload?.stop()
        _ = coprocessor?.close()
        lan.close()
        wan.close()
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

/// The packets a benchmark sends: one header for each SA in front of one payload, in memory that is only copied from.
@safe
struct BenchTraffic: ~Copyable {
    private static let headOctets = EthernetHeader.octets + IPv4Header.minimumOctets

    private let heads: UnsafeMutableRawPointer
    private let payload: UnsafeMutableRawPointer
    private let payloadOctets: Int
    private let lengths: [Int]
    private let count: Int
    private var next = 0

    /// Inner packets of these lengths in turn, in octets, for `associations` tunnels in turn.
    init(lengths: [Int], associations: Int) {
        self.lengths = lengths
        count = associations * lengths.count
        payloadOctets = lengths.max() ?? 0
        unsafe payload = .allocate(byteCount: max(1, payloadOctets), alignment: 64)
        for index in 0..<payloadOctets {
            unsafe payload.storeBytes(of: UInt8(truncatingIfNeeded: index &* 31), toByteOffset: index, as: UInt8.self)
        }
        unsafe heads = .allocate(byteCount: count * BenchTraffic.headOctets, alignment: 64)
        for index in 0..<count {
            let head = self.head(index)
            EthernetHeader(head)?.emit(destination: .broadcast, source: .broadcast, etherType: EtherType.ipv4)
            IPv4Header(head.dropFirst(EthernetHeader.octets))?.emit(
                totalLength: lengths[index % lengths.count], timeToLive: 64, ipProtocol: IPProtocol.udp,
                source: BenchSite.source.v4Number,
                destination: BenchSite.destination(tunnel: index % associations).v4Number)
        }
    }

    deinit {
        unsafe heads.deallocate()
        unsafe payload.deallocate()
    }

    @inline(__always)
    private func head(_ index: Int) -> PacketBytes {
        unsafe PacketBytes(
            unsafeStart: heads + index &* BenchTraffic.headOctets, count: BenchTraffic.headOctets)
    }

    /// Copies the next packets of the sequence into fresh buffers that "came in" by `port`.
    mutating func fill(_ frames: borrowing MbufList, port: StartedPort) {
        let payload = unsafe PacketBytes(unsafeStart: payload, count: payloadOctets)
        var index = 0
        while index < frames.count {
            let length = lengths[next % lengths.count] &- IPv4Header.minimumOctets
            frames[index].fill(head: head(next), payload: payload.prefix(length), port: port.id)
            next = next &+ 1 < count ? next &+ 1 : 0
            index &+= 1
        }
    }

    /// Turns a packet of ours into one of the way back; sums don't change when source and destination change places.
    static func reverse(_ ip: PacketBytes) {
        let (source, destination) = (
            ip.word32(at: IPv4Header.Offset.source), ip.word32(at: IPv4Header.Offset.destination)
        )
        ip.store(word: destination, at: IPv4Header.Offset.source)
        ip.store(word: source, at: IPv4Header.Offset.destination)
    }
}
