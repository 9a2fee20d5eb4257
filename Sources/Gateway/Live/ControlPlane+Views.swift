import DataPlane
import ESP
import IPsec

/// What operators look at.
extension ControlPlane {
    func view(_ subject: ControlSubject) async throws -> ControlView {
        switch subject {
        case .sa: .sa(zip(book.entries, book.applied(to: site.topology).tunnels).flatMap(associations))
        case .spd: .spd(Direction.allCases.flatMap(policies))
        case .ports: .ports(ports)
        case .workers: .workers(workers)
        case .offload: .offload(offloadRows)
        case .caps: .caps(try capabilities(), cryptoDevices)
        case .drops: .drops(data.group.counts.drops)
        case .neighbors: .neighbors(await neighbors())
        case .routes: .routes(routes)
        case .report: .report(report)
        case .summary: .summary(summary)
        }
    }

    /// Rows of a tunnel's SAs; `tunnel` is as the tables have it.
    private func associations(_ entry: TunnelBook.Entry, _ tunnel: Topology.Tunnel) -> [ControlView.Association] {
        entry.children.flatMap { child -> [ControlView.Association] in
            guard let pair = child.pair else { return [] }
            let (granted, ceiling) = keeper.numbers(of: pair)
            let installed = ControlTime(secondsSince1970: pair.outboundRecord.installedAt)
            let notBefore = child.description.notBefore.flatMap { ControlTime(secondsSince1970: $0) }
            let state = ControlView.Association.State(rawValue: child.state.rawValue) ?? .old
            let lifetime = entry.lifetime, profile = pair.sameness.profile
            let peer = profile.natTraversal ? entry.peer ?? TunnelBook.Peer(address: entry.remote, port: 4500) : nil
            func row(_ direction: Direction, _ spi: SPI, _ key: KeyMaterial, _ told: TunnelBook.LimitsTold)
                -> ControlView.Association
            {
                ControlView.Association(
                    tunnel: entry.name, spi: spi, direction: direction,
                    securityProtocol: profile.algorithm.securityProtocol == .esp ? "esp" : "ah",
                    algorithm: profile.algorithm.name, mode: profile.mode.rawValue,
                    extendedSequenceNumbers: profile.extendedSequenceNumbers,
                    localAddress: pair.sameness.local.description, remoteAddress: pair.sameness.remote.description,
                    natTraversalPeer: peer?.description, state: told.hard ? .expired : state,
                    keyFingerprint: key.fingerprint.short, worker: pair.owner, packets: 0,
                    octets: 0, sequenceNumber: 0, notBefore: notBefore, installedAt: installed,
                    softLifetimePackets: lifetime.soft.packets, softLifetimeOctets: lifetime.soft.octets,
                    softLifetimeSeconds: lifetime.soft.seconds, hardLifetimePackets: lifetime.hard.packets,
                    hardLifetimeOctets: lifetime.hard.octets, hardLifetimeSeconds: lifetime.hard.seconds,
                    origin: child.origin == .file ? .file : .runtime)
            }
            var outbound = row(
                .outbound, child.description.outbound.spi, child.description.outbound.key, child.outboundLimits)
            pair.outbound.reference.with { association in
                outbound.packets = association.packets
                outbound.octets = association.octets.load(ordering: .relaxed)
                outbound.sequenceNumber = association.sequenceNumber.load(ordering: .relaxed)
                outbound.fallbackPackets = association.fallbacks.packets
            }
            outbound.path = data.offload.path(of: pair.outbound.id).name
            outbound.sequenceNumbersGranted = granted
            outbound.innerMtuOctets = tunnel.innerMTUOctets
            var inbound = row(
                .inbound, child.description.inbound.spi, child.description.inbound.key, child.inboundLimits)
            pair.inbound.reference.with { association in
                inbound.packets = association.packets.load(ordering: .relaxed)
                inbound.octets = association.octets.load(ordering: .relaxed)
                inbound.sequenceNumber = association.highest.load(ordering: .relaxed)
                inbound.fallbackPackets = association.fallbacks.packets
            }
            inbound.path = data.offload.path(of: pair.inbound.id).name
            inbound.replayCeiling = ceiling
            inbound.replayWindowPackets = child.description.inbound.replayWindowPackets
            return [outbound, inbound]
        }
    }

