import DataPlane
import ESP

/// What operators and the service manager are told without asking.
extension ControlPlane {
    /// Tells of tunnels whose peers began or ceased to answer. Called once a second.
    func watchTunnels() {
        let traffic = book.entries.lazy.map { entry in
            var sum = TunnelWatch.Traffic(name: entry.name, inboundPackets: 0, outboundPackets: 0)
            for pair in entry.children.compactMap(\.pair) {
                sum.inboundPackets &+= pair.inbound.reference.with { $0.packets.load(ordering: .relaxed) }
                sum.outboundPackets &+= pair.outbound.reference.with { $0.packets }
            }
            return sum
        }
        for change in tunnels.look(traffic, at: .now) {
            let isUp = change.state == .up
            let text =
                isUp
                ? "tunnel \(change.name): up: authentic packets come in"
                : "tunnel \(change.name): down: for \(TunnelWatch.patience.components.seconds) s nothing authentic has "
                    + "come in while packets went out"
            logger.log(level: isUp ? .notice : .warning, "\(text)")
            post(GatewayEvent(isUp ? .tunnelUp : .tunnelDown, tunnel: change.name, detail: text))
        }
    }

    /// A line for `systemctl status`.
    var statusLine: String {
        let counts = data.group.counts
        let dropped = counts.drops.values.reduce(0, +)
        var parts = ["\(tunnels.count(.up)) of \(book.entries.count) tunnels up"]
        if tunnels.count(.down) > 0 { parts.append("\(tunnels.count(.down)) down") }
        if !linksDown.isEmpty {
            parts.append(
                "link down: \(linksDown.sorted().map { site.topology.ports[$0].name }.joined(separator: ", "))")
        }
        parts.append("\(counts.ports.map(\.rxPackets).reduce(0, +)) packets in, \(dropped) dropped")
        return parts.joined(separator: "; ")
    }

    /// Tells the service manager what there is to say, when that has changed.
    func tellStatus() {
        let line = statusLine
        guard line != statusTold else { return }
        statusTold = line
        manager.status(line)
    }

    /// Tells the service manager again and again that the gateway is alive, for as long as every worker advances. One
    /// that does not is logged once.
    nonisolated func feedWatchdog() async {
        guard let interval = manager.watchdogInterval else { return }
        var before = data.group.rounds, wasStuck = false
        while !Task.isCancelled {
            // Cancelled: the loop ends.
            try? await Task.sleep(for: interval)
            let rounds = data.group.rounds
            let stuck = zip(before, rounds).enumerated().filter { $1.0 == $1.1 }.map(\.offset)
            before = rounds
            if stuck.isEmpty { manager.isAlive() }
            if !stuck.isEmpty && !wasStuck && !Task.isCancelled {
                let list = stuck.map(String.init).joined(separator: ", ")
                logger.error("worker(s) \(list) do not advance: the service manager's watchdog is not told otherwise")
            }
            wasStuck = !stuck.isEmpty
        }
    }
}
