import IPsec

/// `[[policy]]`: entries of the SPD before the tunnels' own.
extension SiteBuilder {
    func readPolicies() {
        let tunnelIndices = Dictionary(zip(tunnels.map(\.name), tunnels.indices)) { first, _ in first }
        for table in root.tables("policy") {
            let source = readBlock("source", table), destination = readBlock("destination", table)
            let ipProtocol = readProtocol(table)
            let sourcePorts = readPorts("source_ports", table), destinationPorts = readPorts("destination_ports", table)
            judgePorts(table, ipProtocol)
            guard let action = readAction(table, tunnelIndices),
                let direction = table.string("direction").flatMap(Direction.init)
            else { continue }
            policies.append(
                Policy(
                    action: action, direction: direction,
                    selector: TrafficSelector(
                        source: source, destination: destination, ipProtocol: ipProtocol, sourcePorts: sourcePorts,
                        destinationPorts: destinationPorts),
                    priority: table.integer("priority") ?? 0))
        }
    }

    private func readAction(_ table: ConfigurationTable, _ tunnelIndices: [String?: Int]) -> Policy.Action? {
        guard let action = table.string("action") else { return nil }
        let path = table.path("tunnel")
        guard action == "protect" else {
            if table.has("tunnel") {
                problems.error(path, "\(action) takes no tunnel", hint: "remove it, or write action = \"protect\"")
            }
            return action == "bypass" ? .bypass : .discard
        }
        guard let name = table.string("tunnel") else {
            if !table.isAsked("tunnel") {
                problems.error(path, "is missing", hint: "protect needs one: tunnel = \"site-b\"")
            }
            return nil
        }
        guard let tunnel = tunnelIndices[name] else {
            problems.error(
                path, "there is no tunnel \"\(name)\"", hint: suggestion(name, tunnels.compactMap(\.name)))
            return nil
        }
        return .protect(tunnel: tunnel)
    }

    private static let anyBlock = IPPrefix(containing: IPAddress(v4: 0), length: 0)

    private func readBlock(_ key: String, _ table: ConfigurationTable) -> IPPrefix {
        table.string(key).flatMap { block($0, at: table.path(key)) } ?? SiteBuilder.anyBlock
    }

    /// The protocols that people write by name (IANA's registry of protocol numbers).
    static let protocols: [String: UInt8] = [
        "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6": 41, "rsvp": 46, "gre": 47,
        "esp": 50, "ah": 51, "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
    ]
    /// Those whose headers begin with a source and a destination port.
    private static let protocolsWithPorts: Set<UInt8> = [6, 17, 132]

    private func readProtocol(_ table: ConfigurationTable) -> UInt8? {
        let path = table.path("protocol")
        switch table.values["protocol"] {
        case .integer(let number)?:
            if let value = UInt8(exactly: number) { return value }
            problems.error(path, "\(number) is no IP protocol", hint: "0 to 255, or a name such as \"udp\"")
        case .string(let text)?:
            if let value = SiteBuilder.protocols[text.lowercased()] ?? UInt8(text) { return value }
            problems.error(
                path, "\"\(text)\" is no IP protocol known here",
                hint: nearest(to: text, among: SiteBuilder.protocols.keys.sorted()).map { "did you mean \"\($0)\"?" }
                    ?? "\"tcp\", \"udp\", \"icmp\", \"esp\" and others by name, any by its number")
        default: break
        }
        return nil
    }

    /// "500", "500-510" or 500.
    private func readPorts(_ key: String, _ table: ConfigurationTable) -> ClosedRange<UInt16>? {
        let path = table.path(key), hint = "\(key) = \"500-510\", with numbers of 0 to 65535"
        switch table.values[key] {
        case .integer(let number)?:
            if let port = UInt16(exactly: number) { return port...port }
            problems.error(path, "\(number) is no port", hint: hint)
        case .string(let text)?:
            let parts = text.split(separator: "-", omittingEmptySubsequences: false)
            let numbers = parts.compactMap { $0.first?.isNumber == true ? UInt16($0) : nil }
            guard numbers.count == parts.count, let first = numbers.first, let last = numbers.last, numbers.count <= 2
            else {
                problems.error(path, "\"\(text)\" is neither a port nor a range of ports", hint: hint)
                return nil
            }
            guard first <= last else {
                problems.error(path, "the range \(first)-\(last) is backwards", hint: "write \"\(last)-\(first)\"")
                return nil
            }
            return first...last
        default: break
        }
        return nil
    }

    private func judgePorts(_ table: ConfigurationTable, _ ipProtocol: UInt8?) {
        guard let key = ["source_ports", "destination_ports"].first(where: table.has) else { return }
        if let ipProtocol {
            guard !SiteBuilder.protocolsWithPorts.contains(ipProtocol) else { return }
            problems.error(
                table.path(key), "protocol \(ipProtocol) has no ports", hint: "only tcp, udp and sctp have: remove it")
        } else if !table.isAsked("protocol") {
            problems.error(
                table.path(key), "ports need a protocol", hint: "add protocol = \"udp\", or \"tcp\" or \"sctp\"")
        }
    }
}
