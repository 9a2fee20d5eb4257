// Gives SAs to the NICs' IPsec engines and takes them back, while packets flow.
//
//   install   the SA's packets go by software until the device has it: nothing to wait for
//   remove    no packet may be under way under any SA of the direction, since the driver switches all of it off for a
//             moment: workers stop leaving packets to the engine (software goes on), queues and FIFO run empty, then
//   restart   the device forgets all: stopped first, then taken back, and given again once it runs; what waits with a
//             clear payload is lost
//
// Software does the same with the same numbers, so a packet that goes one way or the other is no difference to anyone.

import CDPDK
import ESP
import Glibc
import IPsec

/// What became of a port's engine, for the operator.
public enum OffloadEvent: Equatable, Sendable {
    /// Software does all of a direction now.
    case lost(port: Int, Direction, FallbackReason)
    /// The engine is used again.
    case back(port: Int, Direction)
    /// A port had to be stopped and started.
    case restarted(port: Int)
    /// A coprocessor gives nothing back any more: software does the work of its SAs until the gateway ends.
    case coprocessorLost(device: Int)
    /// A port that was stopped does not start: DPDK's error.
    case dead(port: Int, error: Int32)
    /// A worker did not let go of a port in time, which was left as it is.
    case busy(port: Int)
}

/// All engines of a gateway, and what they were given. One thread at a time.
public final class OffloadKeeper: @unchecked Sendable {
    /// The state of one direction of a port's engine.
    struct Gate {
        var isSwitchedOff = false
        var isUnhealthy = false
        /// When it is tried again, and for how many seconds it then rests if it fails.
        var retryAt = 0, restSeconds = 60
    }

    private let group: WorkerGroup
    private let ports: [StartedPort]
    private var wishes: [OffloadWish] = []
    private var sessions: [Int: (wish: OffloadWish, port: Int, session: DeviceSession)] = [:]
    private var paths: [Int: OffloadPath] = [:]
    private var gates: [[Direction: Gate]]
    private var errorsSeen: [UInt64]
    private var events: [OffloadEvent] = []
    private var dead: Set<Int> = []
    private let workers: Int
    private var coprocessors: CoprocessorKeeper
    /// Whether workers run or are about to: before, nothing is under way.
    public var isLive = false
    private var isClosed = false

    /// Over ports that run, and workers that do not yet.
    public init(_ group: WorkerGroup, ports: [StartedPort], workers: Int) {
        self.group = group
        self.ports = ports
        self.workers = workers
        coprocessors = CoprocessorKeeper(group)
        gates = ports.map { _ in [.outbound: Gate(), .inbound: Gate()] }
        errorsSeen = ports.map { _ in 0 }
        for port in ports.indices where engine(port) != nil {
            for direction in Direction.allCases { engine(port)?.arm(direction) }
            _ = group.gates.set(.outbound, port, true)
        }
    }

    /// As the site has them now.
    private var topology: Topology { group.tables.topology }

    private func engine(_ port: Int) -> SecurityEngine? {
        port < OffloadGates.portLimit ? ports[port].engine : nil
    }

    // MARK: What is wanted

    /// Goes by other wishes: SAs that are not among them are taken back. Without a device nobody looks at them, and it
    /// takes a while to say what is wanted of many SAs.
    public func follow(_ wishes: @autoclosure () -> [OffloadWish]) {
        guard hasDevices else { return }
        self.wishes = wishes()
        place()
    }

    /// Switches a direction of a port off or on, whatever tunnels want.
    public func setSwitch(port: Int, _ direction: Direction, isOn: Bool) {
        gates[port][direction]?.isSwitchedOff = !isOn
        // Who switches on has looked.
        gates[port][direction]?.isUnhealthy = false
        place()
    }

    /// Whether a port did not start again.
    public func isDead(port: Int) -> Bool { dead.contains(port) }

    /// Whether there is anything that could do an SA's work.
    private var hasDevices: Bool { !group.coprocessors.isEmpty || ports.indices.contains { engine($0) != nil } }

    /// Where each SA's cryptography is done, by the SA's number.
    public func path(of id: Int) -> OffloadPath { paths[id] ?? .software(nil) }

