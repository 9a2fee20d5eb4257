import DataPlane
import ESP
import IPsec

/// What operators look at.
extension ControlPlane {
    func view(_ subject: ControlSubject) async throws -> ControlView {
        switch subject {
        case .sa: .sa(book.entries.flatMap(associations))
        case .spd: .spd(Direction.allCases.flatMap(policies))
        case .ports: .ports(ports)
        case .workers: .workers(workers)
        case .offload: .offload(book.entries.flatMap(offload))
        case .drops: .drops(data.group.counts.drops)
        case .neighbors: .neighbors(await neighbors())
        case .routes: .routes(routes)
        case .report: .report(report)
        }
    }

    private func associations(_ entry: TunnelBook.Entry) -> [ControlView.Association] {
        entry.children.flatMap { child -> [ControlView.Association] in
            guard let pair = child.pair else { return [] }
            let (granted, ceiling) = keeper.numbers(of: pair)
            let installed = ControlTime(secondsSince1970: pair.outboundRecord.installedAt)
            let notBefore = child.description.notBefore.flatMap { ControlTime(secondsSince1970: $0) }
            let state = ControlView.Association.State(rawValue: child.state.rawValue) ?? .old
            let lifetime = entry.lifetime
            func row(_ direction: Direction, _ spi: SPI, _ key: KeyMaterial, _ told: TunnelBook.LimitsTold)
                -> ControlView.Association
            {
                ControlView.Association(
                    tunnel: entry.name, spi: spi, direction: direction, state: told.hard ? .expired : state,
                    keyFingerprint: String(key.fingerprint.description.prefix(16)), worker: pair.owner, packets: 0,
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
            }
            outbound.sequenceNumbersGranted = granted
            var inbound = row(
                .inbound, child.description.inbound.spi, child.description.inbound.key, child.inboundLimits)
            pair.inbound.reference.with { association in
                inbound.packets = association.packets.load(ordering: .relaxed)
                inbound.octets = association.octets.load(ordering: .relaxed)
                inbound.sequenceNumber = association.highest.load(ordering: .relaxed)
            }
            inbound.replayCeiling = ceiling
            inbound.replayWindowPackets = child.description.inbound.replayWindowPackets
            return [outbound, inbound]
        }
    }

    private func policies(_ direction: Direction) -> [ControlView.PolicyEntry] {
        site.topology.policiesInOrder(direction).enumerated().map { position, policy in
            let entry = CheckReport.PolicyEntry(policy, site)
            return ControlView.PolicyEntry(
                direction: direction, position: position, action: entry.action, tunnel: entry.tunnel,
                source: entry.source, destination: entry.destination, ipProtocol: entry.ipProtocol,
                sourcePorts: entry.sourcePorts, destinationPorts: entry.destinationPorts, priority: entry.priority)
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
                mtuOctets: described.mtuOctets, addresses: described.addresses.map(\.description),
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
                index: index, core: core, polls: group.rounds[index], handoffQueuePackets: group.handoffDepths[index],
                tablesGeneration: group.tables.generation,
                blockedNanosecondsMax: group.longestAdoptionNanoseconds[index], associations: owned[index] ?? 0)
        }
    }

    private func offload(_ entry: TunnelBook.Entry) -> [ControlView.Offload] {
        entry.children.filter { $0.pair != nil }.flatMap { child in
            [(Direction.outbound, child.description.outbound.spi), (.inbound, child.description.inbound.spi)].map {
                ControlView.Offload(
                    tunnel: entry.name, spi: $0.1, direction: $0.0, wanted: "auto", path: "software",
                    why: "this version encrypts in software")
            }
        }
    }

    private func neighbors() async -> [ControlView.Neighbor] {
        data.group.census.ask()
        for _ in 0..<100 {
            if let rows = data.group.census.rows {
                return rows.map { row in
                    ControlView.Neighbor(
                        port: site.topology.ports[row.port].name, address: row.address.description,
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
        for port in topology.ports {
            for address in port.addresses {
                let own = IPPrefix(address.address)
                rows.append((own, .init(destination: own.description, via: nil, port: port.name, kind: "local")))
                rows.append(
                    (
                        address.prefix,
                        .init(destination: address.prefix.description, via: nil, port: port.name, kind: "connected")
                    ))
            }
        }
        for route in topology.routes {
            rows.append(
                (
                    route.destination,
                    .init(
                        destination: route.destination.description, via: route.via.description,
                        port: topology.ports[route.port].name, kind: "static")
                ))
        }
        return rows.sorted { ($1.prefix.length, $0.prefix.address) < ($0.prefix.length, $1.prefix.address) }.map(\.row)
    }
}
