// `vpn-gw run`: devices, workers on cores of their own, numbers reserved on disk, until a signal ends it.
//
// In order: what the machine lacks is found out; the state directory is taken; EAL and ports start, and beside them the
// store is read and SAs are made; these get their numbers, and tables are built beside that; workers run. Stopping goes
// the same way back.

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
        let thread = EnvironmentThread()
        // Before EAL looks at a device, which may be another gateway's.
        let directory = try StateDirectory(path: site.gateway.stateDirectory)
        let (associations, data) = try await thread.run { [site] in try LiveGateway.start(site, directory) }
        let (store, keeper) = (associations.store, associations.keeper)
        let (book, events) = (associations.book, associations.events)
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
        try await conclude(control.finalReport)
    }

    /// Starts devices on this thread, and makes the site's SAs beside that: 100 000 of them take longer.
    private static func start(
        _ site: Site, _ directory: StateDirectory
    ) throws -> (LiveAssociations, LiveDataPlane) {
        // A service manager that starts a gateway without its device again and again must not use numbers up.
        let devicesAreThere = Gate()
        var started: LiveDevices?
        do {
            let (associations, (devices, tables)) = try together(
                { try LiveAssociations(site, in: directory, numbersAfter: devicesAreThere) },
                {
                    defer { devicesAreThere.close() }
                    try LiveDataPlane.startEnvironment(site)
                    let devices = try LiveDevices(site)
                    started = devices
                    devicesAreThere.open()
                    return (devices, try TopologyTables(site.topology, name: "live"))
                })
            return (associations, try LiveDataPlane(site, devices, tables, associations))
        } catch {
            started?.close()
            throw error
        }
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
        guard !exhausted.isEmpty else { return }
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
            let notes = port.notes + (data.nodes.note(deviceNode: port.node).map { [$0] } ?? [])
            for note in notes { logger.notice("port \(port.name): \(note)") }
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
