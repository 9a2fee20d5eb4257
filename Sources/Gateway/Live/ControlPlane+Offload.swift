import DataPlane
import IPsec

/// What NICs and crypto devices do of the cryptography.
extension ControlPlane {
    /// Gives devices the SAs of the book, and takes back what is not in it. After the workers went over to its tables.
    func followOffload() {
        data.offload.follow(
            book.wishes(site.topology, ways: data.group.tables.ways, overrides: offloadOverrides))
        tellOffload()
    }

    /// Looks after the engines. Called once a second.
    func watchOffload() {
        data.offload.look(now: Int(ControlPlane.now))
        tellOffload()
    }

    @discardableResult
    private func tellOffload() -> [OffloadEvent] {
        let events = data.offload.takeEvents()
        for event in events {
            switch event {
            case .lost(let port, let direction, let reason):
                let text =
                    "port \(name(port)): software does all \(direction.rawValue) cryptography now: \(reason.help)"
                logger.error("\(text)")
                audit("gateway", text)
                post(GatewayEvent(.offloadLost, direction: direction, detail: text))
            case .back(let port, let direction):
                let text = "port \(name(port)): its engine is tried again, \(direction.rawValue)"
                logger.notice("\(text)")
                post(GatewayEvent(.offloadBack, direction: direction, detail: text))
            case .restarted(let port):
                logger.notice("port \(name(port)): stopped and started")
                audit("gateway", "port \(name(port)) restarted")
            case .busy(let port):
                logger.error(
                    "port \(name(port)): not stopped, since a worker did not let go of it for ten seconds; all goes on")
            case .coprocessorLost(let device):
                let name = data.coprocessors[device].name
                let text =
                    "crypto device \(name) gives nothing back: software does the work of its SAs until the gateway is "
                    + "started again"
                logger.error("\(text)")
                audit("gateway", text)
                post(GatewayEvent(.offloadLost, detail: text))
            case .dead(let port, let error):
                let text = "port \(name(port)): does not start again: error \(-error)"
                logger.critical("\(text)")
                post(GatewayEvent(.offloadLost, detail: text))
            }
        }
        return events
    }

    /// A topology with what operators said of its tunnels.
    func overriding(_ topology: Topology) -> Topology {
        guard !offloadOverrides.isEmpty else { return topology }
        var topology = topology
        for index in topology.tunnels.indices {
            if let offload = offloadOverrides[topology.tunnels[index].name] {
                topology.tunnels[index].offload = offload
            }
        }
        return topology
    }

    /// What tunnels of the site want of NICs and can't have, for who reloads: required ones, and all where engines were
    /// left alone because at the start no tunnel wanted one.
    var offloadShortfall: [String] {
        var lines: [String] = []
        let ports = site.topology.ports.filter { $0.role == .unprotected }
        if !data.wantsEngine, ports.contains(where: { (try? EngineSurvey.of($0))?.isUsable ?? false }) {
            lines = site.topology.tunnels.filter(\.offload.wantsNIC).prefix(20).map {
                "tunnel \($0.name): software until the gateway is started again: it left its NICs' engines alone, "
                    + "since no tunnel wanted one"
            }
        }
        let required = site.topology.tunnels.filter {
            let offload = $0.offload
            return Direction.allCases.contains { offload[$0] == .required || offload[$0] == .lookaside }
        }
        return lines + (required.isEmpty ? [] : required.compactMap { unmet($0.name) }.prefix(20))
    }

    private func name(_ port: Int) -> String { site.topology.ports[port].name }

