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
        var names: [String: String] = [:]
        for table in tables.prefix(SiteBuilder.mostPorts) {
            var draft = PortDraft(path: table.path)
            draft.name = table.string("name")
            draft.role = table.string("role").flatMap(Topology.Role.init)
            draft.device = table.string("device")
            draft.mtuOctets = table.integer("mtu_octets") ?? 1500
            draft.localServices = table.boolean("local_services") ?? true
            draft.vlan = table.integer("vlan").map { UInt16($0) }
            if let name = draft.name { judgeName(name, table, &names) }
            if let device = draft.device, mode.usesDevices { judgeDevice(device, table) }
            readAddresses(table, &draft)
            judgeMTU(draft, table)
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

    private func judgeDevice(_ device: String, _ table: ConfigurationTable) {
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
        if let interface = Machine.interface(of: device) {
            if let other = devices["interface \(interface)"] {
                problems.error(
                    path, "\"\(interface)\" is also the interface of \(other)",
                    hint: "two ports over one would each take all of its frames")
            } else {
                devices["interface \(interface)"] = table.path
            }
        }
        if !identity.contains(":") && !identity.hasPrefix("net_") {
            problems.warning(
                path, "\"\(device)\" looks like neither a PCI address nor a DPDK vdev",
                hint: "\"0000:03:00.0\"; for a kernel interface \"net_af_packet0,iface=\(device)\"")
        }
    }

    // MARK: [punt]

    /// A port to the kernel, behind all others, and how many packets a second it gets. In replay it is a port like any,
    /// by its name.
    func readPunt() -> (port: Topology.Port, ratePacketsPerSecond: Int)? {
        guard let table = root.table("punt"), let device = table.string("device") else { return nil }
        if mode.usesDevices { judgeDevice(device, table) }
        if let other = ports.first(where: { $0.name == Topology.puntName }) {
            problems.error(
                other.path + ".name", "\"\(Topology.puntName)\" is the name of the port to the kernel ([punt])",
                hint: "give it another name")
        }
        if ports.count >= SiteBuilder.mostPorts {
            problems.error(
                "punt", "one port too many", hint: "\(SiteBuilder.mostPorts) at most, that to the kernel included")
        }
        let port = Topology.Port(
            name: Topology.puntName, role: .punt, device: device, addresses: [],
            mtuOctets: ports.map(\.mtuOctets).max() ?? 1500, localServices: false)
        return (port, table.integer("rate_packets_per_second") ?? 1000)
    }

    private func readAddresses(_ table: ConfigurationTable, _ draft: inout PortDraft) {
        if case .array([])? = table.values["addresses"] {
            problems.error(table.path("addresses"), "is empty", hint: "addresses = [\"10.0.1.1/24\"]")
        }
        for (path, text) in table.strings("addresses") {
            guard let address = IPInterfaceAddress(text), address.prefix.length > 0 else {
                let bare = IPAddress(text).map { "\($0)/\($0.family == .v4 ? 24 : 64)" }
                problems.error(
                    path, "\"\(text)\" is no IP address with its block",
                    hint: bare.map { "write the block too, \"\($0)\"" }
                        ?? SiteBuilder.addressHint(
                            text, v4: "an address and a prefix length of 1 to 32, \"10.0.1.1/24\"",
                            v6: "an address and a prefix length of 1 to 128, \"fd00:1::1/64\""))
                continue
            }
            if SiteBuilder.isEdge(address.address, of: address) || !SiteBuilder.isUnicast(address.address) {
                problems.error(
                    path, "\(address) is not an address that a host can have",
                    hint: address.address.family == .v4
                        ? "neither a block's first or last address nor loopback or multicast"
                        : "neither a block's first address, which is any router's (RFC 4291 section 2.6.1), nor ::, "
                            + "::1, multicast or an IPv4 address in disguise (::ffff:0:0/96)")
                continue
            }
            judgeOverlap(address, at: path, with: draft)
            draft.addresses.append((path, address))
        }
    }

    /// Whether no host of the block can have `address`: the first and last one of an IPv4 block (RFC 919 section 7),
    /// and an IPv6 block's first, which means any of its routers (RFC 4291 section 2.6.1). Blocks of one or two
    /// addresses have none such (RFC 3021, RFC 6164).
    static func isEdge(_ address: IPAddress, of block: IPInterfaceAddress) -> Bool {
        block.prefix.length < address.family.bits - 1
            && (address == block.prefix.address || address == block.broadcast)
    }

    private func judgeMTU(_ draft: PortDraft, _ table: ConfigurationTable) {
        guard draft.mtuOctets < 1280, draft.addresses.contains(where: { $0.address.address.family == .v6 }) else {
            return
        }
        problems.warning(
            table.path("mtu_octets"), "\(draft.mtuOctets) octets are less than IPv6 takes of every link",
            hint: "1280 or more (RFC 8200 section 5): no host makes its IPv6 packets smaller")
    }

    private func judgeOverlap(_ address: IPInterfaceAddress, at path: String, with draft: PortDraft) {
        if draft.addresses.contains(where: { $0.address.address == address.address }) {
            problems.error(path, "\(address.address) is there twice", hint: "remove one of the two")
        }
        // Every link has the link-local block.
        guard !address.address.isLinkLocal else { return }
        for other in ports {
            for theirs in other.addresses
            where theirs.address.prefix.overlaps(address.prefix) && !theirs.address.address.isLinkLocal {
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
            if let destination, destination.address.isLinkLocal {
                problems.error(
                    path, "\(destination) is on every link and has no way",
                    hint: "remove it: link-local packets stay on their link (RFC 4291 section 2.5.6)")
            } else if let destination {
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
            guard let via, let destination else { continue }
            guard via.family == destination.family else {
                problems.error(
                    table.path("via"), "\(via) is \(via.family) and \(destination) is \(destination.family)",
                    hint: "a next hop is of its destination's family")
                continue
            }
            guard let port = portOfNextHop(via, table) else { continue }
            routes.append(Topology.Route(destination: destination, via: via, port: port))
        }
    }

    /// The port whose connected block holds a route's next hop, or that the route names; nil after saying that there is
    /// none, or that it is ourselves.
    private func portOfNextHop(_ address: IPAddress, _ table: ConfigurationTable) -> Int? {
        let path = table.path("via"), candidates = ports.indices.filter { isOnLink(address, of: $0) }
        let port: Int
        if let name = table.string("port") {
            guard let named = portNamed(name, at: table.path("port")) else { return nil }
            guard candidates.contains(named) else {
                problems.error(path, "\(address) is in no block of port \"\(name)\"", hint: blocksHint(of: named))
                return nil
            }
            port = named
        } else if let first = candidates.first, candidates.count == 1 {
            port = first
        } else {
            guard knowsPorts, !table.isAsked("port") else { return nil }
            if candidates.isEmpty {
                problems.error(path, "\(address) is in no port's block", hint: "the blocks are \(connectedBlocks)")
            } else {
                problems.error(
                    path, "\(address) can be on any link: it is link-local",
                    hint: "say which: port = \"\(ports[candidates[0]].name ?? "wan")\"")
            }
            return nil
        }
        return judgeNeighbor(address, on: port, at: path) ? port : nil
    }

    /// Whether the link of a port holds `address`: by its blocks, and for a link-local address by its speaking IPv6.
    private func isOnLink(_ address: IPAddress, of port: Int) -> Bool {
        ports[port].addresses.contains { _, own in
            own.prefix.contains(address) || address.isLinkLocal && own.address.family == .v6
        }
    }

    /// Index of the port of this name; nil after saying that there is none.
    private func portNamed(_ name: String, at path: String) -> Int? {
        if let port = ports.firstIndex(where: { $0.name == name }) { return port }
        if knowsPorts {
            problems.error(path, "there is no port \"\(name)\"", hint: suggestion(name, ports.compactMap(\.name)))
        }
        return nil
    }

    private func blocksHint(of port: Int) -> String {
        "its blocks are \(ports[port].addresses.prefix(8).map(\.address.prefix.description).joined(separator: ", "))"
    }

    /// Whether another host in the port's blocks can have `address`; says why not.
    private func judgeNeighbor(_ address: IPAddress, on port: Int, at path: String) -> Bool {
        for (ownPath, own) in ports[port].addresses {
            if own.address == address {
                problems.error(path, "\(address) is the gateway's own (\(ownPath))", hint: "name the other router")
                return false
            }
            if own.prefix.contains(address), SiteBuilder.isEdge(address, of: own) {
                problems.error(
                    path, "\(address) is the first \(address.family == .v4 ? "or last " : "")address of \(own.prefix)",
                    hint: "no host can have it")
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
        let connected = ports.enumerated().flatMap { index, port in
            port.addresses.filter { !$0.address.address.isLinkLocal }.map { ($0.address.prefix, index) }
        }
        ways = Dictionary(connected + routes.map { ($0.destination, $0.port) }) { first, _ in first }
        wayLengths = Dictionary(grouping: ways.keys, by: \.family).mapValues { Set($0.map(\.length)).sorted(by: >) }
    }

    /// The port that a packet to `address` leaves by, by the longest prefix.
    func portTowards(_ address: IPAddress) -> Int? {
        for length in wayLengths[address.family] ?? [] {
            if let port = ways[IPPrefix(containing: address, length: length)] { return port }
        }
        return nil
    }

    // MARK: [[neighbor]]

    func readNeighbors() {
        struct Place: Hashable { var port: Int, address: IPAddress }
        var seen: [Place: String] = [:]
        for table in root.tables("neighbor") {
            let address = table.string("address").flatMap { hostAddress($0, at: table.path("address")) }
            let mac = table.string("mac").flatMap { readMAC($0, at: table.path("mac")) }
            guard let name = table.string("port"), let port = portNamed(name, at: table.path("port")), let address
            else {
                continue
            }
            let path = table.path("address")
            guard isOnLink(address, of: port) else {
                if knowsPorts {
                    problems.error(path, "\(address) is in no block of port \"\(name)\"", hint: blocksHint(of: port))
                }
                continue
            }
            guard judgeNeighbor(address, on: port, at: path) else { continue }
            if let other = seen[Place(port: port, address: address)] {
                problems.error(path, "\(address) is also the address of \(other)", hint: "remove one of the two")
            }
            seen[Place(port: port, address: address)] = table.path
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
