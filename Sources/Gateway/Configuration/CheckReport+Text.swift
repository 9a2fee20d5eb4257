import Foundation
import IPsec

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
        if !site.cryptoDevices.isEmpty {
            lines += table([["crypto devices", site.cryptoDevices.joined(separator: ", ")]])
        }
        if !site.ealArguments.isEmpty { lines += table([["EAL arguments", site.ealArguments.joined(separator: " ")]]) }
        if let punt = site.punt {
            lines += table([["punt", "\(punt.device), \(punt.ratePacketsPerSecond) packets a second"]])
        }
        if !site.hookCommand.isEmpty { lines += table([["hook command", site.hookCommand.joined(separator: " ")]]) }

        lines += section(
            "ports",
            site.ports.map { port in
                [
                    port.name, port.role, port.addresses.joined(separator: ", "), "mtu \(port.mtuOctets)", port.device,
                    port.vlan.map { "vlan \($0)" } ?? "", port.localServices ? "" : "no local services",
                ]
            })
        lines += section("routes", site.routes.map { [$0.destination, "via \($0.via)", $0.port] })
        lines += section("neighbors", site.neighbors.map { [$0.address, $0.mac, $0.port] })
        for direction in ["outbound", "inbound"] {
            let entries = site.policies.filter { $0.direction == direction }
            lines += section(
                "policies \(direction), in the order they are looked at",
                entries.map(row) + [["", "", "discard", "everything else"]])
        }
        for tunnel in site.tunnels { lines += self.lines(tunnel) }
        return lines
    }

    private static func row(_ entry: PolicyEntry) -> [String] {
        var selector = "\(entry.source) to \(entry.destination)"
        if let ipProtocol = entry.ipProtocol { selector += ", \(ipProtocol)" }
        if let ports = entry.sourcePorts { selector += ", source ports \(ports)" }
        if let ports = entry.destinationPorts { selector += ", destination ports \(ports)" }
        if let types = entry.icmpTypes { selector += ", types \(types)" }
        let name = entry.priority == nil ? "" : entry.name
        return [entry.priority.map { "priority \($0)" } ?? "tunnel", name, entry.action, selector, entry.tunnel ?? ""]
    }

    private static func lines(_ tunnel: Tunnel) -> [String] {
        let smallest = SALifetime.text(tunnel.lifetimeSecondsSmallest)
        let largest = SALifetime.text(tunnel.lifetimeSecondsLargest)
        var rows = [
            ["addresses", "\(tunnel.localAddress) to \(tunnel.remoteAddress)"],
            ["local subnets", tunnel.localSubnets.joined(separator: ", ")],
            ["remote subnets", tunnel.remoteSubnets.joined(separator: ", ")],
            [
                "carries",
                tunnel.innerFamilies.map(familyText).joined(separator: " and ") + " in \(tunnel.mode) mode"
                    + (tunnel.mode == "transport" ? "" : ", \(familyText(tunnel.outerFamily)) outside"),
            ],
            [
                "algorithm",
                tunnel.algorithm + ", \(tunnel.extendedSequenceNumbers ? 64 : 32)-bit sequence numbers",
            ],
        ]
        rows += extras(tunnel)
        rows.append(["inner MTU", "\(tunnel.innerMtuOctets) octets"])
        if let lanes = tunnel.lanes {
            rows.append(["workers", "\(lanes) at the same time: each has a pair of SAs, and flows are shared out"])
        }
        rows += associations(tunnel.outbound, tunnel.inbound)
        for (index, child) in tunnel.children.enumerated() {
            let time = child.notBefore.map { "not before \($0)" } ?? "without a date"
            rows.append(["child \(index + 1)", time + use(child)])
            rows += associations(child.outbound, child.inbound)
        }
        let soft = [tunnel.softLifetimePackets, tunnel.softLifetimeOctets, tunnel.softLifetimeSeconds]
        let hard = [tunnel.hardLifetimePackets, tunnel.hardLifetimeOctets, tunnel.hardLifetimeSeconds]
        for (name, limits) in [("soft lifetime", soft), ("hard lifetime", hard)] {
            let words = zip(limits, ["packets", "octets", "seconds"]).compactMap { limit, unit in
                limit.map { "\($0) \(unit)" }
            }
            if !words.isEmpty { rows.append([name, words.joined(separator: ", ")]) }
        }
        rows.append([
            "an SA lasts",
            "\(smallest) at 10 GbE line rate of 64-octet frames, \(largest) of \(tunnel.innerMtuOctets)-octet packets",
        ])
        return ["", "tunnel \(tunnel.name)"] + table(rows)
    }

    private static func use(_ child: Child) -> String {
        switch child.use {
        case "beside": ", beside the others of that time, on a worker of its own"
        case .some: ", spare: waits until one of that time ends"
        case nil: ""
        }
    }

    private static func familyText(_ word: String) -> String { word == "ipv6" ? "IPv6" : "IPv4" }

    /// What a tunnel has that most have not.
    private static func extras(_ tunnel: Tunnel) -> [[String]] {
        var rows: [[String]] = []
        if tunnel.natTraversal { rows.append(["NAT traversal", "ESP in UDP, port 4500; the peer may move"]) }
        if tunnel.df != "copy" || tunnel.dscp != "copy" {
            rows.append(["outer header", "DF \(tunnel.df), DSCP \(tunnel.dscp)"])
        }
        if tunnel.tfcPaddingOctets > 0 { rows.append(["TFC padding", "to \(tunnel.tfcPaddingOctets) octets"]) }
        if tunnel.clampMss { rows.append(["TCP segments", "clamped to the inner MTU"]) }
        if !tunnel.learnPathMtu { rows.append(["path MTU", "not learnt from ICMP errors"]) }
        return rows
    }

    private static func associations(_ outbound: Association, _ inbound: Association) -> [[String]] {
        [
            ["outbound SA", "SPI \(outbound.spi), key \(outbound.keyFingerprint)"],
            [
                "inbound SA",
                "SPI \(inbound.spi), key \(inbound.keyFingerprint), replay window "
                    + "\(inbound.replayWindowPackets ?? 0) packets",
            ],
        ] + (outbound.restartsText.map { [["restarts left", $0]] } ?? [])
    }

    private static func section(_ title: String, _ rows: [[String]]) -> [String] {
        rows.isEmpty ? [] : ["", title] + table(rows)
    }

    /// Rows with their columns aligned, two blanks in front and between.
    private static func table(_ rows: [[String]]) -> [String] {
        let lengths = rows.map { $0.map(\.count) }
        var widths: [Int] = []
        for (column, length) in lengths.lazy.flatMap({ $0.enumerated() }) {
            if column == widths.count { widths.append(0) }
            widths[column] = max(widths[column], length)
        }
        return zip(rows, lengths).map { row, lengths in
            var line = "", owed = 0
            for (column, cell) in row.enumerated() where widths[column] > 0 {
                // Blanks behind a cell are written with the next one, so that no line ends in them.
                owed += 2
                if !cell.isEmpty {
                    line += String(repeating: " ", count: owed) + cell
                    owed = 0
                }
                owed += widths[column] - lengths[column]
            }
            return line
        }
    }

    static func hexadecimal(_ octet: UInt8) -> String { (octet < 16 ? "0" : "") + String(octet, radix: 16) }

    /// "ipv4", "ipv6".
    static func word(_ family: IPFamily) -> String { family == .v4 ? "ipv4" : "ipv6" }

    /// ICMP messages as site files have them: "8", "0-8", "3/4".
    static func messages(_ messages: ClosedRange<UInt16>) -> String {
        let (first, last) = (messages.lowerBound, messages.upperBound)
        func coded(_ message: UInt16) -> String { "\(message >> 8)/\(message & 0xff)" }
        if first == last { return coded(first) }
        guard first & 0xff == 0, last & 0xff == 0xff else { return "\(coded(first))-\(coded(last))" }
        return range(first >> 8...last >> 8)
    }

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
