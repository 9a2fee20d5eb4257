import DataPlane
import ESP
import IPsec

/// The gateway at a glance.
extension ControlPlane {
    /// Takes the next look at all counters. Called once a second.
    func watchRates() {
        let group = data.group
        let tunnels = book.entries.map { entry in
            var sum = RateWatch.Traffic()
            for pair in entry.children.compactMap(\.pair) {
                pair.outbound.reference.with {
                    sum.outboundPackets &+= $0.packets
                    sum.outboundOctets &+= $0.octets.load(ordering: .relaxed)
                }
                pair.inbound.reference.with {
                    sum.inboundPackets &+= $0.packets.load(ordering: .relaxed)
                    sum.inboundOctets &+= $0.octets.load(ordering: .relaxed)
                }
            }
            return (entry.name, sum)
        }
        rates.look(
            RateWatch.Sample(
                at: .now, counts: group.counts, busySeconds: group.busySeconds, receivedPackets: group.receivedPackets,
                tunnels: tunnels))
    }

    /// From the counters of the moment and the rates of the last look: what it costs does not grow with the number of
    /// tunnels.
    var summary: ControlView.Summary {
        let counts = data.group.runningCounts
        let up = UInt64(tunnels.count(.up)), down = UInt64(tunnels.count(.down)), all = UInt64(book.entries.count)
        return ControlView.Summary(
            name: site.gateway.name, version: SoftwareVersion.text,
            uptimeSeconds: (ContinuousClock.now - startedAt).components.seconds, ratesSeconds: rates.seconds,
            rxPackets: counts.received, originatedPackets: counts.originated, txPackets: counts.transmitted,
            consumedPackets: counts.consumed, droppedPackets: counts.dropped, inFlightPackets: counts.inFlight,
            tunnels: .init(count: all, up: up, down: down, quiet: all - min(all, up + down)), ports: summaryPorts,
            busiestTunnels: rates.busiest.compactMap(summaryTunnel),
            drops: DropReason.allCases.compactMap { reason in
                guard let packets = counts.drops[reason], packets > 0 else { return nil }
                return .init(
                    reason: reason.name, help: reason.help, packets: packets, packetsPerSecond: rates.drops[reason] ?? 0
                )
            }.sorted { ($0.packetsPerSecond, $0.packets) > ($1.packetsPerSecond, $1.packets) },
            workers: site.dpdk.workerCores.enumerated().map { index, core in
                .init(
                    index: index, core: core,
                    busyShare: rates.busyShares.indices.contains(index) ? rates.busyShares[index] : nil,
                    packetsPerSecond: rates.workers.indices.contains(index) ? rates.workers[index] : 0)
            })
    }

    private var summaryPorts: [ControlView.Summary.Port] {
        zip(site.topology.ports, data.ports).enumerated().map { index, port in
            let rate = rates.ports.indices.contains(index) ? rates.ports[index] : RateWatch.PortRate()
            let lost = port.1.lost
            return .init(
                name: port.0.name, role: port.0.role.rawValue, link: linksDown.contains(index) ? .down : .up,
                rxPacketsPerSecond: rate.rxPackets, rxBitsPerSecond: rate.rxOctets * 8,
                txPacketsPerSecond: rate.txPackets, txBitsPerSecond: rate.txOctets * 8,
                rxLostPackets: lost.missed + lost.errors + lost.noBuffers)
        }
    }

    /// Nil for one that is gone since the last look.
    private func summaryTunnel(_ rate: RateWatch.TunnelRate) -> ControlView.Summary.Tunnel? {
        let isThere = book.entries.indices.contains(rate.index) && book.entries[rate.index].name == rate.name
        guard let index = isThere ? rate.index : book.index(of: rate.name) else { return nil }
        let entry = book.entries[index]
        return .init(
            name: rate.name, state: tunnels.word(rate.name),
            remoteAddress: (entry.peer?.address ?? entry.remote).description, outboundPath: path(index, .outbound),
            inboundPath: path(index, .inbound), outboundPacketsPerSecond: rate.outboundPackets,
            outboundBitsPerSecond: rate.outboundOctets * 8, inboundPacketsPerSecond: rate.inboundPackets,
            inboundBitsPerSecond: rate.inboundOctets * 8)
    }
}
