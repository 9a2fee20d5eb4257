import IPsec

/// `[[policy]]`: entries of the SPD before the tunnels' own.
extension SiteBuilder {
    func readPolicies() {
        let tables = root.tables("policy")
        guard !tables.isEmpty else { return }
        let tunnelIndices = Dictionary(zip(tunnels.map(\.name), tunnels.indices)) { first, _ in first }
        var names: [String: String] = [:]
        for (index, table) in tables.enumerated() {
            let name = table.string("name") ?? "policy-\(index + 1)"
            judgeName(name, table, &names)
            let ipProtocol = readProtocol(table), messages = readMessages(table)
            let sourcePorts = readPorts("source_ports", table), destinationPorts = readPorts("destination_ports", table)
            judgePorts(table, ipProtocol)
            judgeMessages(table, ipProtocol)
            let action = readAction(table, tunnelIndices)
            let direction = table.string("direction").flatMap(Direction.init)
            let ends = Ends(readBlock("source", table), readBlock("destination", table))
            guard let action, let direction, let ends = narrowed(ends, action, direction, table),
                let families = judgeFamilies(ends, ipProtocol, table)
            else { continue }
            for family in families {
                policies.append(
                    Policy(
                        action: action, direction: direction,
                        selector: TrafficSelector(
                            source: ends.source ?? .any(family), destination: ends.destination ?? .any(family),
                            ipProtocol: ipProtocol, sourcePorts: sourcePorts, destinationPorts: destinationPorts,
                            icmpMessages: messages),
                        priority: table.integer("priority") ?? 0, name: name))
            }
        }
    }

    /// What is any is nil.
    private struct Ends {
        var source: IPPrefix?, destination: IPPrefix?

        init(_ source: IPPrefix?, _ destination: IPPrefix?) {
            self.source = source
            self.destination = destination
        }
    }

    /// Which families the entry covers: that of its blocks, both when it has none; of one of the two ICMPs its own.
    /// Nil after saying that there is none.
    private func judgeFamilies(_ ends: Ends, _ ipProtocol: UInt8?, _ table: ConfigurationTable) -> [IPFamily]? {
        if let source = ends.source, let destination = ends.destination, source.family != destination.family {
            problems.error(
                table.path(table.has("destination") ? "destination" : "source"),
                "\(destination) is \(destination.family) and \(source) is \(source.family)",
                hint: "a packet's addresses are of one family: write an entry for each")
            return nil
        }
        let blocks = (ends.source ?? ends.destination)?.family
        guard let ipProtocol, let own = SiteBuilder.familyOfICMP[ipProtocol] else {
            return blocks.map { [$0] } ?? IPFamily.allCases
        }
        guard blocks == nil || blocks == own else {
            problems.error(
                table.path("protocol"), "protocol \(ipProtocol) is the ICMP of \(own), and the blocks are not",
                hint: own == .v4 ? "protocol = \"icmpv6\"" : "protocol = \"icmp\"")
            return nil
        }
        return [own]
    }