    func setOffload(_ request: OffloadRequest, by peer: ControlPeer) async -> ControlOutcome {
        let directions = request.direction.map { [$0] } ?? Direction.allCases
        let ways = directions.count == 1 ? directions[0].rawValue : "both ways"
        switch request.subject {
        case .port(let name):
            guard let index = site.topology.ports.firstIndex(where: { $0.name == name }) else { return noPort(name) }
            guard data.ports[index].hasEngine else {
                return ControlOutcome(.unavailable, ["port \(name): \(FallbackReason.noEngine.help)"])
            }
            guard request.wanted == .off || request.wanted == .auto else {
                return ControlOutcome(.usage, ["a port is switched off, or to auto; the rest is a tunnel's"])
            }
            for direction in directions {
                data.offload.setSwitch(port: index, direction, isOn: request.wanted != .off)
            }
            tellOffload()
            return done(peer, "port \(name): offload \(request.wanted == .off ? "off" : "on") \(ways)")
        case .tunnel(let name):
            guard let index = book.index(of: name) else { return noTunnel(name) }
            var offload = offloadOverrides[name] ?? site.topology.tunnels[index].offload
            for direction in directions { offload[direction] = request.wanted }
            let before = offloadOverrides[name]
            do {
                // Workers too have to know what a tunnel wants.
                offloadOverrides[name] = offload
                try go(to: book, site)
                if let refusal = unmet(name) {
                    offloadOverrides[name] = before
                    try go(to: book, site)
                    return ControlOutcome(.unavailable, [refusal])
                }
            } catch {
                offloadOverrides[name] = before
                return failed(error)
            }
            return done(
                peer, "tunnel \(name): offload \(request.wanted.rawValue) \(ways), until the next start or reload")
        }
    }

    /// What of a tunnel is required and can't be had.
    private func unmet(_ tunnel: String) -> String? {
        let musts = [OffloadChoice.required.rawValue, OffloadChoice.lookaside.rawValue]
        for row in offloadRows where row.tunnel == tunnel && musts.contains(row.wanted) && row.path == "software" {
            return "tunnel \(tunnel): not possible \(row.direction.rawValue): \(row.why)"
        }
        return nil
    }

    func restartPort(_ name: String, by peer: ControlPeer) async -> ControlOutcome {
        guard let index = site.topology.ports.firstIndex(where: { $0.name == name }) else { return noPort(name) }
        data.offload.restart(port: index)
        let isDead = data.offload.isDead(port: index)
        guard tellOffload().contains(.restarted(port: index)) else {
            let why = isDead ? "does not start again: its driver's messages are in" : "was not stopped: why is in"
            return ControlOutcome(.unavailable, ["port \(name) \(why) the log"])
        }
        return done(peer, "port \(name): restarted")
    }

    func noPort(_ name: String) -> ControlOutcome {
        let names = site.topology.ports.map(\.name)
        let hint = nearest(to: name, among: names).map { "did you mean \($0)?" }
        return ControlOutcome(
            .configuration,
            [
                "there is no port \"\(ConfigurationProblem.presentable(name))\": "
                    + (hint ?? "there are \(names.joined(separator: ", "))")
            ])
    }

    /// What the drivers of the ports offer.
    func capabilities() throws -> [ControlView.Capability] {
        try site.topology.ports.enumerated().flatMap { index, port in
            ControlView.Capability.rows(port.name, try EngineSurvey.of(port)) { direction in
                data.ports[index].hasEngine ? data.offload.hindrance(port: index, direction) : nil
            }
        }
    }

    /// The crypto devices, and the SAs that each has.
    var cryptoDevices: [ControlView.CryptoDevice] {
        data.coprocessors.enumerated().map { index, coprocessor in
            ControlView.CryptoDevice(
                coprocessor, associations: data.offload.used(device: index), isLost: data.offload.isLost(device: index))
        }
    }

    /// Where each SA's cryptography is done, and why there.
    var offloadRows: [ControlView.Offload] {
        let wishes = book.wishes(site.topology, ways: data.group.tables.ways, overrides: offloadOverrides)
        var rows: [ControlView.Offload] = []
        var names: [Int: String] = [:]
        for entry in book.entries {
            for pair in entry.children.compactMap(\.pair) {
                names[pair.outbound.id] = entry.name
                names[pair.inbound.id] = entry.name
            }
        }
        for wish in wishes {
            var row = ControlView.Offload(
                tunnel: names[wish.id] ?? "", spi: wish.spi, direction: wish.direction, wanted: wish.choice.rawValue,
                path: "software", why: "the site says off")
            switch data.offload.path(of: wish) {
            case .inline(let port): (row.path, row.why, row.port) = ("inline", "port \(name(port)) has it", name(port))
            case .lookaside(let device):
                let name = data.coprocessors[device].name
                (row.path, row.why, row.device) = ("lookaside", "crypto device \(name) has it", name)
            case .software(let reason?) where wish.choice != .off: row.why = reason.help
            case .software: break
            }
            (row.offloadedPackets, row.fallbackPackets) = wish.counts
            rows.append(row)
        }
        return rows
    }
}
