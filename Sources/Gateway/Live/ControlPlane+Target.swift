import DataPlane
import ESP
import IPsec
import SAStore

/// What operators ask for on the control socket.
extension ControlPlane: ControlTarget {
    func reload(by peer: ControlPeer) async -> ControlOutcome { await reload(by: peer.description) }

    /// Reads the site file again and goes over to it. The file is read aside: a large one takes a while, and time and
    /// limits go on.
    func reload(by who: String) async -> ControlOutcome {
        let path = sitePath
        manager.reloading()
        defer { manager.ready(statusLine) }
        let reading = await Task.detached { Result { try SiteReader.read(path: path, mode: .run) } }.value
        do {
            let reading = try reading.get()
            let told = try apply(reading.site)
            let lines = reading.problems.map(\.description) + told
            for line in lines { logger.notice("reload: \(line)") }
            audit(who, "reload: " + told.joined(separator: "; "))
            post(GatewayEvent(.reload, detail: "applied"))
            return ControlOutcome(.ok, lines)
        } catch {
            let failure = Failure(error)
            logger.error("reload refused, nothing was changed: \(failure.message)")
            audit(who, "reload refused")
            post(GatewayEvent(.reload, detail: "refused"))
            return ControlOutcome(failure.exitCode, failure.message.split(separator: "\n").map(String.init))
        }
    }

    func addAssociations(_ request: AddAssociations, by peer: ControlPeer) async -> ControlOutcome {
        guard let index = book.index(of: request.tunnel) else { return noTunnel(request.tunnel) }
        if let refusal = refusal(of: request) { return ControlOutcome(.configuration, [refusal]) }
        let tunnel = site.topology.tunnels[index], algorithm = tunnel.profile.algorithm
        guard let outboundKey = request.outboundKey.material(for: algorithm),
            let inboundKey = request.inboundKey.material(for: algorithm)
        else {
            return ControlOutcome(
                .configuration, ["a key has another length: \(SiteBuilder.keyHint(algorithm))"])
        }
        let child = Topology.Child(
            notBefore: request.notBefore, outbound: Topology.Outbound(spi: request.outboundSPI, key: outboundKey),
            inbound: Topology.Inbound(
                spi: request.inboundSPI, key: inboundKey, replayWindowPackets: request.replayWindowPackets))
        let owner = book.entries[index].owners[book.laneForAddition(to: index)]
        let asked = PairRequest(tunnel, child, owner: owner)
        let now = ControlPlane.now
        do {
            let pairs = try keeper.install([asked], now: now)
            do {
                var next = book
                next.add(child, pairs[0], to: index)
                let events = next.advance(to: now)
                try go(to: next, site, installed: pairs)
                tell(events)
            } catch {
                try? keeper.forget(pairs, now: now)
                throw error
            }
        } catch { return failed(error) }
        return done(
            peer, "tunnel \(request.tunnel): added outbound SA \(request.outboundSPI), inbound SA \(request.inboundSPI)"
        )
    }

    /// The rules of the site file, for one pair more.
    private func refusal(of request: AddAssociations) -> String? {
        for spi in [request.outboundSPI, request.inboundSPI] where spi.rawValue < 256 {
            return "SPI \(spi) is reserved (RFC 4303 section 2.1): use 256 or above"
        }
        if request.outboundKey.fingerprint == request.inboundKey.fingerprint {
            return "both SAs have the same key: each needs a key of its own (vpn-gw keygen)"
        }
        let remote = site.topology.tunnels.first { $0.name == request.tunnel }?.remoteAddress
        for (entry, tunnel) in zip(book.entries, site.topology.tunnels) {
            for child in entry.children {
                let (outbound, inbound) = (child.description.outbound, child.description.inbound)
                if inbound.spi == request.inboundSPI {
                    return "inbound SPI \(inbound.spi) is in use by tunnel \(entry.name)"
                }
                if outbound.spi == request.outboundSPI && tunnel.remoteAddress == remote {
                    return "outbound SPI \(outbound.spi) is in use by tunnel \(entry.name), to the same remote address"
                }
                let known = [outbound.key.fingerprint, inbound.key.fingerprint]
                for key in [request.outboundKey, request.inboundKey] where known.contains(key.fingerprint) {
                    return
                        "the key is in use by tunnel \(entry.name): each SA needs a key of its own (vpn-gw keygen)"
                }
            }
        }
        return nil
    }