    /// An SA in transport mode carries what its two hosts say: where the entry names no block, theirs. Nil after saying
    /// that it names others.
    private func narrowed(
        _ ends: Ends, _ action: Policy.Action, _ direction: Direction, _ table: ConfigurationTable
    ) -> Ends? {
        guard case .protect(let index) = action, tunnels[index].profile.mode == .transport,
            let local = tunnels[index].localAddress, let remote = tunnels[index].remoteAddress
        else { return ends }
        let hosts = direction == .outbound ? (local, remote) : (remote, local)
        for (key, block, host) in [("source", ends.source, hosts.0), ("destination", ends.destination, hosts.1)] {
            guard let block, block != IPPrefix(host) else { continue }
            problems.error(
                table.path(key),
                "\(block) is not \(host) alone, and tunnel \"\(tunnels[index].name ?? "")\" is in "
                    + "transport mode",
                hint: "remove it, or write \"\(IPPrefix(host))\"")
            return nil
        }
        return Ends(IPPrefix(hosts.0), IPPrefix(hosts.1))
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

    private func readBlock(_ key: String, _ table: ConfigurationTable) -> IPPrefix? {
        table.string(key).flatMap { block($0, at: table.path(key)) }
    }

    /// The protocols that people write by name (IANA's registry of protocol numbers).
    static let protocols: [String: UInt8] = [
        "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6": 41, "rsvp": 46, "gre": 47,
        "esp": 50, "ah": 51, "icmpv6": 58, "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132,
        "udplite": 136,
    ]
    /// Second names of protocols.
    private static let protocolAliases: [String: UInt8] = ["ipv6-icmp": 58, "icmp6": 58, "ipencap": 4]
    private static let familyOfICMP: [UInt8: IPFamily] = [1: .v4, 58: .v6]
    /// Those whose headers begin with a source and a destination port.
    private static let protocolsWithPorts: Set<UInt8> = [6, 17, 132]

    private func readProtocol(_ table: ConfigurationTable) -> UInt8? {
        let path = table.path("protocol")
        switch table.values["protocol"] {
        case .integer(let number)?:
            if let value = UInt8(exactly: number) { return value }
            problems.error(path, "\(number) is no IP protocol", hint: "0 to 255, or a name such as \"udp\"")
        case .string(let text)?:
            let word = text.lowercased()
            if let value = SiteBuilder.protocols[word] ?? SiteBuilder.protocolAliases[word] ?? UInt8(text) {
                return value
            }
            problems.error(
                path, "\"\(text)\" is no IP protocol known here",
                hint: nearest(to: text, among: SiteBuilder.protocols.keys.sorted()).map { "did you mean \"\($0)\"?" }
                    ?? "\"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"esp\" and others by name, any by its number")
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

    /// "8", "0-8" or 8: types with all their codes; "3/4": a type and a code. Each as type times 256 plus code.
    private func readMessages(_ table: ConfigurationTable) -> ClosedRange<UInt16>? {
        let path = table.path("icmp_types")
        let hint = "icmp_types = 8, \"0-8\", or \"3/4\" for type and code, each 0 to 255"
        func number(_ text: Substring) -> UInt16? { text.first?.isNumber == true ? UInt8(text).map(UInt16.init) : nil }
        switch table.values["icmp_types"] {
        case .integer(let value)?:
            if let type = UInt8(exactly: value) { return UInt16(type) << 8...UInt16(type) << 8 | 0xff }
            problems.error(path, "\(value) is no ICMP type", hint: hint)
        case .string(let text)?:
            let coded = text.split(separator: "/", omittingEmptySubsequences: false)
            if coded.count == 2, let type = number(coded[0]), let code = number(coded[1]) {
                return type << 8 | code...type << 8 | code
            }
            let types = text.split(separator: "-", omittingEmptySubsequences: false).map(number)
            guard (1...2).contains(types.count), let first = types[0], let last = types[types.count - 1] else {
                problems.error(path, "\"\(text)\" is neither an ICMP type nor a range of types", hint: hint)
                return nil
            }
            guard first <= last else {
                problems.error(path, "the range \(first)-\(last) is backwards", hint: "write \"\(last)-\(first)\"")
                return nil
            }
            return first << 8...last << 8 | 0xff
        default: break
        }
        return nil
    }

    private func judgeMessages(_ table: ConfigurationTable, _ ipProtocol: UInt8?) {
        guard table.has("icmp_types") else { return }
        if let ipProtocol {
            guard SiteBuilder.familyOfICMP[ipProtocol] == nil else { return }
            problems.error(
                table.path("icmp_types"), "protocol \(ipProtocol) has no ICMP types",
                hint: "only icmp and icmpv6 have: remove it")
        } else if !table.isAsked("protocol") {
            problems.error(
                table.path("icmp_types"), "ICMP types need a protocol",
                hint: "add protocol = \"icmp\", or \"icmpv6\"")
        }
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