    private func policies(_ direction: Direction) -> [ControlView.PolicyEntry] {
        let counts = data.group.policyCounts(direction)
        return site.topology.policiesInOrder(direction).enumerated().map { position, policy in
            let entry = CheckReport.PolicyEntry(policy, site)
            return ControlView.PolicyEntry(
                direction: direction, position: position, name: entry.name, action: entry.action, tunnel: entry.tunnel,
                source: entry.source, destination: entry.destination, ipProtocol: entry.ipProtocol,
                sourcePorts: entry.sourcePorts, destinationPorts: entry.destinationPorts,
                icmpTypes: entry.icmpTypes, priority: entry.priority, packets: counts[position].packets,
                octets: counts[position].octets)
        }
    }

    private var ports: [ControlView.Port] {
        let counts = data.group.counts.ports
        return zip(site.topology.ports, data.ports).enumerated().map { index, port in
            let (described, started) = port, lost = started.lost
            return ControlView.Port(
                name: described.name, role: described.role.rawValue, device: described.device, driver: started.driver,
                mac: started.mac.description,
                link: Machine.linkIsUp(started, device: described.device) ? .up : .down,
                mtuOctets: described.mtuOctets, vlan: described.vlan, rxQueues: started.rxQueues,
                spreading: started.spreading.rawValue, numaNode: started.node,
                addresses: described.addresses.map(\.description),
                rxPackets: counts[index].rxPackets, rxOctets: counts[index].rxOctets,
                txPackets: counts[index].txPackets, txOctets: counts[index].txOctets, rxMissed: lost.missed,
                rxErrors: lost.errors, rxNoBuffers: lost.noBuffers)
        }
    }

    private var workers: [ControlView.Worker] {
        let group = data.group
        let owned = Dictionary(grouping: book.pairs, by: \.owner).mapValues { $0.count * 2 }
        return site.dpdk.workerCores.enumerated().map { index, core in
            ControlView.Worker(
                index: index, core: core, polls: group.rounds[index], rxPackets: group.receivedPackets[index],
                busyShare: rates.busyShares.indices.contains(index) ? rates.busyShares[index] : nil,
                handedOverPackets: group.handedOver[index], takenOverPackets: group.takenOver[index],
                handoffQueuePackets: group.handoffDepths[index],
                tablesGeneration: group.tables.generation,
                blockedNanosecondsMax: group.longestAdoptionNanoseconds[index], associations: owned[index] ?? 0)
        }
    }

    private func neighbors() async -> [ControlView.Neighbor] {
        data.group.census.ask()
        for _ in 0..<100 {
            if let rows = data.group.census.rows {
                return rows.map { row in
                    ControlView.Neighbor(
                        port: site.topology.ports[row.port].name, family: CheckReport.word(row.address.family),
                        address: row.address.description,
                        mac: row.mac?.description, state: row.state, ageSeconds: row.ageSeconds)
                }
            }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return []
    }

    private var routes: [ControlView.Route] {
        let topology = site.topology
        var rows: [(prefix: IPPrefix, row: ControlView.Route)] = []
        func add(_ prefix: IPPrefix, via: IPAddress? = nil, _ port: Int, _ kind: String) {
            let row = ControlView.Route(
                family: CheckReport.word(prefix.family), destination: prefix.description, via: via?.description,
                port: topology.ports[port].name, kind: kind)
            rows.append((prefix, row))
        }
        for (index, port) in topology.ports.enumerated() {
            for address in port.addresses {
                add(IPPrefix(address.address), index, "local")
                add(address.prefix, index, "connected")
            }
        }
        for route in topology.routes { add(route.destination, via: route.via, route.port, "static") }
        return rows.sorted { left, right in
            (left.prefix.family, right.prefix.length, left.prefix.address)
                < (right.prefix.family, left.prefix.length, right.prefix.address)
        }.map(\.row)
    }
}
