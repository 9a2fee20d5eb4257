// `vpn-gw run`: devices, workers on cores of their own, numbers reserved on disk, until a signal ends it.
//
// In order: what the machine lacks is found out; the state directory is taken; EAL and ports start; every SA gets
// its numbers; tables are built; workers run. Stopping goes the same way back.

import DataPlane
import Foundation
import IPsec
import Logging
import SAStore
import ServiceLifecycle
import UnixSignals

/// A gateway on this machine's devices.
///
/// Whoever runs a service prints it: without words of its own that would be the whole site, of any size.
public struct LiveGateway: Service, CustomStringConvertible {
    /// "gateway site-a".
    public var description: String { "gateway \(site.gateway.name)" }

    private let site: Site
    private let sitePath: String
    private let reportPath: String?
    private let logger: Logger

    /// A gateway that will run `site`, which was read from `sitePath` and will be again. With `reportPath` the final
    /// report is written there as JSON.
    public init(_ site: Site, sitePath: String, reportPath: String?, logger: Logger) {
        self.site = site
        self.sitePath = sitePath
        self.reportPath = reportPath
        self.logger = logger
    }

    /// Runs until SIGTERM or SIGINT; SIGHUP makes it read its site again. Throws `MachineError`, `StoreError`,
    /// `ControlSocketError` or `DataPlaneError` when it can't start, and `ReplayError.notConserved` when packets are
    /// not accounted for at the end.
    public static func run(_ site: Site, sitePath: String, reportPath: String?, logger: Logger) async throws {
        // A reader of ours that goes away is its own affair.
        signal(SIGPIPE, SIG_IGN)
        // Until there is something to reload; its default would end the gateway.
        signal(SIGHUP, SIG_IGN)
        let gateway = LiveGateway(site, sitePath: sitePath, reportPath: reportPath, logger: logger)
        var configuration = ServiceGroupConfiguration(
            services: [.init(service: gateway)], gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Logger(label: "lifecycle") { _ in SwiftLogNoOpLogHandler() })
        configuration.maximumGracefulShutdownDuration = .seconds(30)
        try await ServiceGroup(configuration: configuration).run()
    }

    /// The service's life; ends when graceful shutdown is asked for.
    public func run() async throws {
        try Machine.check(site)
        let store = try StateStore(
            directory: site.gateway.stateDirectory, now: ControlPlane.now, machine: MachineIdentity.current())
        let arena = try AssociationArena()
        let keeper = AssociationKeeper(store: store, arena: arena)
        let thread = EnvironmentThread()
        // Numbers are taken once the devices are there: a service manager that starts a gateway without its device
        // again and again must not use them up.
        let (data, book, events) = try await thread.run { [site] in
            var book = TunnelBook()
            var events: [TunnelBook.Event] = []
            let data = try LiveDataPlane(site, arena: arena) {
                try book.follow(
                    site.topology, workers: site.dpdk.workerCores.count, installer: keeper, now: ControlPlane.now)
                events = book.advance(to: ControlPlane.now)
                return book.states
            }
            return (data, book, events)
        }
        defer { logger.info("stopped") }
        data.offload.follow(book.wishes(site.topology, ways: data.group.tables.ways, overrides: [:]))
        do throws(MachineError) { try Machine.checkOffload(site, book, data) } catch {
            _ = try await thread.run { data.stop() }
            throw error
        }
        tellWhatIsLost(book, keeper)
        let control = ControlPlane(
            site, sitePath: sitePath, book: book, data: data, keeper: keeper, store: store, logger: logger)
        let rounds: KeeperThread
        let server: ControlServer
        do {
            // DPDK has looked at its page map; from here on nobody reads this memory, not even a core dump.
            if !Environment.hideMemory() { logger.error("this process can't be made undumpable") }
            server = try await ControlServer.start(
                socketPath: site.gateway.controlSocket, metricsAddress: site.gateway.metricsAddress,
                name: site.gateway.name, target: control, logger: logger)
            rounds = KeeperThread(
                keeper, look: { LiveGateway.passOn(data.group, to: control) }, rounds: { data.group.rounds },
                atLimit: { Task { await control.advance(atLimit: true) } },
                failed: { error in Task { await control.storeFailed(error) } })
            data.offload.isLive = true
            try await thread.run { [site] in try data.group.launch(on: site.dpdk.workerCores) }
        } catch {
            _ = try await thread.run { data.stop() }
            throw error
        }
        announce(data)
        await control.started(events)
        await live(with: control)
        control.manager.stopping()
        await server.stop()
        await control.end()
        try await thread.run { [logger] in
            data.group.stop()
            data.group.wait()
            rounds.stop()
            for port in data.ports { LiveGateway.tellLost(port, logger) }
            let leaked = data.stop()
            if leaked > 0 { logger.error("\(leaked) packet buffers did not come back") }
        }
        await control.stopped()
        try await conclude(control.report)
    }

