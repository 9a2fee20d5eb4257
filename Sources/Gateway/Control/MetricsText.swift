import Foundation
import IPsec

/// OpenMetrics 1.0 text of what the gateway counts, or the text format of Prometheus before it.
///
/// Series are bounded by the site: ports, reasons, and the first SAs. Families stand in a fixed order; the same numbers
/// are the same text.
struct MetricsText {
    /// How it is written down.
    enum Format {
        case openMetrics, prometheus

        /// What a client takes who says so: OpenMetrics unless it asks for plain text alone.
        init(accept: String) {
            let isPlain = accept.contains("text/plain") && !accept.contains("application/openmetrics-text")
            self = isPlain ? .prometheus : .openMetrics
        }

        var contentType: String {
            switch self {
            case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
            case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
            }
        }
    }

    /// SAs that have series of their own. A gateway of 100 000 is looked into by the control socket.
    static let associationLimit = 1024

    private(set) var text = ""
    private let format: Format

    init(
        report: Report, associations: [ControlView.Association], counters: ControlCounters, name: String,
        format: Format = .openMetrics
    ) {
        self.format = format
        family("vpngw_build", "info", "What runs here.")
        sample("vpngw_build_info", [("version", SoftwareVersion.text), ("gateway", name)], 1)

        family(
            "vpngw_packets", "counter",
            "Packets by what became of them: rx and originated are tx, consumed, dropped or in flight.")
        for (stage, value) in [
            ("rx", report.rxPackets), ("originated", report.originatedPackets), ("tx", report.txPackets),
            ("consumed", report.consumedPackets), ("dropped", report.droppedPackets),
        ] {
            sample("vpngw_packets_total", [("stage", stage)], value)
        }

        family("vpngw_drops", "counter", "Dropped packets by reason; docs/DROPS.md says what each means.")
        for reason in DropReason.allCases {
            sample("vpngw_drops_total", [("reason", reason.name)], report.drops[reason.name] ?? 0)
        }
        add(ports: report.ports)
        add(associations: associations)
        add(workers: counters.workers)

        family("vpngw_tunnels", "gauge", "Tunnels by whether their peers answer; quiet: nothing has come or gone yet.")
        let quiet = counters.tunnels - min(counters.tunnels, counters.tunnelsUp + counters.tunnelsDown)
        for (state, value) in [("up", counters.tunnelsUp), ("down", counters.tunnelsDown), ("quiet", quiet)] {
            sample("vpngw_tunnels", [("state", state)], value)
        }
        family("vpngw_lifetime_events", "counter", "SAs that passed a lifetime.")
        sample("vpngw_lifetime_events_total", [("kind", "soft")], counters.softLifetimeEvents)
        sample("vpngw_lifetime_events_total", [("kind", "hard")], counters.hardLifetimeEvents)
        family("vpngw_store_commits", "counter", "Commits of the state store.")
        sample("vpngw_store_commits_total", [], counters.storeCommits)
        family("vpngw_store_written_octets", "counter", "Octets that the state store wrote.")
        sample("vpngw_store_written_octets_total", [], counters.storeWrittenOctets)
        if format == .openMetrics { text += "# EOF\n" }
    }

    private mutating func add(ports: [String: Report.Port]) {
        let ports = ports.sorted { $0.key < $1.key }
        family("vpngw_port_packets", "counter", "Packets of a port.")
        for (name, port) in ports {
            sample("vpngw_port_packets_total", [("port", name), ("direction", "rx")], port.rxPackets)
            sample("vpngw_port_packets_total", [("port", name), ("direction", "tx")], port.txPackets)
        }
        family("vpngw_port_octets", "counter", "Octets of a port's frames.")
        for (name, port) in ports {
            sample("vpngw_port_octets_total", [("port", name), ("direction", "rx")], port.rxOctets)
            sample("vpngw_port_octets_total", [("port", name), ("direction", "tx")], port.txOctets)
        }
    }

    private mutating func add(associations: [ControlView.Association]) {
        let shown = associations.prefix(MetricsText.associationLimit)
        func labels(_ row: ControlView.Association) -> [(String, String)] {
            [("tunnel", row.tunnel), ("spi", row.spi.description), ("direction", row.direction.rawValue)]
        }
        family("vpngw_sas", "gauge", "SAs that are installed; the first \(MetricsText.associationLimit) have series.")
        sample("vpngw_sas", [], UInt64(associations.count))
        family("vpngw_sa_packets", "counter", "Packets of an SA.")
        for row in shown { sample("vpngw_sa_packets_total", labels(row), row.packets) }
        family("vpngw_sa_octets", "counter", "Octets of an SA.")
        for row in shown { sample("vpngw_sa_octets_total", labels(row), row.octets) }
    }

    private mutating func add(workers: [ControlCounters.Worker]) {
        family("vpngw_worker_busy_seconds", "counter", "Time that a worker spent on rounds that had packets.")
        for (index, worker) in workers.enumerated() {
            let value = String(format: "%.6f", worker.busySeconds)
            sample("vpngw_worker_busy_seconds_total", [("worker", String(index))], value)
        }
        family("vpngw_worker_polls", "counter", "Rounds of a worker's loop.")
        for (index, worker) in workers.enumerated() {
            sample("vpngw_worker_polls_total", [("worker", String(index))], worker.polls)
        }
        family("vpngw_worker_handed_over_packets", "counter", "Packets that a worker passed to the one they belong to.")
        for (index, worker) in workers.enumerated() {
            sample("vpngw_worker_handed_over_packets_total", [("worker", String(index))], worker.handedOver)
        }
    }

    /// OpenMetrics names a family without the ending of its samples; before it, the two were one.
    private mutating func family(_ name: String, _ type: String, _ help: String) {
        let isOpen = format == .openMetrics
        let name = isOpen ? name : name + (["counter": "_total", "info": "_info"][type] ?? "")
        text += "# TYPE \(name) \(type == "info" && !isOpen ? "gauge" : type)\n# HELP \(name) \(help)\n"
    }

    private mutating func sample(_ name: String, _ labels: [(String, String)], _ value: some CustomStringConvertible) {
        text += name
        if !labels.isEmpty {
            text += "{\(labels.map { "\($0.0)=\"\(MetricsText.escaped($0.1))\"" }.joined(separator: ","))}"
        }
        text += " \(value)\n"
    }

    /// As OpenMetrics wants it: backslash, quote and newline.
    private static func escaped(_ text: String) -> String {
        guard text.contains(where: { $0 == "\\" || $0 == "\"" || $0.isNewline }) else { return text }
        return text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }
}