    /// The same of a wish, with the reason where there is no device at all.
    public func path(of wish: OffloadWish) -> OffloadPath {
        let reason = wish.choice == .lookaside ? FallbackReason.noCryptoDevice : .noEngine
        return paths[wish.id] ?? .software(hasDevices || wish.choice == .off ? nil : reason)
    }

    /// What happened since it was asked last.
    public func takeEvents() -> [OffloadEvent] {
        defer { events = [] }
        return events
    }

    /// SAs that the engine of a port has, and how many it takes; nil without an engine.
    public func usage(port: Int, _ direction: Direction) -> (used: Int, slots: Int)? {
        guard let engine = engine(port) else { return nil }
        let used = sessions.values.count { $0.port == port && $0.session.direction == direction }
        return (used, engine.slots(direction))
    }

    /// SAs that a coprocessor has.
    public func used(device: Int) -> Int { coprocessors.used(device: device) }

    /// Whether a coprocessor stopped answering: it gets nothing any more.
    public func isLost(device: Int) -> Bool { coprocessors.isStuck(device) }

    /// Why software does all of a direction of a port; nil when the engine is used.
    public func hindrance(port: Int, _ direction: Direction) -> FallbackReason? {
        guard engine(port) != nil else { return .noEngine }
        guard let gate = gates[port][direction] else { return nil }
        if gate.isSwitchedOff { return .switchedOff }
        if ports[port].selfTest?[direction] == false { return .selfTestFailed }
        return gate.isUnhealthy ? .unhealthy : nil
    }

    private func hindrance(_ wish: OffloadWish) -> FallbackReason? {
        guard let port = wish.port else { return .noWay }
        if dead.contains(port) { return .noEngine }
        if let reason = OffloadWish.hindrance(wish.profile, wish.direction) { return reason }
        if let reason = hindrance(port: port, wish.direction) { return reason }
        if topology.ports[port].vlan != nil { return .vlan }
        return engine(port)?.offers(wish.profile.mode, wish.direction) == true ? nil : .notAdvertised
    }

    private func place() {
        guard !isClosed else { return }
        coprocessors.release(wishes, hasPassed: hasPassed)
        var requests: [OffloadPlacement.Request] = [], reasons: [Int: FallbackReason] = [:]
        var wanted: [Int: OffloadWish] = [:]
        for wish in wishes where wish.choice == .auto || wish.choice == .required {
            wanted[wish.id] = wish
            guard let port = wish.port, hindrance(wish) == nil else {
                reasons[wish.id] = hindrance(wish) ?? .noWay
                continue
            }
            requests.append(
                OffloadPlacement.Request(
                    id: wish.id, port: port, direction: wish.direction, spi: wish.spi, local: wish.local,
                    isRequired: wish.choice == .required, rank: wish.rank,
                    isPresent: sessions[wish.id].map { $0.port == port && $0.session.spi == wish.spi } ?? false))
        }
        let (placed, refused) = OffloadPlacement.place(requests) { port, direction in
            engine(port).map {
                OffloadPlacement.Room(
                    slots: $0.slots(direction), addresses: direction == .inbound ? $0.rules.addresses - 1 : .max,
                    uniqueSPIs: $0.rules.removesBySPI)
            }
        }
        reasons.merge(refused) { first, _ in first }
        paths = [:]
        for wish in wishes { paths[wish.id] = .software(wish.choice == .off ? nil : reasons[wish.id]) }
        for port in ports.indices {
            for direction in Direction.allCases {
                let gone = sessions.filter {
                    $0.value.port == port && $0.value.session.direction == direction
                        && (!placed.contains($0.key) || wanted[$0.key]?.port != port)
                }
                remove(gone.keys.sorted(), port, direction)
            }
        }
        for request in requests where placed.contains(request.id) {
            guard let wish = wanted[request.id] else { continue }
            if sessions[request.id] == nil { install(wish, request.port) }
            paths[request.id] = sessions[request.id] == nil ? .software(.driverRefused) : .inline(port: request.port)
        }
        for (id, reason) in reasons { wanted[id]?.tell(handle: 0, reason: reason) }
        paths.merge(coprocessors.install(wishes)) { $1 }
    }