    /// Says what the numbers on disk cost at this start.
    private func tellWhatIsLost(_ book: TunnelBook, _ keeper: AssociationKeeper) {
        let exhausted = Set(keeper.exhausted)
        // After a clean stop the ceiling is what was accepted.
        let refused = book.pairs.map { $0.inboundRecord.replayCeiling - $0.inboundRecord.replayReached }
        let count = refused.count { $0 > 0 }
        if count > 0 {
            logger.warning(
                """
                the last run did not end cleanly: \(count) inbound SA(s) refuse as late what was accepted then, and at \
                most \(refused.max() ?? 0) packets of a peer (\(refused.reduce(0, +)) of all) that were not
                """)
        }
        for entry in book.entries {
            for pair in entry.children.compactMap(\.pair) where exhausted.contains(pair.sameness.outbound) {
                logger.error(
                    """
                    tunnel \(entry.name): the sequence numbers of SA \(pair.sameness.outbound.spi) below 2^32 are used \
                    up: give it new keys on both sides
                    """)
            }
        }
    }

    /// What a device lost by itself is in no worker's count.
    private static func tellLost(_ port: StartedPort, _ logger: Logger) {
        let lost = port.lost
        guard lost.missed + lost.errors + lost.noBuffers > 0 else { return }
        logger.warning(
            """
            port \(port.name): its device lost \(lost.missed) packets that came too fast, \(lost.errors) broken ones, \
            \(lost.noBuffers) for want of buffers
            """)
    }

    /// Tells the control plane what workers found out.
    private static func passOn(_ group: WorkerGroup, to control: ControlPlane) {
        var notices: [WorkerNotice] = []
        group.takeNotices { notices.append($0) }
        if !notices.isEmpty { Task { [notices] in await control.heed(notices) } }
    }

    private func announce(_ data: LiveDataPlane) {
        for port in data.ports {
            logger.info("port \(port.name): \(port.driver), \(port.mac), \(port.rxQueues) receive queue(s)")
            for note in port.notes { logger.notice("port \(port.name): \(note)") }
        }
        for (index, port) in data.ports.enumerated() where port.hasEngine {
            let parts = Direction.allCases.map { direction in
                if let reason = data.offload.hindrance(port: index, direction) {
                    return "\(direction.rawValue) not used: \(reason.help)"
                }
                let (used, slots) = data.offload.usage(port: index, direction) ?? (0, 0)
                return "\(direction.rawValue) \(used) of \(slots) SAs"
            }
            logger.info("port \(port.name): IPsec engine, \(parts.joined(separator: ", "))")
        }
        for coprocessor in data.coprocessors {
            logger.info("crypto device \(coprocessor.name): \(coprocessor.driver), AES-128-GCM beside the packets' way")
        }
        let cores = site.dpdk.workerCores.map(String.init).joined(separator: ", ")
        logger.info("gateway \(site.gateway.name) runs: workers on core(s) \(cores), \(data.cryptoDescription)")
    }

    /// Watches the clock, links and SIGHUP until it is time to stop.
    private func live(with control: ControlPlane) async {
        await cancelWhenGracefulShutdown {
            await withTaskGroup { group in
                group.addTask {
                    while !Task.isCancelled {
                        await control.advance(atLimit: false)
                        await control.watchLinks()
                        await control.watchTunnels()
                        await control.watchOffload()
                        await control.tellStatus()
                        await control.watchRates()
                        await control.expireObservation()
                        try? await Task.sleep(for: .seconds(1))
                    }
                }
                group.addTask { await control.feedWatchdog() }
                group.addTask {
                    let hangups = await UnixSignalsSequence(trapping: .sighup)
                    // From here on a service manager is heard, whatever it asks for.
                    control.manager.ready(await control.statusLine)
                    for await _ in hangups {
                        _ = await control.reload(by: "SIGHUP")
                    }
                }
                await group.waitForAll()
            }
        }
    }

    private func conclude(_ report: Report) throws {
        for line in report.lines { logger.info("\(line)") }
        if let reportPath { try FileOutput.write(try report.json(), to: reportPath) }
        guard report.isConserved else { throw ReplayError.notConserved }
    }
}

/// What runs on DPDK: ports, pool, tables, workers. Made and stopped on the environment's thread.
final class LiveDataPlane: Sendable {
    let ports: [StartedPort]
    let group: WorkerGroup
    let cryptoDescription: String
    let offload: OffloadKeeper
    /// Whether ports were started with their IPsec engines, where they have such.
    let wantsEngine: Bool
    let coprocessors: [Coprocessor]
    private let pool: PacketPool

