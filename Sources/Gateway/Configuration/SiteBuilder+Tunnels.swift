import IPsec

/// `[[tunnel]]`.
extension SiteBuilder {
    func readTunnels() {
        var names: [String: String] = [:]
        for table in root.tables("tunnel") {
            var draft = TunnelDraft(path: table.path)
            draft.name = table.string("name")
            if let name = draft.name { judgeName(name, table, &names) }
            draft.localAddress = readLocalAddress(table)
            draft.remoteAddress = readRemoteAddress(table)
            draft.localSubnets = readSubnets("local_subnets", table)
            draft.remoteSubnets = readSubnets("remote_subnets", table)
            readOffload(table)
            draft.children = readChildren(table)
            draft.lifetime = readLifetime(table)
            draft.innerMTUOctets = draft.remoteAddress.flatMap { readInnerMTU(towards: $0, table) }
            tunnels.append(draft)
        }
        judgeSPIs()
        judgeKeys()
        judgeSelectors()
        if let first = tunnels.first {
            // RFC 8221 section 3: a manual key must not be used with a counter mode that restarts; RFC 4106 section 1.
            problems.warning(
                first.path,
                "static keys: nothing makes new ones by itself, and who learns one reads all its past traffic",
                hint:
                    "AES-GCM with manual keys goes against RFC 8221 section 3 and is safe only while no IV repeats: "
                    + "keep state_directory on a disk that is never rolled back, and replace both ends' keys in time, "
                    + "by [[tunnel.child]] or by hand"
            )
        }
    }

    private func readLocalAddress(_ table: ConfigurationTable) -> IPAddress? {
        let path = table.path("local_address")
        guard let address = table.string("local_address").flatMap({ hostAddress($0, at: path) }) else { return nil }
        let unprotected = ports.filter { $0.role == .unprotected }.flatMap(\.addresses).map(\.address.address)
        if knowsPorts && !unprotected.contains(address) {
            let list = unprotected.prefix(8).map(\.description).joined(separator: ", ")
            problems.error(
                path, "\(address) is no address of an unprotected port",
                hint: list.isEmpty ? "there is no unprotected port" : "those are \(list)")
        }
        return address
    }

    private func readRemoteAddress(_ table: ConfigurationTable) -> IPAddress? {
        let path = table.path("remote_address")
        guard let address = table.string("remote_address").flatMap({ hostAddress($0, at: path) }) else { return nil }
        if let own = ports.flatMap(\.addresses).first(where: { $0.address.address == address }) {
            problems.error(path, "\(address) is the gateway's own (\(own.path))", hint: "name the other end")
            return nil
        }
        if let own = ports.flatMap(\.addresses).first(where: { $0.address.broadcast == address }) {
            problems.error(path, "\(address) is the broadcast address of \(own.path)", hint: "name the other end")
            return nil
        }
        return address
    }

    private func readSubnets(_ key: String, _ table: ConfigurationTable) -> [IPPrefix] {
        if case .array([])? = table.values[key] {
            problems.error(
                table.path(key), "is empty", hint: "\(key) = [\"10.0.1.0/24\"]; every address is \"0.0.0.0/0\"")
        }
        var blocks: [IPPrefix] = []
        for (path, text) in table.strings(key) {
            guard let block = block(text, at: path) else { continue }
            if blocks.contains(block) {
                problems.error(path, "\(block) is there twice", hint: "remove one of the two")
            } else {
                blocks.append(block)
            }
        }
        return blocks
    }

    /// "off" and "auto" are accepted: this version encrypts in software, which both allow.
    private func readOffload(_ table: ConfigurationTable) {
        let path = table.path("offload"), choices = ["off", "auto"]
        func judge(_ text: String, at path: String) {
            if text == "required" {
                problems.error(
                    path, "offload = \"required\" is not carried by this version",
                    hint: "use \"auto\" or \"off\"; this version encrypts in software")
            } else if !choices.contains(text) {
                problems.error(
                    path, "\"\(text)\" is none of \"off\", \"auto\", \"required\"", hint: suggestion(text, choices))
            }
        }
        switch table.values["offload"] {
        case .string(let text)?: judge(text, at: path)
        case .table(let entries)?:
            for (key, value) in entries.sorted(by: { $0.key < $1.key }) {
                if !Direction.allCases.map(\.rawValue).contains(key) {
                    problems.error(
                        "\(path).\(key)", "unknown key",
                        hint: "offload = { outbound = \"auto\", inbound = \"off\" }")
                } else if case .string(let text) = value {
                    judge(text, at: "\(path).\(key)")
                } else {
                    problems.error(
                        "\(path).\(key)", "must be a string, not \(value.typeName)", hint: "\(key) = \"auto\"")
                }
            }
        default: break
        }
    }

    /// What is left of the MTU of the port that leads to the other end; nil after saying that no port does.
    private func readInnerMTU(towards address: IPAddress, _ table: ConfigurationTable) -> Int? {
        guard let port = portTowards(address) else {
            if knowsRoutes {
                problems.error(
                    table.path("remote_address"), "there is no route to \(address)",
                    hint: "add a [[route]] whose destination holds it, by way of an unprotected port")
            }
            return nil
        }
        if ports[port].role == .protected {
            problems.error(
                table.path("remote_address"),
                "the route to \(address) leaves by \(ports[port].name ?? ports[port].path), a protected port",
                hint: "add a [[route]] by way of an unprotected port")
            return nil
        }
        return SiteBuilder.innerMTU(ofPort: ports[port].mtuOctets)
    }

    /// The largest inner packet that fits a path MTU, both in octets: less 20 of outer IPv4 header, 8 of ESP header, 8
    /// of IV, 2 of trailer and 16 of ICV, and of such a size that it needs no padding (RFC 4303 section 2.4: packet and
    /// trailer end on a multiple of 4).
    static func innerMTU(ofPort mtuOctets: Int) -> Int {
        let room = mtuOctets - 20 - 8 - 8 - 2 - 16
        return room - (room + 2) % 4
    }
}
