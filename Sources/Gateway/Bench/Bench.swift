// What `vpn-gw bench` measures: TSC cycles a packet through the production worker, with every check on.
//
// A round is one burst: 32 packets are copied from a template into fresh buffers and put into a port's queue, the
// worker polls once, and what it sent is taken and freed. The same feed without a worker, straight from port to port,
// is the I/O floor. Decapsulation is fed with copies of what the peer gateway has just encrypted, outside of the time
// that is taken.

import DataPlane
import Wire

/// What to measure.
public struct BenchOptions: Sendable {
    /// Which way packets go: out, in, or one burst each way through one worker.
    public enum Direction: String, Sendable, CaseIterable { case encap, decap, both }
    /// How the result is printed.
    public enum Format: String, Sendable, CaseIterable { case table, json, csv }

    /// One or more inner lengths in octets, measured as one row; named as the operator named it.
    public struct Size: Sendable {
        /// As the operator named it.
        public var name: String
        /// Inner lengths in octets, taken in turn.
        public var lengths: [Int]

        /// 7 × 64 : 4 × 552 : 1 × 1420 inner octets.
        public static let imix = Size(
            name: "imix", lengths: [64, 552, 64, 64, 552, 64, 64, 1420, 552, 64, 64, 552])

        /// One length.
        public init(octets: Int) { self.init(name: String(octets), lengths: [octets]) }

        init(name: String, lengths: [Int]) {
            self.name = name
            self.lengths = lengths
        }

        /// Reads "imix" or a number within `octetLimits`.
        public init?(_ text: String) {
            if text == Size.imix.name {
                self = .imix
            } else {
                guard let octets = Int(text), BenchOptions.octetLimits.contains(octets) else { return nil }
                self.init(octets: octets)
            }
        }

        var meanOctets: Double { Double(lengths.reduce(0, +)) / Double(lengths.count) }
    }

    /// The sizes of the contract, and IMIX.
    public static let defaultSizes = [64, 128, 256, 512, 1024, 1420, 8900].map(Size.init(octets:)) + [Size.imix]
    /// Inner lengths that can be measured.
    public static let octetLimits = 20...9000

    /// Numbers of SAs that can be measured.
    public static let associationLimits = 1...BenchSite.tunnelLimit

    /// What to measure, a row each.
    public var sizes = defaultSizes
    /// Directions to print; all are measured.
    public var directions = Direction.allCases
    /// Numbers of SAs, a set of rows each.
    public var associations = [1]
    /// Bursts of 32 packets in a sample, and samples of each row.
    public var roundsPerSample = 16
    /// Samples of each row.
    public var samples = 400
    /// Also measure ESP's passes alone.
    public var stages = false

    /// The contract's defaults.
    public init() {}
}

/// A benchmark of one number of SAs. Lives on one thread, which has started the environment.
struct Bench: ~Copyable {
    private static let burst = 32

    private let pool: PacketPool
    private var near: BenchGateway
    private var far: BenchGateway
    private var frames = MbufList(capacity: Bench.burst)
    private var made = MbufList(capacity: Bench.burst)
    private var sent = MbufList(capacity: 2 * Bench.burst)
    private var clock: UInt64 = 1

    init(associations: Int) throws {
        let site = try BenchSite(tunnels: associations)
        let pool = try PacketPool(
            name: "bench-\(associations)", count: 4095, frameOctets: BenchSite.mtuOctets + 64)
        let near = try BenchGateway(site.near, pool: pool, name: "near-\(associations)")
        let far = try BenchGateway(site.far, pool: pool, name: "far-\(associations)")
        self.pool = pool
        self.near = near
        self.far = far
    }

    mutating func close() {
        near.close()
        far.close()
        precondition(pool.inUse == 0, "packet buffers leaked")
        pool.destroy()
    }

    /// Samples of cycles a packet for each direction, and of the floor.
    struct Samples {
        var encap: [Double] = [], decap: [Double] = [], both: [Double] = [], floor: [Double] = []
    }

