// What `vpn-gw bench` measures: TSC cycles a packet through the production worker, with every check on.
//
// A round is one burst: 32 packets are copied from a template into fresh buffers and put into a port's queue, the
// worker polls once, and what it sent is taken and freed. The same feed without a worker, straight from port to port,
// is the I/O floor. Decapsulation is fed with copies of what the peer gateway has just encrypted, outside of the time
// that is taken.

import DataPlane
import Glibc
import Wire

/// One worker of each of two gateways, and what feeds them. Lives on one thread.
struct Bench: ~Copyable {
    static let burst = 32

    let pool: PacketPool
    var near: Worker
    var far: Worker
    let nearLAN: RingQueue, nearWAN: RingQueue, farLAN: RingQueue, farWAN: RingQueue
    var traffic: BenchTraffic
    var frames = MbufList(capacity: Bench.burst)
    var made = MbufList(capacity: Bench.burst)
    var sent = MbufList(capacity: 2 * Bench.burst)
    private let tunnels: [Int]
    private var clock: UInt64 = 1
    /// Polls until a burst that came has left: what a device has is fetched by the next one.
    private let polls: Int
    private let isInline: Bool
    /// Samples that were taken again.
    private(set) var repeated = 0

    /// Worker number `worker` of both gateways, which no other thread polls.
    init(_ pair: borrowing BenchPair, worker: Int) throws {
        let (near, far) = (pair.near, pair.far)
        pool = pair.pool
        tunnels = pair.tunnels(of: worker)
        polls = pair.setup.path.polls
        isInline = pair.setup.path == .inline
        (nearLAN, nearWAN) = (near.ports[worker][0].queue, near.ports[worker][1].queue)
        (farLAN, farWAN) = (far.ports[worker][0].queue, far.ports[worker][1].queue)
        let first = try Bench.make(near.plan(worker), path: pair.setup.path)
        let second = try Bench.make(far.plan(worker), path: pair.setup.path)
        self.near = first
        self.far = second
        traffic = BenchTraffic(lengths: [64], tunnels: tunnels)
    }

    private static func make(_ plan: WorkerPlan, path: BenchOptions.Path) throws -> Worker {
        var worker = try Worker(plan)
        if path == .null { worker.stopCryptography() }
        return worker
    }

    /// Sends packets of these inner lengths in octets from now on.
    mutating func load(_ lengths: [Int]) { traffic = BenchTraffic(lengths: lengths, tunnels: tunnels) }

    /// Gives back what the workers hold.
    mutating func drain() {
        near.drain()
        far.drain()
    }

    /// Samples of cycles a packet for each direction, and of the floor.
    struct Samples: Sendable {
        var encap: [Double] = [], decap: [Double] = [], both: [Double] = [], floor: [Double] = []
        /// Of encapsulation alone, where there is a meter: packets, and what the machine used meanwhile.
        var metered = 0
        var joules: Double?

        static func += (left: inout Samples, right: Samples) {
            left.encap += right.encap
            left.decap += right.decap
            left.both += right.both
            left.floor += right.floor
        }

        /// What a packet cost on average over workers, sample by sample: all took theirs at the same time, or in turn.
        static func mean(_ workers: [Samples]) -> Samples {
            func mean(_ part: (Samples) -> [Double]) -> [Double] {
                let all = workers.map(part)
                return (0..<(all.map(\.count).min() ?? 0)).map { index in
                    all.reduce(0) { $0 + $1[index] } / Double(all.count)
                }
            }
            return Samples(
                encap: mean(\.encap), decap: mean(\.decap), both: mean(\.both), floor: mean(\.floor),
                metered: workers.reduce(0) { $0 + $1.metered },
                joules: workers.contains { $0.joules != nil } ? workers.reduce(0) { $0 + ($1.joules ?? 0) } : nil)
        }
    }

    /// Takes one sample: all directions in turn, so that a slow moment of the machine hits all of them.
    mutating func sample(rounds: Int, into samples: inout Samples) throws {
        var cycles = (encap: UInt64(0), decap: UInt64(0), both: UInt64(0), floor: UInt64(0))
        for _ in 0..<rounds {
            cycles.floor += try floorRound()
            cycles.encap += try encapRound()
            cycles.decap += try decapRound()
            cycles.both += try bothRound()
        }
        let packets = Double(rounds * Bench.burst)
        samples.floor.append(Double(cycles.floor) / packets)
        samples.encap.append(Double(cycles.encap) / packets)
        samples.decap.append(Double(cycles.decap) / packets)
        samples.both.append(Double(cycles.both) / packets / 2)
    }