    private func hasPassed(_ version: UInt64) -> Bool {
        !isLive || wait(milliseconds: 500) { group.havePassed(gates: version) }
    }

    private func install(_ wish: OffloadWish, _ port: Int) {
        let session = engine(port)?.install(
            wish.direction, spi: wish.spi, key: wish.key, mode: wish.profile.mode, local: wish.local,
            remote: wish.remote)
        guard let session else { return wish.tell(handle: 0, reason: .driverRefused) }
        sessions[wish.id] = (wish, port, session)
        wish.tell(handle: session.handle(port: port), reason: nil)
    }

    // MARK: What takes care

    private func remove(_ ids: [Int], _ port: Int, _ direction: Direction) {
        let gone = ids.compactMap { sessions[$0] }
        guard !gone.isEmpty, let engine = engine(port) else { return }
        if direction == .outbound {
            for item in gone { item.wish.tell(handle: 0, reason: .reprogramming) }
            guard quiesce(port) else { return restart(port: port) }
            engine.remove(gone.map(\.session))
            _ = group.gates.set(.outbound, port, engine.isArmed(.outbound))
        } else {
            engine.remove(gone.map(\.session))
            waitForOpened()
            for item in gone { item.wish.tell(handle: 0, reason: .reprogramming) }
        }
        for id in ids { sessions[id] = nil }
    }

    /// Has nothing be under way under any outbound SA of a port: workers leave no more packets to its engine, their
    /// queues have none, every descriptor was done, and the device's FIFO has had a millisecond. False when that does
    /// not come to pass, as when the link is down.
    private func quiesce(_ port: Int) -> Bool {
        let version = group.gates.set(.outbound, port, false)
        guard isLive else { return true }
        guard wait(milliseconds: 500, until: { group.havePassed(gates: version) }) else { return false }
        let before = group.sent(port: port)
        guard wait(milliseconds: 200, until: { isIdle(port, since: before) }) else { return false }
        usleep(1000)
        return true
    }

    /// Whether everything that workers gave to a port's device has been sent; or, when they go on, what they had given
    /// when `before` was counted: a ring's worth of packets that went after it is as good as an empty ring.
    private func isIdle(_ port: Int, since before: [UInt64]?) -> Bool {
        let started = ports[port], now = group.sent(port: port)
        return (0..<workers).allSatisfy { worker in
            if let before, now[worker] - before[worker] > UInt64(started.txDescriptors) { return true }
            return cdpdk_queue_is_idle(started.id, UInt16(worker), started.txDescriptors) == 1
        }
    }

    /// Stops a port and starts it, and gives its engine all SAs again. What waits for the engine with a clear payload
    /// is dropped for `offload_failed`.
    public func restart(port: Int) {
        guard !isClosed else { return }
        let gone = sessions.filter { $0.value.port == port }
        for item in gone.values where item.session.direction == .outbound {
            item.wish.tell(handle: 0, reason: .reprogramming)
        }
        if !quiesce(port) && isLive {
            let version = group.gates.set(.purging, port, true)
            _ = wait(milliseconds: 500) { group.havePassed(gates: version) }
        }
        guard pause(port) else {
            // The engine still has everything, so all goes on as before.
            _ = group.gates.set(.purging, port, false)
            for item in gone.values where item.session.direction == .outbound {
                item.wish.tell(handle: item.session.handle(port: port), reason: nil)
            }
            _ = group.gates.set(.outbound, port, engine(port)?.isArmed(.outbound) ?? false)
            return events.append(.busy(port: port))
        }
        stop(port, gone.values.map(\.session))
        waitForOpened()
        for item in gone.values { item.wish.tell(handle: 0, reason: .reprogramming) }
        for id in gone.keys { sessions[id] = nil }
        let error = cdpdk_port_restart(ports[port].id)
        _ = ports[port].joinGroups(topology.ports[port])
        _ = group.gates.set(.purging, port, false)
        guard error == 0 else {
            // It stays paused: nobody may touch a port that does not run.
            dead.insert(port)
            return events.append(.dead(port: port, error: error))
        }
        dead.remove(port)
        for direction in Direction.allCases { engine(port)?.arm(direction) }
        _ = group.gates.set(.paused, port, false)
        _ = group.gates.set(.outbound, port, engine(port)?.isArmed(.outbound) ?? false)
        events.append(.restarted(port: port))
        place()
    }

