import DataPlane
import IPsec

/// Shows operators single packets, one operator at a time.
extension ControlPlane {
    func observe(_ request: ObserveRequest, by peer: ControlPeer) async -> ObservationOutcome {
        var port: Int?
        if let name = request.port {
            port = site.topology.ports.firstIndex { $0.name == name }
            guard port != nil else { return .refused(noPort(name)) }
        }
        if let session = observation {
            let message = "somebody looks at packets already: a \(session.request.kind.rawValue) of \(session.peer)"
            return .refused(ControlOutcome(.unavailable, [message]))
        }
        let kind: ObservationRequest.Kind =
            switch request.kind {
            case .trace: .trace(spi: request.spi?.rawValue, address: request.address, reason: request.reason)
            case .capture: .capture(port: port ?? 0)
            case .dropped: .dropped(port: port ?? 0)
            }
        observations += 1
        let session = ObservationSession(
            number: observations, request: request, peer: peer.description, clock: data.group.clock)
        observation = session
        // Workers look ten times a second; the rings of one before may still be in use for as long.
        let wanted = ObservationRequest(kind, snapOctets: min(request.snapOctets, MemorySizing(site).frameOctets))
        for _ in 0..<200 where !data.group.observe(wanted) {
            try? await Task.sleep(for: .milliseconds(10))
            guard observation?.number == session.number else { break }
        }
        for _ in 0..<200 where !data.group.isObserved { try? await Task.sleep(for: .milliseconds(10)) }
        guard data.group.isObserved, observation?.number == session.number else {
            endObservation()
            return .refused(ControlOutcome(.unavailable, ["a worker does not advance, and shows nothing"]))
        }
        observation?.askedAt = .now
        let what = request.kind == .trace ? "a trace" : "a \(request.kind.rawValue) of port \(request.port ?? "")"
        logger.notice("\(what) begins, asked by \(peer)")
        audit(peer.description, "\(what) began")
        return .started(number: session.number, notes: port.map { notes(request, port: $0) } ?? [])
    }

    func takeObserved(_ number: Int) async -> ObservationOutcome {
        guard observation?.number == number else { return .refused(noObservation) }
        let names = self.names
        guard
            let seen = observation?.answer(
                data.group.observationLosses, names, take: { data.group.takeObservations(limit: $0) })
        else { return .refused(noObservation) }
        if seen.isOver { endObservation() }
        return .taken(seen)
    }

    func endObservation(_ number: Int) async -> ControlOutcome {
        guard observation?.number == number else { return noObservation }
        endObservation()
        return ControlOutcome(.ok, ["ended"])
    }

    /// Ends what nobody asks for any more. Called once a second.
    func expireObservation() {
        guard let session = observation, ContinuousClock.now - session.askedAt > ObservationSession.patience else {
            return
        }
        logger.notice("the \(session.request.kind.rawValue) of \(session.peer) ends: nobody asks for it any more")
        endObservation()
    }

    private func endObservation() {
        data.group.endObservation()
        observation = nil
    }

    /// How the SAs of a tunnel are worked on.
    func path(_ tunnel: Int, _ direction: Direction) -> String {
        ControlPlane.path(book, data.offload, tunnel, direction)
    }

    /// How an SA is worked on: "software", "inline" or "lookaside".
    private static func path(of pair: AssociationPair, _ direction: Direction, _ offload: OffloadKeeper) -> String {
        if case .inline = offload.path(of: direction == .outbound ? pair.outbound.id : pair.inbound.id) {
            return "inline"
        }
        return "software"
    }

    private static func path(
        _ book: TunnelBook, _ offload: OffloadKeeper, _ tunnel: Int, _ direction: Direction
    ) -> String {
        guard book.entries.indices.contains(tunnel) else { return "software" }
        let current =
            book.entries[tunnel].children.first { $0.state == .current } ?? book.entries[tunnel].children.first
        guard let pair = current?.pair else { return "software" }
        return path(of: pair, direction, offload)
    }

    private var names: TracedPacket.Names {
        TracedPacket.Names(
            ports: site.topology.ports.map(\.name), tunnels: site.topology.tunnels.map(\.name),
            path: { [book, offload = data.offload] in ControlPlane.path(book, offload, $0, $1) })
    }

    /// What whoever reads a capture must know: where the NIC does the work, no frame that we see is the wire's.
    private func notes(_ request: ObserveRequest, port: Int) -> [String] {
        guard site.topology.ports[port].role == .unprotected else { return [] }
        let inline = book.entries.flatMap { entry in
            entry.children.flatMap { child -> [String] in
                guard let pair = child.pair else { return [] }
                let spis = [(Direction.outbound, pair.sameness.outbound.spi), (.inbound, pair.sameness.inbound.spi)]
                return spis.filter { ControlPlane.path(of: pair, $0.0, data.offload) == "inline" }.map {
                    "\($0.1) (\($0.0.rawValue))"
                }
            }
        }
        guard !inline.isEmpty else { return [] }
        let list = inline.prefix(8).joined(separator: ", ") + (inline.count > 8 ? ", …" : "")
        return [
            "the NIC protects and opens \(list) inline: what this file has of them is clear, where the wire has ESP"
        ]
    }

    private var noObservation: ControlOutcome {
        ControlOutcome(.unavailable, ["it is over: nobody had asked for a while, or the gateway was started again"])
    }
}
