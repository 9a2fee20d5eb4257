import DataPlane
import IPsec

/// What runs on DPDK: devices, tables, workers. Made and stopped on the environment's thread.
final class LiveDataPlane: Sendable {
    let group: WorkerGroup
    let cryptoDescription: String
    let offload: OffloadKeeper
    private let devices: LiveDevices

    var ports: [StartedPort] { devices.ports }
    /// Whether ports were started with their IPsec engines, where they have such.
    var wantsEngine: Bool { devices.wantsEngine }
    var coprocessors: [Coprocessor] { devices.coprocessors }
    /// Where its memory lies.
    var nodes: NodePlan { devices.nodes }

    /// Starts EAL for a site: DPDK's memory, its threads, and a look at the devices that the site names.
    static func startEnvironment(_ site: Site) throws(DataPlaneError) {
        try Environment.start(
            Environment.Settings(
                workerCores: site.dpdk.workerCores, hugePages: site.dpdk.hugePages,
                memoryMiB: site.dpdk.memoryMiB ?? MemorySizing(site).memoryMiB,
                devices: site.topology.ports.map(\.device) + site.dpdk.cryptoDevices,
                extraArguments: site.dpdk.ealArguments), keepAffinity: false)
    }

    /// Tables and workers on devices that have started. Throws `.noMemory` and `.noCrypto`.
    init(
        _ site: Site, _ devices: LiveDevices, _ built: TopologyTables, _ associations: LiveAssociations
    ) throws {
        let engines = Set(devices.ports.indices.filter { devices.ports[$0].hasEngine })
        let tables = ForwardingTables(built, states: associations.book.states, engines: engines)
        let workers = site.dpdk.workerCores.count
        group = try WorkerGroup(
            tables, arena: associations.arena, ports: devices.ports, pool: devices.pools[0], workers: workers,
            ticksPerSecond: Environment.ticksPerSecond, mode: .live, idle: site.dpdk.idle, name: "live",
            coprocessors: devices.coprocessors, pools: devices.poolsOfWorkers, nodes: devices.nodes)
        cryptoDescription = try CryptoProbe.description()
        offload = OffloadKeeper(group, ports: devices.ports, workers: workers)
        self.devices = devices
    }

    /// After the workers have returned. Returns how many packet buffers are still out once all ports are closed.
    func stop() -> Int {
        offload.stop()
        devices.close()
        return devices.pools.reduce(0) { $0 + $1.inUse }
    }
}

/// What a gateway runs on: packet buffers, ports and crypto devices. Made and closed on the environment's thread.
final class LiveDevices: Sendable {
    let ports: [StartedPort]
    /// Whether ports were started with their IPsec engines, where they have such.
    let wantsEngine: Bool
    let coprocessors: [Coprocessor]
    /// Where memory lies.
    let nodes: NodePlan
    let pools: [PacketPool]
    /// The pool of each worker.
    var poolsOfWorkers: [PacketPool] { LiveDevices.shared(pools, nodes) }

    /// Starts those of a site, where EAL runs. Throws `DataPlaneError`, and then none is left.
    init(_ site: Site) throws {
        let topology = site.topology
        let workers = site.dpdk.workerCores.count
        let sizing = MemorySizing(site)
        nodes = NodePlan(workerCores: site.dpdk.workerCores, hugePages: site.dpdk.hugePages)
        pools = try LiveDevices.pools(site, nodes, frameOctets: sizing.frameOctets)
        let poolsOfWorkers = LiveDevices.shared(pools, nodes)
        // Without a tunnel so far the first ones come by a reload, and `auto` is what they say by default.
        wantsEngine = topology.tunnels.isEmpty || topology.tunnels.contains(where: \.offload.wantsNIC)
        var ports: [StartedPort] = []
        coprocessors = try LiveDevices.startCoprocessors(site, pools[0])
        do {
            for port in topology.ports {
                ports.append(
                    try StartedPort(
                        port, workers: workers, pool: pools[0], pools: poolsOfWorkers,
                        wantsEngine: wantsEngine && port.role == .unprotected))
            }
        } catch {
            for coprocessor in coprocessors { coprocessor.close() }
            for port in ports { port.close() }
            throw error
        }
        self.ports = ports
    }

    func close() {
        for coprocessor in coprocessors { coprocessor.close() }
        for port in ports { port.close() }
    }

    /// One for each node that workers are on.
    private static func pools(_ site: Site, _ nodes: NodePlan, frameOctets: Int) throws -> [PacketPool] {
        try nodes.pools.map { workers in
            let node = nodes.workers[workers[0]]
            return try PacketPool(
                name: node.map { "packets-\($0)" } ?? "packets",
                count: MemorySizing.buffers(site, workers: workers.count),
                frameOctets: frameOctets, node: node)
        }
    }

    /// The pool of each worker.
    private static func shared(_ pools: [PacketPool], _ nodes: NodePlan) -> [PacketPool] {
        nodes.workers.indices.map { worker in
            pools[nodes.pools.firstIndex { $0.contains(worker) } ?? 0]
        }
    }

    /// One after the other; of those that have started none stays when one can't.
    private static func startCoprocessors(_ site: Site, _ pool: PacketPool) throws -> [Coprocessor] {
        var started: [Coprocessor] = []
        do {
            for name in site.dpdk.cryptoDevices {
                let coprocessor = try Coprocessor(
                    name, workers: site.dpdk.workerCores.count, sessions: MemorySizing.sessions(site))
                started.append(coprocessor)
                guard coprocessor.isRight(pool) else {
                    throw DataPlaneError.coprocessorFailed(
                        device: name, driver: coprocessor.driver, step: "pass the test with a known answer of", error: 0
                    )
                }
            }
        } catch {
            for coprocessor in started { coprocessor.close() }
            throw error
        }
        return started
    }
}
