import DataPlane
import IPsec
import Wire

/// Ports, routes and neighbors: the side of a site that an unencrypted router would have too.
extension SiteBuilder {
    // MARK: [[port]]

    /// What DPDK takes (RTE_MAX_ETHPORTS).
    private static let mostPorts = 32

    func readPorts() {
        let tables = root.tables("port")
        if tables.isEmpty && root.has("port") {
            problems.error("port", "is empty", hint: "a gateway has a protected and an unprotected port")
        }
        if tables.count > SiteBuilder.mostPorts {
            problems.error(
                "port[\(SiteBuilder.mostPorts)]", "one port too many", hint: "\(SiteBuilder.mostPorts) at most")
        }
        var devices: [String: String] = [:], names: [String: String] = [:]
        for table in tables.prefix(SiteBuilder.mostPorts) {
            var draft = PortDraft(path: table.path)
            draft.name = table.string("name")
            draft.role = table.string("role").flatMap(Topology.Role.init)
            draft.device = table.string("device")
            draft.mtuOctets = table.integer("mtu_octets") ?? 1500
            draft.localServices = table.boolean("local_services") ?? true
            if let name = draft.name { judgeName(name, table, &names) }
            if let device = draft.device, mode.usesDevices { judgeDevice(device, table, &devices) }
            readAddresses(table, &draft)
            ports.append(draft)
        }
    }

    /// Names are what other tables, reports and file arguments (PORT=FILE) say, so they are unique and plain.
    func judgeName(_ name: String, _ table: ConfigurationTable, _ names: inout [String: String]) {
        let path = table.path("name")
        if name.utf8.count > 63 || name.contains(where: { $0.isWhitespace || $0 == "=" }) {
            problems.error(
                path, "\"\(name)\" is not a name", hint: "63 octets at most, without blanks and without an equals sign")
        } else if let other = names[name] {
            problems.error(path, "\"\(name)\" is also the name of \(other)", hint: "give each a name of its own")
        } else {
            names[name] = table.path
        }
    }

    private func judgeDevice(_ device: String, _ table: ConfigurationTable, _ devices: inout [String: String]) {
        let path = table.path("device")
        // Two vdevs of one name are one device to DPDK, whatever their arguments; PCI addresses may leave out domain 0.
        var identity = String(device.prefix { $0 != "," }).lowercased()
        if identity.split(separator: ":").count == 2 && identity.contains(".") { identity = "0000:" + identity }
        if let other = devices[identity] {
            problems.error(
                path, "\"\(identity)\" is also the device of \(other)", hint: "a port has a device of its own")
        } else {
            devices[identity] = table.path
        }
        if !identity.contains(":") && !identity.hasPrefix("net_") {
            problems.warning(
                path, "\"\(device)\" looks like neither a PCI address nor a DPDK vdev",
                hint: "\"0000:03:00.0\"; for a kernel interface \"net_af_packet0,iface=\(device)\"")
        }
    }

    private func readAddresses(_ table: ConfigurationTable, _ draft: inout PortDraft) {
        if case .array([])? = table.values["addresses"] {
            problems.error(table.path("addresses"), "is empty", hint: "addresses = [\"10.0.1.1/24\"]")
        }
        for (path, text) in table.strings("addresses") {
            guard let address = IPInterfaceAddress(text), address.prefix.family == .v4, address.prefix.length > 0 else {
                let suggestion = IPAddress(text).map { "write the block too, \"\($0)/24\"" }
                refuseText(
                    text, at: path, "no IPv4 address with its block",
                    hint: suggestion ?? "an address and a prefix length of 1 to 32, \"10.0.1.1/24\"")
                continue
            }
            let isEdge =
                address.prefix.length < 31
                && (address.address == address.prefix.address || address.address == address.broadcast)
            if isEdge || !SiteBuilder.isUnicast(address.address) {
                problems.error(
                    path, "\(address) is not an address that a host can have",
                    hint: "neither a block's first or last address nor loopback or multicast")
                continue
            }
            judgeOverlap(address, at: path, with: draft)
            draft.addresses.append((path, address))
        }
    }

    private func judgeOverlap(_ address: IPInterfaceAddress, at path: String, with draft: PortDraft) {
        if draft.addresses.contains(where: { $0.address.address == address.address }) {
            problems.error(path, "\(address.address) is there twice", hint: "remove one of the two")
        }
        for other in ports {
            for theirs in other.addresses where theirs.address.prefix.overlaps(address.prefix) {
                let isSame = theirs.address.address == address.address
                problems.error(
                    path,
                    isSame
                        ? "\(address.address) is also \(theirs.path)"
                        : "\(address.prefix) overlaps \(theirs.address.prefix) of \(theirs.path)",
                    hint: "an address must tell the port: give the ports blocks that share nothing")
                return
            }
        }
    }

    // MARK: [[route]]

    func readRoutes() {
        var seen: [IPPrefix: String] = [:]
        for table in root.tables("route") {
            let path = table.path("destination")
            let destination = table.string("destination").flatMap { block($0, at: path) }
            if let destination {
                if let other = seen[destination] {
                    problems.error(
                        path, "\(destination) is also the destination of \(other)", hint: "remove one of the two")
                } else {
                    seen[destination] = table.path
                }
                if let port = ports.first(where: { $0.addresses.contains { $0.address.prefix == destination } }) {
                    problems.error(
                        path, "\(destination) is connected to \(port.name ?? port.path)", hint: "it needs no route")
                }
            }
            let via = table.string("via").flatMap { hostAddress($0, at: table.path("via")) }
            guard let via, let port = portOfNextHop(via, at: table.path("via")), let destination else { continue }
            routes.append(Topology.Route(destination: destination, via: via, port: port))
        }
    }

