import DataPlane
import ESP
import Foundation
import IPsec
import Logging
import SAStore

/// The configuration of a gateway that runs, and all that changes it: time, limits, operators.
///
/// Each change is worked out on a copy of the book, installed, and published as whole tables; workers go over to them
/// between two bursts, so nothing is lost and nothing overtakes (make before break). What fails changes nothing.
actor ControlPlane {
    /// The site as it runs now.
    private(set) var site: Site
    private(set) var book: TunnelBook
    let sitePath: String
    let data: LiveDataPlane
    let keeper: AssociationKeeper
    let store: StateStore
    let logger: Logger
    let startedAt = ContinuousClock.now
    private let hook: EventHook
    private var limiter = LogLimiter(interval: .seconds(10))
    private(set) var softLimitEvents: UInt64 = 0
    private(set) var hardLimitEvents: UInt64 = 0
    private var nextChange: Int64?
    private(set) var linksDown: Set<Int> = []
    let manager: ServiceManager
    /// Whether tunnels' peers answer.
    var tunnels = TunnelWatch()
    /// Who looks at packets, if somebody does, and how many have so far.
    var observation: ObservationSession?
    var observations = 0
    /// How fast everything goes.
    var rates = RateWatch()
    /// What the service manager was told last.
    var statusTold = ""
    /// Pairs that no tables name any more and that the keeper still has.
    private var leaving: [AssociationPair] = []
    /// Whether what follows from the latest tables has been done: every worker went over to them.
    private var isSettled = true
    private var isOver = false
    /// What operators said of tunnels' offload since the site was read.
    var offloadOverrides: [String: Topology.Offload] = [:]

    /// Over a data plane that was made from this site and book.
    init(
        _ site: Site, sitePath: String, book: TunnelBook, data: LiveDataPlane, keeper: AssociationKeeper,
        store: StateStore, logger: Logger, manager: ServiceManager = .system
    ) {
        self.site = site
        self.manager = manager
        self.sitePath = sitePath
        self.book = book
        self.data = data
        self.keeper = keeper
        self.store = store
        self.logger = logger
        hook = EventHook(command: site.gateway.hookCommand, logger: logger)
        nextChange = book.nextChange(after: ControlPlane.now)
    }

    /// Wall clock, in seconds since 1970.
    static var now: Int64 { Int64(Date().timeIntervalSince1970) }

    // MARK: Time and limits

    /// Moves tunnels to where the clock and their SAs' limits want them. Called once a second, and when an SA came to
    /// a limit.
    func advance(atLimit: Bool) {
        let now = ControlPlane.now
        // A worker that was late may have come.
        if !isOver && !isSettled && data.group.reclaim() { settle() }
        guard !isOver, atLimit || nextChange.map({ $0 <= now }) ?? false else { return }
        var next = book
        let events = next.advance(to: now)
        do {
            if next.saysSame(as: book) {
                book = next
                nextChange = next.nextChange(after: now)
            } else {
                try go(to: next, site)
            }
            tell(events)
        } catch {
            nextChange = now
            limiter.log(.error, "tables", "\(Failure(error).message)", to: logger)
        }
    }

    /// From here on nothing changes: workers are about to end, and nobody may wait for them. What had begun is over
    /// when this returns.
    func end() {
        isOver = true
        data.offload.close()
    }

    /// Takes in what workers found out about peers and paths.
    func heed(_ notices: [WorkerNotice]) {
        guard !isOver else { return }
        var next = book
        let events = notices.flatMap { next.heed($0, site.topology, now: ControlPlane.now) }
        guard !events.isEmpty else { return }
        do {
            try go(to: next, site)
            tell(events)
        } catch { limiter.log(.error, "tables", "\(Failure(error).message)", to: logger) }
    }

    /// Publishes what follows from a book and a site, waits until every worker goes by it, and gives up what only the
    /// one before had, and of `installed` what the next does not have after all. Throws when the tables can't be built;
    /// then nothing has changed.
    func go(to next: TunnelBook, _ site: Site, installed: [AssociationPair] = []) throws {
        guard !isOver else { throw GatewayStops() }
        let tables = try ForwardingTables(
            overriding(next.applied(to: site.topology)), states: next.states, name: "live",
            previous: data.group.tables)
        data.group.publish(tables)
        let kept = Set(next.pairs.map(\.outbound.id))
        leaving += (book.pairs + installed).filter { !kept.contains($0.outbound.id) }
        book = next
        self.site = site
        nextChange = next.nextChange(after: ControlPlane.now)
        isSettled = false
        guard waitForWorkers() else {
            limiter.log(.error, "adopt", "a worker does not go over to new tables", to: logger)
            return
        }
        settle()
    }

    /// What comes once every worker goes by the latest tables.
    private func settle() {
        isSettled = true
        followOffload()
        let gone = leaving
        leaving = []
        do { try keeper.forget(gone, now: ControlPlane.now) } catch { storeFailed(error) }
    }

    /// A worker goes over within a round; a busy machine may not let it run for a while. Without suspension, so that
    /// changes come one after the other.
    private func waitForWorkers() -> Bool {
        for _ in 0..<10_000 {
            if data.group.reclaim() { return true }
            usleep(100)
        }
        return false
    }

    /// Says what the start itself brought.
    func started(_ events: [TunnelBook.Event]) {
        audit("gateway", "started: \(book.entries.count) tunnels, \(book.pairs.count) SA pairs")
        // What is sent under from the beginning is no event.
        tell(events.filter { $0.kind == .softLimit || $0.kind == .hardLimit })
    }

    /// The clean end, when no worker runs: windows and counts are stored exactly, so that the next start loses nothing.
    func stopped() async {
        do { try keeper.conclude(now: ControlPlane.now) } catch { storeFailed(error) }
        audit("gateway", "stopped")
        await hook.stop()
    }

    /// Tells of links that went down or came up.
    func watchLinks() {
        for (index, port) in data.ports.enumerated() {
            let isUp = Machine.linkIsUp(port, device: site.topology.ports[index].device)
            // What is down from the beginning is said like what goes down.
            guard isUp == linksDown.contains(index) else { continue }
            if isUp && linksDown.contains(index) { data.offload.reprogram(port: index) }
            if isUp { linksDown.remove(index) } else { linksDown.insert(index) }
            let state = isUp ? "up" : "down"
            limiter.log(.warning, "link \(port.name) \(state)", "port \(port.name): link is \(state)", to: logger)
        }
    }

    /// An SA's life in words: to the log, the audit table, and the operator's command.
    func tell(_ events: [TunnelBook.Event]) {
        // A change of many tunnels is one wait for the disk.
        audit("gateway", events.compactMap(tell))
    }

    /// Says it, and what of it is to be remembered.
    private func tell(_ event: TunnelBook.Event) -> String? {
        let sa = "tunnel \(event.tunnel): \(event.direction.map { "\($0.rawValue) " } ?? "")SA \(event.spi)"
        let text: String, kind: GatewayEvent.Kind
        switch event.kind {
        case .softLimit:
            softLimitEvents += 1
            (text, kind) = ("\(sa) has reached its soft lifetime: give the tunnel its next keys", .lifetimeSoft)
        case .hardLimit:
            hardLimitEvents += 1
            (text, kind) = ("\(sa) has reached its hard lifetime and is over", .lifetimeHard)
        case .activated: (text, kind) = ("\(sa) is what it sends under now", .activated)
        case .retired: (text, kind) = ("\(sa) and its inbound one are over: two later ones have begun", .removed)
        case .peerMoved: (text, kind) = ("tunnel \(event.tunnel): the peer is at \(event.detail) now", .peerMoved)
        case .pathMTU:
            (text, kind) = ("tunnel \(event.tunnel): the way to the peer takes packets of \(event.detail)", .pathMTU)
        }
        // What others can bring about must not fill logs and disk.
        let isCaused = event.kind == .peerMoved || event.kind == .pathMTU
        if isCaused {
            limiter.log(.notice, "\(event.kind) \(event.tunnel)", text, to: logger)
        } else {
            logger.log(level: event.kind == .activated || event.kind == .retired ? .notice : .warning, "\(text)")
        }
        post(GatewayEvent(kind, tunnel: event.tunnel, spi: event.spi, direction: event.direction, detail: text))
        return isCaused ? nil : text
    }

    /// Passes an event to the operator's command, if there is one.
    func post(_ event: GatewayEvent) { hook.post(event) }

    /// The store did not do what it was asked to.
    func storeFailed(_ error: any Error) {
        // The keeper tries again ten times a second.
        guard limiter.log(.error, "store", "\(Failure(error).message)", to: logger) else { return }
        post(GatewayEvent(.storeFailed, detail: "\(error)"))
    }

    /// Remembers an act.
    func audit(_ who: String, _ what: String) { audit(who, [what]) }

    private func audit(_ who: String, _ acts: [String]) {
        let now = ControlPlane.now
        do { try store.audit(acts.map { AuditEntry(at: now, who: who, what: $0) }) } catch { storeFailed(error) }
    }

    /// The counters of the moment.
    var report: Report { Report(data.group.runningCounts, data.group, book, data.offload) }

    /// The counters once the workers have stopped.
    var finalReport: Report { Report(data.group.counts, data.group, book, data.offload) }

    // MARK: Reload

    /// Goes over to another site, all of it or nothing; says what that changed. SAs that both have go on as they are.
    func apply(_ next: Site) throws -> [String] {
        let fixed = ControlPlane.needsRestart(from: site, to: next)
        guard fixed.isEmpty else { throw ReloadRefusal(reasons: fixed) }
        let now = ControlPlane.now
        var changed = book
        try changed.follow(
            next.topology, workers: site.dpdk.workerCores.count, installer: keeper, now: now)
        var lifetimes: [Int: Lifetime] = [:]
        for entry in book.entries {
            for pair in entry.children.compactMap(\.pair) { lifetimes[pair.outbound.id] = entry.lifetime }
        }
        let installed = changed.pairs.filter { lifetimes[$0.outbound.id] == nil }
        let events = changed.advance(to: now)
        let told = ControlPlane.difference(from: self, to: next, changed)
        let overrides = offloadOverrides
        offloadOverrides = [:]
        do { try go(to: changed, next, installed: installed) } catch {
            offloadOverrides = overrides
            try? keeper.forget(installed, now: now)
            throw error
        }
        // Twice, with workers' rounds between, as `limit` wants it.
        for _ in 0..<2 {
            for entry in book.entries {
                for pair in entry.children.compactMap(\.pair) {
                    guard let old = lifetimes[pair.outbound.id], old != entry.lifetime else { continue }
                    keeper.limit(pair, entry.lifetime)
                }
            }
            usleep(1000)
        }
        tell(events)
        // An SA that was over by its old lifetime may not be by the new one.
        advance(atLimit: true)
        return told + offloadShortfall
    }

    /// What a gateway that runs can't change, in words.
    private static func needsRestart(from old: Site, to new: Site) -> [String] {
        var reasons: [String] = []
        func compare(_ what: String, _ before: String, _ after: String) {
            if before != after { reasons.append("\(what) is \(before) and would be \(after)") }
        }
        compare("gateway.state_directory", old.gateway.stateDirectory, new.gateway.stateDirectory)
        compare("gateway.control_socket", old.gateway.controlSocket, new.gateway.controlSocket)
        compare("gateway.metrics_address", old.gateway.metricsAddress, new.gateway.metricsAddress)
        compare("gateway.hook_command", "\(old.gateway.hookCommand)", "\(new.gateway.hookCommand)")
        compare("dpdk.worker_cores", "\(old.dpdk.workerCores)", "\(new.dpdk.workerCores)")
        compare("dpdk.huge_pages", "\(old.dpdk.hugePages)", "\(new.dpdk.hugePages)")
        compare("dpdk.memory_mib", "\(old.dpdk.memoryMiB ?? 0)", "\(new.dpdk.memoryMiB ?? 0)")
        compare("dpdk.idle", old.dpdk.idle.rawValue, new.dpdk.idle.rawValue)
        compare("dpdk.crypto_devices", "\(old.dpdk.cryptoDevices)", "\(new.dpdk.cryptoDevices)")
        compare("dpdk.eal_arguments", "\(old.dpdk.ealArguments)", "\(new.dpdk.ealArguments)")
        compare("the list of ports", "\(old.topology.ports.map(\.name))", "\(new.topology.ports.map(\.name))")
        for (before, after) in zip(old.topology.ports, new.topology.ports) where before.name == after.name {
            compare("the device of port \(before.name)", before.device, after.device)
            compare("the role of port \(before.name)", before.role.rawValue, after.role.rawValue)
            compare("mtu_octets of port \(before.name)", "\(before.mtuOctets)", "\(after.mtuOctets)")
            compare("vlan of port \(before.name)", "\(before.vlan ?? 0)", "\(after.vlan ?? 0)")
        }
        return reasons
    }

    /// Lines that say what a reload changes.
    private static func difference(from plane: isolated ControlPlane, to next: Site, _ changed: TunnelBook) -> [String]
    {
        let old = Set(plane.book.entries.map(\.name)), new = Set(changed.entries.map(\.name))
        let before = Set(plane.book.pairs.map(\.outbound.id)), after = Set(changed.pairs.map(\.outbound.id))
        var lines: [String] = []
        for name in new.subtracting(old).sorted().prefix(20) { lines.append("tunnel \(name): added") }
        for name in old.subtracting(new).sorted().prefix(20) { lines.append("tunnel \(name): removed") }
        lines.append(
            "SA pairs: \(before.intersection(after).count) unchanged, \(after.subtracting(before).count) installed, "
                + "\(before.subtracting(after).count) removed")
        let byHand = changed.entries.flatMap { entry in entry.children.filter { $0.origin == .runtime } }
        if !byHand.isEmpty { lines.append("SA pairs added at run time that stay: \(byHand.count)") }
        return lines + changed.lostByHand(of: plane.book, in: next.topology)
    }
}

/// What comes when the gateway has begun to stop.
private struct GatewayStops: Error, CustomStringConvertible {
    var description: String { "the gateway stops; nothing was changed" }
}

/// A site that can't be gone over to at run time.
struct ReloadRefusal: Error, CustomStringConvertible {
    let reasons: [String]

    var description: String {
        reasons.map { "\($0): that takes a restart" }.joined(separator: "\n") + "\nnothing was changed"
    }
}
