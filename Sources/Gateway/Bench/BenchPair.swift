import DataPlane
import IPsec

/// Who does the cryptography in one measurement, and how many workers take part.
struct BenchSetup: Sendable {
    var path: BenchOptions.Path
    var workers: Int
    /// The first of the crew's threads that they are on.
    var firstThread = 0
    /// Unique in the process, and short: DPDK's names are.
    var name: String
    /// Crypto devices for the near and the far gateway; none where the path needs none.
    var cryptoDevices: [String] = []
    /// Where numbers are reserved; nil: all may be used.
    var directory: String?

    /// Every path with every number of workers, for so many SAs. Fewer workers than the most have their turn on each of
    /// the threads: no core is as fast as the other, and two would be compared with one of them.
    static func all(_ options: BenchOptions, associations: Int) -> [BenchSetup] {
        let most = options.workers.max() ?? 1
        var devices = cryptoDevices(options)[...], setups: [BenchSetup] = []
        for path in options.paths {
            for workers in options.workers {
                for firstThread in firstThreads(workers, of: options.latency ? workers : most) {
                    var setup = BenchSetup(
                        path: path, workers: workers, firstThread: firstThread, name: "\(associations)-\(setups.count)")
                    if path == .lookaside {
                        setup.cryptoDevices = Array(devices.prefix(2))
                        devices = devices.dropFirst(2)
                    }
                    setups.append(setup)
                }
            }
        }
        return setups
    }

    /// Where each turn of so many workers begins.
    private static func firstThreads(_ workers: Int, of threads: Int) -> StrideThrough<Int> {
        stride(from: 0, through: threads - workers, by: workers)
    }

    /// Workers of all setups with one path.
    static func workersInAll(_ options: BenchOptions) -> Int {
        let most = options.workers.max() ?? 1
        return options.workers.reduce(0) { $0 + $1 * (most / max(1, $1)) }
    }

    /// What EAL is to probe: a device can be started by one gateway only.
    static func cryptoDevices(_ options: BenchOptions) -> [String] {
        guard options.paths.contains(.lookaside) else { return [] }
        return (0..<2 * workersInAll(options)).map { "crypto_aesni_mb\($0)" }
    }

    /// Of the setup's workers the one on a thread; nil when it has none there.
    func worker(on thread: Int) -> Int? {
        firstThread <= thread && thread < firstThread + workers ? thread - firstThread : nil
    }
}

/// Two gateways that are each other's peer, and what the workers of both share.
final class BenchPair: Sendable {
    let setup: BenchSetup
    let pool: PacketPool
    let near: BenchGateway
    let far: BenchGateway

    /// With `associations` SAs for each worker; names of the setup's must be new.
    init(_ setup: BenchSetup, associations: Int) throws {
        let choice: OffloadChoice = setup.path == .inline ? .auto : setup.path == .lookaside ? .lookaside : .off
        let site = try BenchSite(tunnels: associations * setup.workers, offload: choice)
        self.setup = setup
        pool = try PacketPool(
            name: "bench-\(setup.name)", count: 4096 * setup.workers - 1, frameOctets: BenchSite.mtuOctets + 64)
        near = try BenchGateway(
            site.near, setup, pool: pool, name: "near-\(setup.name)", cryptoDevice: setup.cryptoDevices.first)
        far = try BenchGateway(
            site.far, setup, pool: pool, name: "far-\(setup.name)", cryptoDevice: setup.cryptoDevices.last)
    }

    /// Tunnels whose SAs are a worker's, at both ends.
    func tunnels(of worker: Int) -> [Int] {
        near.group.tables.states.indices.filter { near.group.tables.states[$0].owner == worker }
    }

    /// After all workers are gone.
    func close() throws {
        try near.close()
        try far.close()
        precondition(pool.inUse == 0, "packet buffers leaked")
        pool.destroy()
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
}