    /// Starts EAL and the ports of a site; then `states` says what its tunnels' SAs are, made in `arena`.
    init(_ site: Site, arena: AssociationArena, states: () throws -> [TunnelState]) throws {
        let topology = site.topology
        let workers = site.dpdk.workerCores.count
        let sizing = MemorySizing(site)
        try Environment.start(
            Environment.Settings(
                workerCores: site.dpdk.workerCores, hugePages: site.dpdk.hugePages,
                memoryMiB: site.dpdk.memoryMiB ?? sizing.memoryMiB,
                devices: topology.ports.map(\.device) + site.dpdk.cryptoDevices,
                extraArguments: site.dpdk.ealArguments), keepAffinity: false)
        let pool = try PacketPool(name: "packets", count: sizing.buffers, frameOctets: sizing.frameOctets)
        var ports: [StartedPort] = []
        var coprocessors: [Coprocessor] = []
        do {
            coprocessors = try LiveDataPlane.startCoprocessors(site, pool)
            // Without a tunnel so far the first ones come by a reload, and `auto` is what they say by default.
            wantsEngine =
                topology.tunnels.isEmpty || topology.tunnels.contains { $0.offload != Topology.Offload() }
            for port in topology.ports {
                ports.append(
                    try StartedPort(
                        port, workers: workers, pool: pool, wantsEngine: wantsEngine && port.role == .unprotected))
            }
            let engines = Set(ports.indices.filter { ports[$0].hasEngine })
            let tables = try ForwardingTables(topology, states: states(), name: "live", engines: engines)
            group = try WorkerGroup(
                tables, arena: arena, ports: ports, pool: pool, workers: workers,
                ticksPerSecond: Environment.ticksPerSecond, mode: .live, idle: site.dpdk.idle, name: "live",
                coprocessors: coprocessors)
            cryptoDescription = try CryptoProbe.description()
            offload = OffloadKeeper(group, ports: ports, workers: workers)
        } catch {
            for coprocessor in coprocessors { coprocessor.close() }
            for port in ports { port.close() }
            throw error
        }
        self.coprocessors = coprocessors
        self.ports = ports
        self.pool = pool
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

    /// After the workers have returned. Returns how many packet buffers are still out once all ports are closed.
    func stop() -> Int {
        offload.stop()
        for coprocessor in coprocessors { coprocessor.close() }
        for port in ports { port.close() }
        return pool.inUse
    }
}

/// How much memory a site's packets need.
struct MemorySizing {
    /// Packet buffers: all descriptors of all queues full, what workers hold, and their caches.
    let buffers: Int
    /// Room for the largest frame of any port: MTU, Ethernet header, one VLAN tag. In whole KiB and no less than two:
    /// the ring frames of net_af_packet have 2 KiB whatever the MTU, and NICs take the room in KiB, rounded down.
    let frameOctets: Int
    /// With the route tables (IPv4: 32 MiB), policies, SAs and DPDK's own.
    let memoryMiB: Int

    init(_ site: Site) {
        let workers = site.dpdk.workerCores.count
        let queues = 2 * site.topology.ports.count * workers
        let crossing = site.dpdk.cryptoDevices.isEmpty ? 0 : WorkerGroup.crossingPackets
        let wanted = queues * 1024 + workers * (2048 + WorkerGroup.heldPackets + crossing)
        // A pool is cheapest with one less than a power of two.
        var power = 4096
        while power < wanted { power *= 2 }
        buffers = power - 1
        let largest = (site.topology.ports.map(\.mtuOctets).max() ?? 1500) + 18
        frameOctets = max(2048, (largest + 1023) / 1024 * 1024)
        // Other tables are built while the present ones are in use.
        let octets =
            power * (frameOctets + 512) + site.topology.tunnels.count * 4096 + 2 * site.topology.routeTable6Octets
        memoryMiB = 128 + octets / (1 << 20) + MemorySizing.cryptoMiB(site)
    }

    /// SAs that each crypto device has room for: those of the site, of the next one, and some.
    static func sessions(_ site: Site) -> Int {
        1024 + 4 * site.topology.tunnels.reduce(0) { $0 + $1.children.count }
    }

    /// Sessions, of up to 4 KiB with software drivers, and each worker's operations.
    private static func cryptoMiB(_ site: Site) -> Int {
        let operations = site.dpdk.workerCores.count * WorkerGroup.crossingPackets
        return site.dpdk.cryptoDevices.count * (4 + (sessions(site) * 4096 + operations * 1024) >> 20)
    }
}