    /// The same for gateways that reserve their numbers. A sample in which packets waited for the disk (the rate has
    /// just risen from nothing) says nothing of their cost and is taken again; how often is counted.
    mutating func patientSample(rounds: Int, into samples: inout Samples) throws {
        for _ in 0..<10_000 {
            var taken = Samples()
            do {
                try sample(rounds: rounds, into: &taken)
            } catch is BenchError {
                repeated += 1
                try settle()
                continue
            }
            samples += taken
            return
        }
        throw BenchError(message: "packets go on waiting for the store")
    }

    /// Until nothing waits any more.
    private mutating func settle() throws {
        made.freeAll()
        for _ in 0..<10_000 {
            let now = tick()
            near.poll(now: now)
            far.poll(now: now)
            near.releaseDropped()
            far.releaseDropped()
            for queue in [nearLAN, nearWAN, farLAN, farWAN] {
                queue.collect(into: &sent)
                sent.freeAll()
            }
            if pool.inUse == 0 { return }
            usleep(100)
        }
        throw BenchError(message: "packets wait for the store without end")
    }

    /// Encapsulates for so many ticks and does nothing else: for a meter that can't see single bursts. Returns how many
    /// packets that were.
    mutating func encapsulate(ticks: UInt64) throws -> Int {
        let start = Environment.ticks
        var packets = 0
        while Environment.ticks - start < ticks {
            _ = try encapRound()
            packets += Bench.burst
        }
        return packets
    }

    private mutating func floorRound() throws -> UInt64 {
        let start = Environment.ticks
        try feed()
        nearLAN.passThrough(&frames)
        nearLAN.collect(into: &sent)
        let count = sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        try Bench.expect(count == Bench.burst, "the floor lost packets")
        return cycles
    }

    private mutating func encapRound() throws -> UInt64 {
        let start = Environment.ticks
        try feed()
        pollNear()
        nearWAN.collect(into: &sent)
        let count = sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        try Bench.expect(count == Bench.burst, "encapsulation lost packets")
        return cycles
    }

    /// The near gateway encrypts a burst, whose copies the far one then opens.
    private mutating func decapRound() throws -> UInt64 {
        try feed()
        pollNear()
        nearWAN.collect(into: &made)
        let start = Environment.ticks
        try copyMade(to: farWAN)
        pollFar()
        farLAN.collect(into: &sent)
        let count = sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        made.freeAll()
        try Bench.expect(count == Bench.burst, "decapsulation lost packets")
        return cycles
    }

    /// One burst each way through the near gateway's one worker.
    private mutating func bothRound() throws -> UInt64 {
        try feedBack()
        pollFar()
        farWAN.collect(into: &made)
        let start = Environment.ticks
        try feed()
        try copyMade(to: nearWAN)
        pollNear()
        nearWAN.collect(into: &sent)
        var count = sent.count
        sent.freeAll()
        nearLAN.collect(into: &sent)
        count += sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        made.freeAll()
        try Bench.expect(count == 2 * Bench.burst, "a worker with both directions lost packets")
        return cycles
    }

    mutating func feed(_ count: Int = Bench.burst) throws {
        try Bench.expect(frames.allocate(count, from: pool), "no buffers")
        traffic.fill(frames, port: nearLAN.port)
        _ = nearLAN.feed(&frames)
    }

    private mutating func feedBack() throws {
        try Bench.expect(frames.allocate(Bench.burst, from: pool), "no buffers")
        traffic.fill(frames, port: farLAN.port)
        for index in 0..<frames.count { BenchTraffic.reverse(frames[index].bytes.dropFirst(EthernetHeader.octets)) }
        _ = farLAN.feed(&frames)
    }

    private mutating func copyMade(to queue: RingQueue) throws {
        try fillFromMade(to: queue)
        _ = queue.feed(&frames)
    }

    /// Copies what the peer has made into fresh buffers.
    mutating func fillFromMade(to queue: RingQueue) throws {
        try Bench.expect(frames.allocate(made.count, from: pool), "no buffers")
        for index in 0..<made.count {
            let packet = made[index].bytes
            frames[index].fill(head: packet, payload: packet.prefix(0), port: queue.port)
            // What was left to a NIC comes from one that has opened it.
            if isInline { frames[index].setVerdict(isOpened: made[index].wantsEncryption) }
        }
    }

    private mutating func pollNear() {
        for _ in 0..<polls { near.poll(now: tick()) }
    }

    private mutating func pollFar() {
        for _ in 0..<polls { far.poll(now: tick()) }
    }

    private mutating func tick() -> UInt64 {
        clock += 1
        return clock
    }

    static func expect(_ condition: Bool, _ message: String) throws {
        if !condition { throw BenchError(message: message) }
    }
}

/// A benchmark that did not measure what it meant to.
struct BenchError: Error, CustomStringConvertible {
    let message: String
    var description: String { "bench: \(message)" }
}