    /// Has all workers leave a port alone. False when one that does not get to run still may not, and then none has to.
    private func pause(_ port: Int) -> Bool {
        let version = group.gates.set(.paused, port, true)
        if !isLive || wait(milliseconds: 10_000, until: { group.havePassed(gates: version) }) { return true }
        _ = group.gates.set(.paused, port, false)
        return false
    }

    /// Stops a port that nobody touches, and only then takes all from its engine: packets that are still in its
    /// descriptors, as when its link is down, would leave in clear once that has lost their SA.
    private func stop(_ port: Int, _ sessions: [DeviceSession]) {
        _ = cdpdk_port_stop(ports[port].id)
        for direction in Direction.allCases {
            engine(port)?.remove(sessions.filter { $0.direction == direction })
        }
        engine(port)?.disarm()
    }

    /// Gives an engine all its SAs again: its link went away and came back, and nobody says what that did to it.
    public func reprogram(port: Int) {
        guard engine(port) != nil else { return }
        for direction in Direction.allCases {
            let ids = sessions.filter { $0.value.port == port && $0.value.session.direction == direction }.keys
            remove(ids.sorted(), port, direction)
        }
        place()
    }

    /// Looks after engines: one that calls wrong what software finds right is not used for a while. Called once a
    /// second.
    public func look(now seconds: Int) {
        var changes = false
        for port in ports.indices where engine(port) != nil {
            let erred = group.deviceErrors(port: port).erred
            defer { errorsSeen[port] = erred }
            guard var gate = gates[port][.inbound] else { continue }
            if gate.isUnhealthy && gate.retryAt <= seconds {
                gate.isUnhealthy = false
                events.append(.back(port: port, .inbound))
                changes = true
            } else if !gate.isUnhealthy && erred - errorsSeen[port] >= OffloadKeeper.errorLimit {
                gate.isUnhealthy = true
                gate.retryAt = seconds + gate.restSeconds
                gate.restSeconds = min(3600, gate.restSeconds * 2)
                events.append(.lost(port: port, .inbound, .unhealthy))
                changes = true
            }
            gates[port][.inbound] = gate
        }
        for device in coprocessors.look() {
            events.append(.coprocessorLost(device: device))
            changes = true
        }
        if changes { place() }
    }

    /// Packets in a second that an engine calls wrong and software finds right, before it is not used any more.
    static let errorLimit: UInt64 = 16

    /// Changes nothing any more, whatever it is asked; for when workers are about to end. What is under way is over
    /// when this returns, if it is called where all else is.
    public func close() { isClosed = true }

    /// Stops the ports that have an engine and takes everything back, when no worker runs any more. What workers gave
    /// to a device has some time to leave.
    public func stop() {
        isClosed = true
        for port in ports.indices where engine(port) != nil && !dead.contains(port) {
            _ = wait(milliseconds: 200) { isIdle(port, since: nil) }
            stop(port, sessions.values.filter { $0.port == port }.map(\.session))
        }
        for item in sessions.values { item.wish.tell(handle: 0, reason: .reprogramming) }
        sessions = [:]
        coprocessors.stop()
    }

    // MARK: Waiting

    private func wait(milliseconds: Int, until isDone: () -> Bool) -> Bool {
        for _ in 0..<(milliseconds * 10) {
            if isDone() { return true }
            usleep(100)
        }
        return isDone()
    }

    /// Until workers have dealt with all that an inbound engine decrypted: it is still in the device's rings, and then
    /// in those between workers. An SA of the same SPI must not take it for its own.
    private func waitForOpened() {
        waitForRounds(StartedPort.descriptorRounds)
        if workers > 1 { waitForRounds(HandoffRings.rounds) }
    }

    private func waitForRounds(_ count: UInt64) {
        guard isLive else { return }
        let before = group.rounds
        _ = wait(milliseconds: 10_000) { zip(group.rounds, before).allSatisfy { $0 >= $1 + count } }
    }
}