    /// The port whose connected block holds a neighbour; nil after saying that there is none, or that it is ourselves.
    private func portOfNextHop(_ address: IPAddress, at path: String) -> Int? {
        for (index, port) in ports.enumerated() {
            for (_, own) in port.addresses where own.prefix.contains(address) {
                if judgeNeighbor(address, on: index, at: path) { return index }
                return nil
            }
        }
        guard knowsPorts else { return nil }
        problems.error(path, "\(address) is in no port's block", hint: "the blocks are \(connectedBlocks)")
        return nil
    }

    /// Whether another host in the port's blocks can have `address`; says why not.
    private func judgeNeighbor(_ address: IPAddress, on port: Int, at path: String) -> Bool {
        for (ownPath, own) in ports[port].addresses {
            if own.address == address {
                problems.error(path, "\(address) is the gateway's own (\(ownPath))", hint: "name the other router")
                return false
            }
            if own.prefix.length < 31, address == own.prefix.address || address == own.broadcast {
                problems.error(
                    path, "\(address) is the first or last address of \(own.prefix)", hint: "no host can have it")
                return false
            }
        }
        return true
    }

    /// For hints: "10.0.1.0/24 (lan), 192.0.2.0/24 (wan)", a few of them at most.
    private var connectedBlocks: String {
        let blocks = ports.flatMap { port in port.addresses.map { "\($0.address.prefix) (\(port.name ?? port.path))" } }
        return blocks.prefix(8).joined(separator: ", ") + (blocks.count > 8 ? ", …" : "")
    }

    /// What `portTowards` looks in, when all ports and routes are read: the port for each block, a connected block
    /// before a route.
    func indexWays() {
        let connected = ports.enumerated().flatMap { index, port in port.addresses.map { ($0.address.prefix, index) } }
        ways = Dictionary(connected + routes.map { ($0.destination, $0.port) }) { first, _ in first }
        wayLengths = Set(ways.keys.map(\.length)).sorted(by: >)
    }

    /// The port that a packet to `address` leaves by, by the longest prefix.
    func portTowards(_ address: IPAddress) -> Int? {
        for length in wayLengths {
            if let port = ways[IPPrefix(containing: address, length: length)] { return port }
        }
        return nil
    }

    // MARK: [[neighbor]]

    func readNeighbors() {
        var seen: [IPAddress: String] = [:]
        for table in root.tables("neighbor") {
            let address = table.string("address").flatMap { hostAddress($0, at: table.path("address")) }
            let mac = table.string("mac").flatMap { readMAC($0, at: table.path("mac")) }
            guard let name = table.string("port") else { continue }
            guard let port = ports.firstIndex(where: { $0.name == name }) else {
                guard knowsPorts else { continue }
                problems.error(
                    table.path("port"), "there is no port \"\(name)\"", hint: suggestion(name, ports.compactMap(\.name))
                )
                continue
            }
            guard let address else { continue }
            let path = table.path("address")
            let blocks = ports[port].addresses.map(\.address.prefix)
            guard blocks.contains(where: { $0.contains(address) }) else {
                if knowsPorts {
                    problems.error(
                        path, "\(address) is in no block of port \"\(name)\"",
                        hint: "its blocks are \(blocks.prefix(8).map(\.description).joined(separator: ", "))")
                }
                continue
            }
            guard judgeNeighbor(address, on: port, at: path) else { continue }
            if let other = seen[address] {
                problems.error(path, "\(address) is also the address of \(other)", hint: "remove one of the two")
            }
            seen[address] = table.path
            if let mac { neighbors.append(Topology.Neighbor(port: port, address: address, mac: mac)) }
        }
    }

    private func readMAC(_ text: String, at path: String) -> MACAddress? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let octets = parts.compactMap { part in
            part.utf8.count == 2 && part.allSatisfy(\.isHexDigit) ? UInt8(part, radix: 16) : nil
        }
        guard octets.count == 6, parts.count == 6 else {
            problems.error(path, "\"\(text)\" is no Ethernet address", hint: "six octets, \"02:00:00:00:00:fe\"")
            return nil
        }
        // IEEE 802: the first octet's lowest bit makes a group address.
        guard octets[0] & 1 == 0, octets.contains(where: { $0 != 0 }) else {
            problems.error(
                path, "\(text) is \(octets[0] & 1 == 1 ? "a group address" : "nobody's address")",
                hint: "the neighbor's own, unicast address")
            return nil
        }
        return MACAddress(octets: octets)
    }

    /// "did you mean …?", or what there is.
    func suggestion(_ name: String, _ names: [String]) -> String {
        if let near = nearest(to: name, among: names) { return "did you mean \"\(near)\"?" }
        guard !names.isEmpty else { return "there are none" }
        let list = names.prefix(8).map { "\"\($0)\"" }.joined(separator: ", ")
        return "there are \(list)" + (names.count > 8 ? ", …" : "")
    }
}
