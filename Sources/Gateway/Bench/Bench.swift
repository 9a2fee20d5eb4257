// What `vpn-gw bench` measures: TSC cycles a packet through the production worker, with every check on.
//
// A round is one burst: 32 packets are copied from a template into fresh buffers and put into a port's queue, the
// worker polls once, and what it sent is taken and freed. The same feed without a worker, straight from port to port,
// is the I/O floor. Decapsulation is fed with copies of what the peer gateway has just encrypted, outside of the time
// that is taken.

import DataPlane
import ESP
import Glibc
import IPsec
import Wire

/// What to measure.
public struct BenchOptions: Sendable {
    /// Which way packets go: out, in, or one burst each way through one worker.
    public enum Direction: String, Sendable, CaseIterable { case encap, decap, both }
    /// Who does the cryptography.
    public enum Path: String, Sendable, CaseIterable {
        /// The processor.
        case software
        /// A NIC, whose own part and whose driver's is left out.
        case inline
        /// A crypto device in software, beside the packets' way: DPDK's crypto_aesni_mb.
        case lookaside
        /// Nobody: all that is left of the way.
        case null

        /// Polls until a burst that came has left: what a device has is fetched by the next one.
        var polls: Int { self == .lookaside ? 2 : 1 }
    }
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
    /// Paths, in turn within a sample.
    public var paths = [Path.software]
    /// Numbers of SAs, a set of rows each.
    public var associations = [1]
    /// Bursts of 32 packets in a sample, and samples of each row.
    public var roundsPerSample = 16
    /// Samples of each row.
    public var samples = 400
    /// Also measure ESP's passes alone.
    public var stages = false
    /// Also measure every row with numbers reserved on disk, in turn with those without, in a store below this
    /// directory.
    var storeDirectory: String?

    /// The contract's defaults.
    public init() {}
}

/// A benchmark of one number of SAs. Lives on one thread, which has started the environment.
struct Bench: ~Copyable {
    private static let burst = 32
    /// What the lookaside path is measured with, one for each gateway.
    static let cryptoDevices: [String?] = ["crypto_aesni_mb0", "crypto_aesni_mb1"]

    private let pool: PacketPool
    private var near: BenchGateway
    private var far: BenchGateway
    private var frames = MbufList(capacity: Bench.burst)
    private var made = MbufList(capacity: Bench.burst)
    private var sent = MbufList(capacity: 2 * Bench.burst)
    private var clock: UInt64 = 1
    private let path: BenchOptions.Path
    /// Samples that were taken again.
    private(set) var repeated = 0

    /// With a `directory`, both gateways reserve their numbers there.
    init(associations: Int, path: BenchOptions.Path = .software, directory: String? = nil) throws {
        let suffix = "\(associations)-\(directory == nil ? path.rawValue : "store")"
        let choice: OffloadChoice = path == .inline ? .auto : path == .lookaside ? .lookaside : .off
        let site = try BenchSite(tunnels: associations, offload: choice)
        let devices = path == .lookaside ? Bench.cryptoDevices : [nil, nil]
        let pool = try PacketPool(
            name: "bench-\(suffix)", count: 4095, frameOctets: BenchSite.mtuOctets + 64)
        let near = try BenchGateway(
            site.near, pool: pool, name: "near-\(suffix)", directory: directory, path: path,
            cryptoDevice: devices[0])
        let far = try BenchGateway(
            site.far, pool: pool, name: "far-\(suffix)", directory: directory, path: path,
            cryptoDevice: devices[1])
        self.path = path
        self.pool = pool
        self.near = near
        self.far = far
    }

    mutating func close() throws {
        try near.close()
        try far.close()
        precondition(pool.inUse == 0, "packet buffers leaked")
        pool.destroy()
    }

    /// Samples of cycles a packet for each direction, and of the floor.
    struct Samples {
        var encap: [Double] = [], decap: [Double] = [], both: [Double] = [], floor: [Double] = []
    }

    /// Takes one sample: all directions in turn, so that a slow moment of the machine hits all of them.
    mutating func sample(_ traffic: inout BenchTraffic, rounds: Int, into samples: inout Samples) throws {
        var cycles = (encap: UInt64(0), decap: UInt64(0), both: UInt64(0), floor: UInt64(0))
        for _ in 0..<rounds {
            cycles.floor += try floorRound(&traffic)
            cycles.encap += try encapRound(&traffic)
            cycles.decap += try decapRound(&traffic)
            cycles.both += try bothRound(&traffic)
        }
        let packets = Double(rounds * Bench.burst)
        samples.floor.append(Double(cycles.floor) / packets)
        samples.encap.append(Double(cycles.encap) / packets)
        samples.decap.append(Double(cycles.decap) / packets)
        samples.both.append(Double(cycles.both) / packets / 2)
    }

    /// The same for gateways that reserve their numbers. A sample in which packets waited for the disk (the rate has
    /// just risen from nothing) says nothing of their cost and is taken again; how often is counted.
    mutating func patientSample(_ traffic: inout BenchTraffic, rounds: Int, into samples: inout Samples) throws {
        for _ in 0..<10_000 {
            var taken = Samples()
            do {
                try sample(&traffic, rounds: rounds, into: &taken)
            } catch is BenchError {
                repeated += 1
                try settle()
                continue
            }
            samples.floor += taken.floor
            samples.encap += taken.encap
            samples.decap += taken.decap
            samples.both += taken.both
            return
        }
        throw BenchError(message: "packets go on waiting for the store")
    }

    /// Until nothing waits any more.
    private mutating func settle() throws {
        made.freeAll()
        for _ in 0..<10_000 {
            let now = tick()
            near.worker.poll(now: now)
            far.worker.poll(now: now)
            near.worker.releaseDropped()
            far.worker.releaseDropped()
            for port in [near.lan, near.wan, far.lan, far.wan] {
                port.collect(into: &sent)
                sent.freeAll()
            }
            if pool.inUse == 0 { return }
            usleep(100)
        }
        throw BenchError(message: "packets wait for the store without end")
    }

    /// Packets that both gateways have sent under an SA, and what their stores wrote.
    var reserved: (packets: UInt64, commits: UInt64, octets: UInt64) {
        var sum: (packets: UInt64, commits: UInt64, octets: UInt64) = (0, 0, 0)
        for numbers in [near.numbers, far.numbers].compactMap({ $0 }) {
            let written = numbers.store.written
            sum.commits += written.commits
            sum.octets += written.octets
        }
        for state in near.group.tables.states + far.group.tables.states {
            sum.packets += state.outbound?.reference.with { $0.packets } ?? 0
        }
        return sum
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
        pollNear()
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
        pollNear()
        near.wan.collect(into: &made)
        let start = Environment.ticks
        try copyMade(to: far.wan)
        pollFar()
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
        pollFar()
        far.wan.collect(into: &made)
        let start = Environment.ticks
        try feed(&traffic)
        try copyMade(to: near.wan)
        pollNear()
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
        for index in 0..<made.count {
            _ = frames[index].fill(with: made[index].bytes, port: port.port, timestamp: 0)
            // What was left to a NIC comes from one that has opened it.
            if path == .inline { frames[index].setVerdict(isOpened: made[index].wantsEncryption) }
        }
        _ = port.feed(&frames)
    }

    private mutating func pollNear() {
        for _ in 0..<path.polls { near.worker.poll(now: tick()) }
    }

    private mutating func pollFar() {
        for _ in 0..<path.polls { far.worker.poll(now: tick()) }
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
