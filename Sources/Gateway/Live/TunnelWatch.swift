/// Whether each tunnel's peer answers.
///
/// A tunnel is up from the first authentic packet that comes in by it. It is down when something that we sent has been
/// unanswered for `patience` and we still send: a tunnel that nobody uses stays what it was. Traffic that only ever
/// goes one way looks like a peer that does not answer.
struct TunnelWatch: Sendable {
    enum State: Sendable { case unknown, up, down }

    /// What the SAs of a tunnel have carried together.
    struct Traffic: Sendable {
        var name: String
        var inboundPackets: UInt64, outboundPackets: UInt64
    }

    private struct Entry {
        var state = State.unknown
        var inboundPackets: UInt64 = 0, outboundPackets: UInt64 = 0
        /// When the first packet went out that nothing has come in after.
        var unansweredSince: ContinuousClock.Instant?
    }

    /// How long something may be unanswered.
    static let patience = Duration.seconds(60)

    private let patience: Duration
    private var entries: [String: Entry] = [:]

    init(patience: Duration = TunnelWatch.patience) { self.patience = patience }

    /// Looks at all tunnels there are, and forgets others. Returns those whose state has changed.
    mutating func look(
        _ tunnels: some Sequence<Traffic>, at now: ContinuousClock.Instant
    ) -> [(name: String, state: State)] {
        var next: [String: Entry] = [:], changes: [(name: String, state: State)] = []
        for tunnel in tunnels {
            var entry = entries[tunnel.name] ?? Entry()
            let before = entry.state
            // An SA that went takes its count along: a sum that is lower than it was says nothing.
            if tunnel.inboundPackets > entry.inboundPackets {
                (entry.state, entry.unansweredSince) = (.up, nil)
            } else if tunnel.outboundPackets > entry.outboundPackets {
                let since = entry.unansweredSince ?? now
                entry.unansweredSince = since
                if now - since >= patience { entry.state = .down }
            }
            (entry.inboundPackets, entry.outboundPackets) = (tunnel.inboundPackets, tunnel.outboundPackets)
            if entry.state != before { changes.append((tunnel.name, entry.state)) }
            next[tunnel.name] = entry
        }
        entries = next
        return changes
    }

    /// "up", "down", or "quiet" where nothing has come or gone yet.
    func word(_ name: String) -> String {
        switch entries[name]?.state {
        case .up: "up"
        case .down: "down"
        case .unknown, nil: "quiet"
        }
    }

    /// Tunnels in a state.
    func count(_ state: State) -> Int { entries.values.count { $0.state == state } }
}
