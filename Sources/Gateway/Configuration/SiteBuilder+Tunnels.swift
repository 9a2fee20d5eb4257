import IPsec

/// `[[tunnel]]`.
extension SiteBuilder {
    func readTunnels() {
        let tables = root.tables("tunnel")
        var names: [String: String] = [:]
        for table in tables { if let name = table.string("name") { judgeName(name, table, &names) } }
        // Each share by a builder of its own, which knows of ports and routes what this one knows.
        let shares = problems.inShares(of: tables.count) { share, problems in
            let builder = SiteBuilder(shareOf: self, problems)
            for table in tables[share] { builder.readTunnel(table) }
            return builder.share
        }
        for share in shares { add(share) }
        judgeTogether()
        if !tunnels.isEmpty {
            // RFC 8221 section 3: a manual key must not be used with a counter mode that restarts; RFC 4106 section 1.
            problems.warning(
                "tunnel",
                "static keys\(tunnels.count > 1 ? " in all \(tunnels.count) tunnels" : ""): nothing makes new ones by "
                    + "itself, and who learns one reads all its past traffic",
                hint:
                    "AES-GCM with manual keys goes against RFC 8221 section 3 and is safe only while no IV repeats: "
                    + "keep state_directory on a disk that is never rolled back, and replace both ends' keys in time, "
                    + "by [[tunnel.child]] or by hand"
            )
        }
    }

    /// What tunnels must not have in common.
    private func judgeTogether() {
        let judges = [judgeSPIs, judgeKeys, judgeSelectors]
        _ = problems.inShares(of: judges.count, smallest: 1, most: judges.count) { share, problems in
            for judge in judges[share] { judge(problems) }
        }
    }

    private func readTunnel(_ table: ConfigurationTable) {
        var draft = TunnelDraft(path: table.path)
        draft.name = table.string("name")
        let (profile, algorithm) = readProfile(table)
        draft.profile = profile
        draft.clampsMSS = table.boolean("clamp_mss") ?? false
        draft.learnsPathMTU = table.boolean("learn_path_mtu") ?? true
        readAddresses(table, &draft)
        readSubnets(table, &draft)
        draft.offload = readOffload(table, draft)
        draft.children = readChildren(table, algorithm)
        draft.lifetime = readLifetime(table, profile)
        draft.innerMTUOctets = draft.remoteAddress.flatMap { readInnerMTU(towards: $0, profile, table) }
        if let innerMTU = draft.innerMTUOctets { judgeInnerMTU(innerMTU, draft, table) }
        tunnels.append(draft)
    }

    // MARK: Outer addresses

    private func readAddresses(_ table: ConfigurationTable, _ draft: inout TunnelDraft) {
        draft.localAddress = readEnd("local_address", table)
        draft.remoteAddress = readEnd("remote_address", table)
        if let address = draft.localAddress, SiteBuilder.knowsMode(table) {
            if draft.profile.mode == .transport {
                judgeLocalHost(address, table)
            } else {
                judgeLocalAddress(address, table)
            }
        }
        guard let remote = draft.remoteAddress else { return }
        if let local = draft.localAddress, local.family != remote.family {
            problems.error(
                table.path("remote_address"),
                "\(remote) is \(remote.family) and local_address \(local) is \(local.family)",
                hint: "a tunnel's ends speak one family; what it carries may be of both")
            draft.remoteAddress = nil
        } else if !judgeRemoteAddress(remote, isOtherEnd: remote != draft.localAddress, table) {
            draft.remoteAddress = nil
        }
    }

    /// Of a mode that is none it is not known what it needs.
    private static func knowsMode(_ table: ConfigurationTable) -> Bool { table.has("mode") || !table.isAsked("mode") }

    private func readEnd(_ key: String, _ table: ConfigurationTable) -> IPAddress? {
        let path = table.path(key)
        guard let address = table.string(key).flatMap({ hostAddress($0, at: path) }) else { return nil }
        guard !address.isLinkLocal else {
            problems.error(
                path, "\(address) means another host on each link",
                hint: "give the tunnel an address that is one host's")
            return nil
        }
        return address
    }

    private func judgeLocalAddress(_ address: IPAddress, _ table: ConfigurationTable) {
        let unprotected = ports.filter { $0.role == .unprotected }.flatMap(\.addresses).map(\.address.address)
        guard knowsPorts && !unprotected.contains(address) else { return }
        let list = unprotected.prefix(8).map(\.description).joined(separator: ", ")
        problems.error(
            table.path("local_address"), "\(address) is no address of an unprotected port",
            hint: list.isEmpty ? "there is no unprotected port" : "those are \(list)")
    }

    /// In transport mode the end may be a host behind the gateway, which protects for it.
    private func judgeLocalHost(_ address: IPAddress, _ table: ConfigurationTable) {
        let isOwn = ports.contains { $0.addresses.contains { $0.address.address == address } }
        let isBehind = ports.contains { port in
            port.role == .protected && port.addresses.contains { $0.address.prefix.contains(address) }
        }
        guard knowsPorts && !isOwn && !isBehind else { return }
        problems.warning(
            table.path("local_address"),
            "\(address) is neither the gateway's own nor on a protected port's link",
            hint: "its packets must come by a protected port all the same: add a [[route]] that leads to it")
    }

