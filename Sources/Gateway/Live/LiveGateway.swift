// `vpn-gw run`: devices, workers on cores of their own, numbers reserved on disk, until a signal ends it.
//
// In order: what the machine lacks is found out; the state directory is taken; EAL and ports start; tables are built;
// every SA gets its numbers; workers run. Stopping goes the same way back.

import DataPlane
import Foundation
import Logging
import SAStore
import ServiceLifecycle

/// A gateway on this machine's devices.
public struct LiveGateway: Service {
    private let site: Site
    private let reportPath: String?
    private let logger: Logger

    /// A gateway that will run `site`. With `reportPath` the final report is written there as JSON.
    public init(_ site: Site, reportPath: String?, logger: Logger) {
        self.site = site
        self.reportPath = reportPath
        self.logger = logger
    }

    /// Runs until SIGTERM or SIGINT. Throws `MachineError`, `StoreError` or `DataPlaneError` when it can't start, and
    /// `ReplayError.notConserved` when packets are not accounted for at the end.
    public static func run(_ site: Site, reportPath: String?, logger: Logger) async throws {
        // A reader of ours that goes away is its own affair.
        signal(SIGPIPE, SIG_IGN)
        // Asks for a reload, which this version can't do; its default would end the gateway.
        signal(SIGHUP, SIG_IGN)
        var configuration = ServiceGroupConfiguration(
            services: [.init(service: LiveGateway(site, reportPath: reportPath, logger: logger))],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Logger(label: "lifecycle") { _ in SwiftLogNoOpLogHandler() })
        configuration.maximumGracefulShutdownDuration = .seconds(30)
        try await ServiceGroup(configuration: configuration).run()
    }

    /// The service's life; ends when graceful shutdown is asked for.
    public func run() async throws {
        try Machine.check(site)
        let store = try StateStore(
            directory: site.gateway.stateDirectory, now: Int64(Date().timeIntervalSince1970), machine: .current())
        let thread = EnvironmentThread()
        let data = try await thread.run { [site] in try LiveDataPlane(site) }
        defer { logger.info("stopped") }
        do {
            let keeper = NumberKeeper(site.topology, tables: data.group.tables, store: store)
            for tunnel in try keeper.resume(secondsSince1970: Int64(Date().timeIntervalSince1970)) {
                logger.error(
                    "tunnel \(tunnel): its sequence numbers below 2^32 are used up: give it new keys on both sides")
            }
            try await thread.run { [site] in try data.group.launch(on: site.dpdk.workerCores) }
            announce(data)
            await watch(data, keeper)
        } catch {
            _ = try await thread.run { data.stop() }
            throw error
        }
        let report = try await thread.run { [logger] in
            data.group.stop()
            data.group.wait()
            let report = Report(data.group)
            for port in data.ports { LiveGateway.tellLost(port, logger) }
            let leaked = data.stop()
            if leaked > 0 { logger.error("\(leaked) packet buffers did not come back") }
            return report
        }
        try conclude(report)
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

    private func announce(_ data: LiveDataPlane) {
        for port in data.ports {
            logger.info("port \(port.name): \(port.driver), \(port.mac), \(port.rxQueues) receive queue(s)")
            for note in port.notes { logger.notice("port \(port.name): \(note)") }
        }
        let cores = site.dpdk.workerCores.map(String.init).joined(separator: ", ")
        logger.info("gateway \(site.gateway.name) runs: workers on core(s) \(cores), \(data.cryptoDescription)")
    }

    /// Reserves numbers and watches links until it is time to stop.
    private func watch(_ data: LiveDataPlane, _ keeper: NumberKeeper) async {
        await cancelWhenGracefulShutdown {
            var limiter = LogLimiter(interval: .seconds(10))
            // What is down from the beginning is said like what goes down.
            var links = data.ports.map { _ in true }
            var round = 0
            while !Task.isCancelled {
                do { try keeper.refill() } catch {
                    limiter.log(.error, "store", "\(error)", to: logger)
                }
                round += 1
                if round % 100 == 0 {
                    for (index, port) in data.ports.enumerated() {
                        let isUp = Machine.linkIsUp(port, device: site.topology.ports[index].device)
                        guard isUp != links[index] else { continue }
                        links[index] = isUp
                        let state = isUp ? "up" : "down"
                        limiter.log(
                            .warning, "link \(port.name) \(state)", "port \(port.name): link is \(state)", to: logger)
                    }
                }
                try? await Task.sleep(for: .milliseconds(10))
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
    private let pool: PacketPool

    init(_ site: Site) throws {
        let topology = site.topology
        let workers = site.dpdk.workerCores.count
        let sizing = MemorySizing(site)
        try Environment.start(
            Environment.Settings(
                workerCores: site.dpdk.workerCores, hugePages: site.dpdk.hugePages,
                memoryMiB: site.dpdk.memoryMiB ?? sizing.memoryMiB, devices: topology.ports.map(\.device),
                extraArguments: site.dpdk.ealArguments), keepAffinity: false)
        let pool = try PacketPool(name: "packets", count: sizing.buffers, frameOctets: sizing.frameOctets)
        var ports: [StartedPort] = []
        do {
            for port in topology.ports { ports.append(try StartedPort(port, workers: workers, pool: pool)) }
            let tables = try ForwardingTables(topology, workers: workers, name: "live")
            group = try WorkerGroup(
                topology, tables: tables, ports: ports, pool: pool, workers: workers,
                ticksPerSecond: Environment.ticksPerSecond, mode: .live, name: "live")
            cryptoDescription = try CryptoProbe.description()
        } catch {
            for port in ports { port.close() }
            throw error
        }
        self.ports = ports
        self.pool = pool
    }

    /// After the workers have returned. Returns how many packet buffers are still out once all ports are closed.
    func stop() -> Int {
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
    /// With the route table (32 MiB), policies, SAs and DPDK's own.
    let memoryMiB: Int

    init(_ site: Site) {
        let workers = site.dpdk.workerCores.count
        let queues = 2 * site.topology.ports.count * workers
        let wanted = queues * 1024 + workers * 2048
        // A pool is cheapest with one less than a power of two.
        var power = 4096
        while power < wanted { power *= 2 }
        buffers = power - 1
        let largest = (site.topology.ports.map(\.mtuOctets).max() ?? 1500) + 18
        frameOctets = max(2048, (largest + 1023) / 1024 * 1024)
        let octets = power * (frameOctets + 512) + site.topology.tunnels.count * 4096
        memoryMiB = 128 + octets / (1 << 20)
    }
}
