import Testing
import Wire

@testable import DataPlane

/// A gateway of one or two production workers between ring ports, fed and drained by a test on its own thread.
final class Rig {
    let pool: PacketPool
    let ports: [RingPort]
    let group: WorkerGroup
    var first: Worker
    /// With two workers: the first polls the even ports, this one the odd ones. Both send on all.
    var second: Worker?
    /// Frames fed so far, and frames taken from each port.
    private(set) var fed = 0
    private(set) var taken = 0
    /// Packets that crypto devices still had at the end.
    private(set) var kept = 0
    private var list = MbufList(capacity: 64)

    /// With `states`, those say which SAs there are; else each tunnel has its first children.
    init(
        _ topology: Topology, workers: Int = 1, buffers: Int = 2047, mode: WorkerMode = .replay(resolve: false),
        cryptoDevices: [String] = [], states: ((AssociationArena) throws -> [TunnelState])? = nil
    ) throws {
        let name = TestEnvironment.name()
        let pool = try PacketPool(name: name, count: buffers, frameOctets: 2048)
        let ports = try topology.ports.enumerated().map { index, port in
            try RingPort(port, index: index, pool: pool, name: name)
        }
        let arena = try AssociationArena()
        let tables = try ForwardingTables(
            topology, states: states?(arena) ?? firstStates(topology, arena: arena, workers: workers), name: name)
        let group = try WorkerGroup(
            tables, arena: arena, ports: ports.map(\.port), pool: pool, workers: workers,
            ticksPerSecond: 1_000_000_000, mode: mode, name: name,
            coprocessors: cryptoDevices.map { try Coprocessor($0, workers: workers, sessions: 64) })
        self.pool = pool
        self.ports = ports
        self.group = group
        first = try Worker(Rig.plan(group, 0))
        second = workers == 2 ? try Worker(Rig.plan(group, 1)) : nil
    }

    /// Ring ports have one queue each way; on one thread two workers may send by it.
    private static func plan(_ group: WorkerGroup, _ index: Int) -> WorkerPlan {
        var plan = group.plan(index)
        for port in plan.ports.indices {
            plan.ports[port].txQueue = 0
            if plan.rings.count == 2 { plan.ports[port].rxQueue = port % 2 == index ? 0 : nil }
        }
        return plan
    }

    /// Publishes tables that follow the latest.
    @discardableResult
    func publish(_ topology: Topology, _ states: [TunnelState]) throws -> ForwardingTables {
        let tables = try ForwardingTables(
            topology, states: states, name: TestEnvironment.name(), previous: group.tables)
        group.publish(tables)
        return tables
    }

    /// Puts frames into a port's queue; returns how many found a buffer and a place.
    @discardableResult
    func feed(_ frames: [[UInt8]], port: Int, timestamp: UInt64 = 0) -> Int {
        var count = 0
        for frame in frames {
            guard let mbuf = list.appendFresh(from: pool) else { break }
            var octets = frame
            let fits = octets.withPacketBytes { mbuf.fill(with: $0, port: ports[port].port, timestamp: timestamp) }
            precondition(fits, "a test's frame fits a test's buffer")
            guard ports[port].feed(&list) == 1 else {
                list.freeAll()
                break
            }
            count += 1
        }
        fed += count
        return count
    }

    /// Puts a frame into a port's queue as a driver gives one that is longer than its buffers: in a chain of them with
    /// so many octets each. False when it found no place.
    func feed(_ frame: [UInt8], inPiecesOf octets: Int, port: Int) -> Bool {
        let pieces = stride(from: 0, to: frame.count, by: octets).map {
            Array(frame[$0..<min($0 + octets, frame.count)])
        }
        for (index, piece) in pieces.enumerated() {
            guard let mbuf = pool.allocate() else {
                list.freeAll()
                return false
            }
            var piece = piece
            let fits = piece.withPacketBytes { mbuf.fill(with: $0, port: ports[port].port, timestamp: 0) }
            precondition(fits, "a test's piece fits a test's buffer")
            if index == 0 { list.append(mbuf) } else { list[0].chain(mbuf) }
        }
        guard ports[port].feed(&list) == 1 else {
            list.freeAll()
            return false
        }
        fed += 1
        return true
    }

    /// One round of every worker. Dropped packets are released after it, as whoever runs a worker does.
    func poll(now: UInt64) {
        first.poll(now: now)
        first.releaseDropped()
        first.showInFlight()
        guard second != nil else { return }
        second?.poll(now: now)
        second?.releaseDropped()
        second?.showInFlight()
        first.showInFlight()
    }

    /// What a port sent since it was asked last.
    func take(_ port: Int) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        ports[port].collect(into: &list)
        while list.count > 0 {
            for index in 0..<list.count { frames.append(list[index].bytes.array) }
            list.freeAll()
            ports[port].collect(into: &list)
        }
        taken += frames.count
        return frames
    }

    /// Ends: nothing is in flight, and every buffer is back. What came out at the end is returned by port. The rig may
    /// not be used after it.
    func close(_ context: String) -> [[[UInt8]]] {
        first.drain()
        second?.drain()
        group.wait()
        let last = ports.indices.map { take($0) }
        let counts = group.counts
        #expect(counts.isConserved && counts.inFlight == 0, "\(context): \(counts)")
        #expect(counts.transmitted == UInt64(taken), "\(context): \(counts), \(taken) taken")
        #expect(counts.received == UInt64(fed), "\(context): \(counts), \(fed) fed")
        for coprocessor in group.coprocessors { kept += coprocessor.close() }
        for port in ports { port.close() }
        #expect(pool.inUse == 0, "\(context): buffers leaked")
        if pool.inUse == 0 { pool.destroy() }
        return last
    }
}