    private func judgeRemoteAddress(_ address: IPAddress, isOtherEnd: Bool, _ table: ConfigurationTable) -> Bool {
        let path = table.path("remote_address"), own = ports.flatMap(\.addresses)
        if let own = own.first(where: { $0.address.address == address }) {
            problems.error(path, "\(address) is the gateway's own (\(own.path))", hint: "name the other end")
            return false
        }
        if let own = own.first(where: { $0.address.broadcast == address }) {
            problems.error(path, "\(address) is the broadcast address of \(own.path)", hint: "name the other end")
            return false
        }
        if !isOtherEnd {
            problems.error(path, "\(address) is also local_address", hint: "name the other end")
        }
        return isOtherEnd
    }

    // MARK: Inner addresses

    private func readSubnets(_ table: ConfigurationTable, _ draft: inout TunnelDraft) {
        let isTransport = draft.profile.mode == .transport
        let ends = [("local_subnets", draft.localAddress), ("remote_subnets", draft.remoteAddress)]
        let lists = ends.map { key, address -> [IPPrefix] in
            if table.isAsked(key) {
                let blocks = readSubnets(key, table)
                if isTransport, let address { judgeHostBlocks(blocks, address, key, table) }
                return blocks
            }
            if !isTransport && SiteBuilder.knowsMode(table) {
                problems.error(
                    table.path(key), "is missing", hint: "\(key) = [\"10.0.1.0/24\"], what the tunnel carries")
            }
            return isTransport ? address.map { [IPPrefix($0)] } ?? [] : []
        }
        (draft.localSubnets, draft.remoteSubnets) = (lists[0], lists[1])
        if !isTransport { judgeFamilies(draft, table) }
    }

    private func readSubnets(_ key: String, _ table: ConfigurationTable) -> [IPPrefix] {
        if case .array([])? = table.values[key] {
            problems.error(
                table.path(key), "is empty",
                hint: "\(key) = [\"10.0.1.0/24\"]; every address is \"0.0.0.0/0\" or \"::/0\"")
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

    /// Transport mode carries what two hosts say to each other (RFC 4301 section 4.1).
    private func judgeHostBlocks(
        _ blocks: [IPPrefix], _ address: IPAddress, _ key: String, _ table: ConfigurationTable
    ) {
        guard !blocks.isEmpty, blocks != [IPPrefix(address)] else { return }
        problems.error(
            table.path(key), "transport mode carries what \(address) says and nothing else",
            hint: "remove it, or write [\"\(IPPrefix(address))\"]; networks take mode = \"tunnel\"")
    }

    /// A block has its counterparts among the other side's of its family.
    private func judgeFamilies(_ draft: TunnelDraft, _ table: ConfigurationTable) {
        let local = Set(draft.localSubnets.map(\.family)), remote = Set(draft.remoteSubnets.map(\.family))
        // What is empty or wrong has been told of.
        guard !local.isEmpty, !remote.isEmpty else { return }
        guard let shared = local.intersection(remote).first else {
            problems.error(
                table.path("remote_subnets"), "no block is of the family of one in local_subnets",
                hint: "a packet has a source and a destination of one family: both sides need blocks of it")
            return
        }
        for (key, blocks, families) in [
            ("local_subnets", draft.localSubnets, remote), ("remote_subnets", draft.remoteSubnets, local),
        ] {
            guard let alone = blocks.first(where: { !families.contains($0.family) }) else { continue }
            problems.warning(
                table.path(key),
                "\(alone) has no \(alone.family) block on the other side, so nothing is carried for it",
                hint: "remove it, or add a block; what the tunnel carries is \(shared)")
        }
    }

    // MARK: Sizes

    /// What is left of the MTU of the port that leads to the other end; nil after saying that no port does.
    private func readInnerMTU(
        towards address: IPAddress, _ profile: AssociationProfile, _ table: ConfigurationTable
    ) -> Int? {
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
        return profile.innerMTUOctets(linkMTU: ports[port].mtuOctets, outer: address.family)
    }

    private func judgeInnerMTU(_ innerMTUOctets: Int, _ draft: TunnelDraft, _ table: ConfigurationTable) {
        judgePadding(draft.profile, innerMTUOctets: innerMTUOctets, table)
        let families = Set(draft.localSubnets.map(\.family)).intersection(draft.remoteSubnets.map(\.family))
        let least = families.contains(.v6) ? 1280 : 576
        guard innerMTUOctets < least else { return }
        problems.warning(
            table.path,
            "its inner MTU is \(innerMTUOctets) octets, and \(least == 1280 ? "IPv6" : "every host") sends "
                + "packets of \(least)\(least == 1280 ? ", which leave in fragments then" : "")",
            hint: "raise mtu_octets of the port that leads to \(draft.remoteAddress.map(\.description) ?? "the peer")")
    }
}
