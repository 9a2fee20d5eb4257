import Foundation

extension CheckReport {
    /// Lines for people: the problems as compilers print them, their count, and the resolved site.
    public var text: String {
        var lines = problems.map(\.text)
        let counts = ["error", "warning", "note"].compactMap { severity -> String? in
            let count = problems.count { $0.severity == severity }
            return count == 0 ? nil : "\(count) \(severity)\(count == 1 ? "" : "s")"
        }
        lines.append(counts.isEmpty ? "no problems" : counts.joined(separator: ", "))
        if let site { lines += [""] + CheckReport.lines(site) }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The same for scripts: one object with `valid`, `problems` and, when it is valid, `site`; keys are sorted.
    public var json: String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Nothing in it can fail to encode: strings, integers and booleans.
        guard let data = try? encoder.encode(self) else { return "{}" }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    private static func lines(_ site: Resolved) -> [String] {
        var lines = ["gateway \(site.name)"]
        let memory = site.memoryMib.map { "\($0) MiB" } ?? "sized from the site"
        lines += table([
            ["state directory", site.stateDirectory], ["control socket", site.controlSocket],
            ["metrics address", site.metricsAddress],
            ["worker cores", site.workerCores.map(String.init).joined(separator: ", ")],
            ["memory", memory + (site.hugePages ? ", huge pages" : ", no huge pages")],
        ])
        if !site.ealArguments.isEmpty { lines += table([["EAL arguments", site.ealArguments.joined(separator: " ")]]) }

        lines += section(
            "ports",
            site.ports.map { port in
                [
                    port.name, port.role, port.addresses.joined(separator: ", "), "mtu \(port.mtuOctets)", port.device,
                    port.localServices ? "" : "no local services",
                ]
            })
        lines += section("routes", site.routes.map { [$0.destination, "via \($0.via)", $0.port] })
        lines += section("neighbors", site.neighbors.map { [$0.address, $0.mac, $0.port] })
        for direction in ["outbound", "inbound"] {
            let entries = site.policies.filter { $0.direction == direction }
            lines += section(
                "policies \(direction), in the order they are looked at",
                entries.map(row) + [["", "discard", "everything else"]])
        }
        for tunnel in site.tunnels { lines += self.lines(tunnel) }
        return lines
    }

    private static func row(_ entry: PolicyEntry) -> [String] {
        var selector = "\(entry.source) to \(entry.destination)"
        if let ipProtocol = entry.ipProtocol { selector += ", \(ipProtocol)" }
        if let ports = entry.sourcePorts { selector += ", source ports \(ports)" }
        if let ports = entry.destinationPorts { selector += ", destination ports \(ports)" }
        return [entry.priority.map { "priority \($0)" } ?? "tunnel", entry.action, selector, entry.tunnel ?? ""]
    }

    private static func lines(_ tunnel: Tunnel) -> [String] {
        let smallest = SALifetime.text(tunnel.lifetimeSecondsSmallest)
        let largest = SALifetime.text(tunnel.lifetimeSecondsLargest)
        return ["", "tunnel \(tunnel.name)"]
            + table(
                [
                    ["addresses", "\(tunnel.localAddress) to \(tunnel.remoteAddress)"],
                    ["local subnets", tunnel.localSubnets.joined(separator: ", ")],
                    ["remote subnets", tunnel.remoteSubnets.joined(separator: ", ")],
                    ["inner MTU", "\(tunnel.innerMtuOctets) octets"],
                    ["outbound SA", "SPI \(tunnel.outbound.spi), key \(tunnel.outbound.keyFingerprint)"],
                    [
                        "inbound SA",
                        "SPI \(tunnel.inbound.spi), key \(tunnel.inbound.keyFingerprint), replay window "
                            + "\(tunnel.inbound.replayWindowPackets ?? 0) packets",
                    ],
                    [
                        "an SA lasts",
                        "\(smallest) at 10 GbE line rate of 64-octet frames, "
                            + "\(largest) of \(tunnel.innerMtuOctets)-octet packets",
                    ],
                ] + (tunnel.outbound.restartsText.map { [["restarts left", $0]] } ?? []))
    }

    private static func section(_ title: String, _ rows: [[String]]) -> [String] {
        rows.isEmpty ? [] : ["", title] + table(rows)
    }

    /// Rows with their columns aligned, two blanks in front and between.
    private static func table(_ rows: [[String]]) -> [String] {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() where widths[column] > 0 {
                line += "  " + cell + String(repeating: " ", count: widths[column] - cell.count)
            }
            return String(line.reversed().drop { $0 == " " }.reversed())
        }
    }

    static func hexadecimal(_ octet: UInt8) -> String { (octet < 16 ? "0" : "") + String(octet, radix: 16) }

    static func range(_ ports: ClosedRange<UInt16>) -> String {
        ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    }
}

extension CheckReport.Problem: Encodable {
    private enum CodingKeys: String, CodingKey { case severity, line, path, message, hint }

    /// Without `text`, which says the same; a line that is not known is null.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(severity, forKey: .severity)
        try container.encode(line, forKey: .line)
        try container.encode(path, forKey: .path)
        try container.encode(message, forKey: .message)
        try container.encode(hint, forKey: .hint)
    }
}