    /// Measures all directions in turn within each sample, so that a slow moment of the machine hits all of them.
    mutating func measure(_ size: BenchOptions.Size, associations: Int, _ options: BenchOptions) throws -> Samples {
        var samples = Samples()
        var there = BenchTraffic(lengths: size.lengths, associations: associations)
        for sample in -20..<options.samples {
            var cycles = (encap: UInt64(0), decap: UInt64(0), both: UInt64(0), floor: UInt64(0))
            for _ in 0..<options.roundsPerSample {
                cycles.floor += try floorRound(&there)
                cycles.encap += try encapRound(&there)
                cycles.decap += try decapRound(&there)
                cycles.both += try bothRound(&there)
            }
            guard sample >= 0 else { continue }
            let packets = Double(options.roundsPerSample * Bench.burst)
            samples.floor.append(Double(cycles.floor) / packets)
            samples.encap.append(Double(cycles.encap) / packets)
            samples.decap.append(Double(cycles.decap) / packets)
            samples.both.append(Double(cycles.both) / packets / 2)
        }
        return samples
    }

    private mutating func floorRound(_ traffic: inout BenchTraffic) throws -> UInt64 {
        let start = Environment.ticks
        try feed(&traffic)
        near.lan.passThrough(&frames)
        near.lan.collect(into: &sent)
        let count = sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        try expect(count == Bench.burst, "the floor lost packets")
        return cycles
    }

    private mutating func encapRound(_ traffic: inout BenchTraffic) throws -> UInt64 {
        let start = Environment.ticks
        try feed(&traffic)
        let now = tick()
        near.worker.poll(now: now)
        near.wan.collect(into: &sent)
        let count = sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        try expect(count == Bench.burst, "encapsulation lost packets")
        return cycles
    }

    /// The near gateway encrypts a burst, whose copies the far one then opens.
    private mutating func decapRound(_ traffic: inout BenchTraffic) throws -> UInt64 {
        try feed(&traffic)
        var now = tick()
        near.worker.poll(now: now)
        near.wan.collect(into: &made)
        let start = Environment.ticks
        try copyMade(to: far.wan)
        now = tick()
        far.worker.poll(now: now)
        far.lan.collect(into: &sent)
        let count = sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        made.freeAll()
        try expect(count == Bench.burst, "decapsulation lost packets")
        return cycles
    }

    /// One burst each way through the near gateway's one worker.
    private mutating func bothRound(_ traffic: inout BenchTraffic) throws -> UInt64 {
        try feedBack(&traffic)
        var now = tick()
        far.worker.poll(now: now)
        far.wan.collect(into: &made)
        let start = Environment.ticks
        try feed(&traffic)
        try copyMade(to: near.wan)
        now = tick()
        near.worker.poll(now: now)
        near.wan.collect(into: &sent)
        var count = sent.count
        sent.freeAll()
        near.lan.collect(into: &sent)
        count += sent.count
        sent.freeAll()
        let cycles = Environment.ticks - start
        made.freeAll()
        try expect(count == 2 * Bench.burst, "a worker with both directions lost packets")
        return cycles
    }

    private mutating func feed(_ traffic: inout BenchTraffic) throws {
        try expect(frames.allocate(Bench.burst, from: pool), "no buffers")
        traffic.fill(frames, port: near.lan.port)
        _ = near.lan.feed(&frames)
    }

    private mutating func feedBack(_ traffic: inout BenchTraffic) throws {
        try expect(frames.allocate(Bench.burst, from: pool), "no buffers")
        traffic.fill(frames, port: far.lan.port)
        for index in 0..<frames.count { BenchTraffic.reverse(frames[index].bytes.dropFirst(EthernetHeader.octets)) }
        _ = far.lan.feed(&frames)
    }

    private mutating func copyMade(to port: RingPort) throws {
        try expect(frames.allocate(made.count, from: pool), "no buffers")
        for index in 0..<made.count { _ = frames[index].fill(with: made[index].bytes, port: port.port, timestamp: 0) }
        _ = port.feed(&frames)
    }

    private mutating func tick() -> UInt64 {
        clock += 1
        return clock
    }

    private func expect(_ condition: Bool, _ message: String) throws {
        if !condition { throw BenchError(message: message) }
    }
}

/// A benchmark that did not measure what it meant to.
struct BenchError: Error, CustomStringConvertible {
    let message: String
    var description: String { "bench: \(message)" }
}