    func activate(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome {
        guard let index = book.index(of: tunnel) else { return noTunnel(tunnel) }
        guard let child = book.child(with: spi, in: index) else { return noSA(tunnel, spi, index) }
        guard !book.entries[index].children[child].outboundLimits.hard else {
            return ControlOutcome(.configuration, ["SA \(spi) of tunnel \(tunnel) has reached its hard lifetime"])
        }
        let now = ControlPlane.now
        var next = book
        next.activate(child, in: index, now: now)
        let events = next.advance(to: now)
        do { try go(to: next, site) } catch { return failed(error) }
        tell(events)
        return done(peer, "tunnel \(tunnel): SA \(spi) activated")
    }

    func remove(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome {
        guard let index = book.index(of: tunnel) else { return noTunnel(tunnel) }
        guard let child = book.child(with: spi, in: index) else { return noSA(tunnel, spi, index) }
        guard book.entries[index].children[child].state != .current else {
            return ControlOutcome(
                .configuration,
                [
                    "tunnel \(tunnel) sends under SA \(spi): activate another first (vpn-gw sa activate), or remove "
                        + "the tunnel from the site and reload"
                ])
        }
        var next = book
        next.remove(child, from: index)
        let events = next.advance(to: ControlPlane.now)
        do { try go(to: next, site) } catch { return failed(error) }
        tell(events)
        return done(peer, "tunnel \(tunnel): SA \(spi) and its counterpart removed")
    }

    func isHealthy() async -> Bool {
        let before = data.group.rounds
        for _ in 0..<100 {
            try? await Task.sleep(for: .milliseconds(10))
            if zip(before, data.group.rounds).allSatisfy({ $0 < $1 }) { return true }
        }
        return false
    }

    func counters() async -> ControlCounters {
        let written = store.written
        var counters = ControlCounters()
        let rounds = data.group.rounds, handedOver = data.group.handedOver
        counters.workers = data.group.busySeconds.enumerated().map { index, seconds in
            .init(busySeconds: seconds, polls: rounds[index], handedOver: handedOver[index])
        }
        (counters.softLifetimeEvents, counters.hardLifetimeEvents) = (softLimitEvents, hardLimitEvents)
        (counters.tunnelsUp, counters.tunnelsDown) = (UInt64(tunnels.count(.up)), UInt64(tunnels.count(.down)))
        counters.tunnels = UInt64(book.entries.count)
        (counters.storeCommits, counters.storeWrittenOctets) = (written.commits, written.octets)
        return counters
    }

    func done(_ peer: ControlPeer, _ text: String) -> ControlOutcome {
        logger.notice("\(text), asked by \(peer)")
        audit(peer.description, text)
        return ControlOutcome(.ok, [text])
    }

    func failed(_ error: any Error) -> ControlOutcome {
        let failure = Failure(error)
        logger.error("\(failure.message)")
        return ControlOutcome(failure.exitCode, [failure.message])
    }

    func noTunnel(_ name: String) -> ControlOutcome {
        let names = book.entries.map(\.name)
        let hint = nearest(to: name, among: names).map { "did you mean \($0)?" }
        return ControlOutcome(
            .configuration,
            [
                "there is no tunnel \"\(ConfigurationProblem.presentable(name))\": "
                    + (hint ?? "there are \(names.prefix(20).joined(separator: ", "))")
            ])
    }

    private func noSA(_ tunnel: String, _ spi: SPI, _ index: Int) -> ControlOutcome {
        let spis = book.entries[index].children.filter { $0.pair != nil }.flatMap(\.spis).map(\.description)
        return ControlOutcome(
            .configuration,
            ["tunnel \(tunnel) has no SA \(spi): it has \(spis.prefix(20).joined(separator: ", "))"])
    }
}
