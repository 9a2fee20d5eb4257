import IPsec
import SAStore

/// The SAs of a tunnel: its children, their SPIs and lifetimes.
extension SiteBuilder {
    /// Pairs of SAs of a tunnel, its own tables included.
    static let mostChildren = 64

    /// The pair of the tunnel's own tables, and then those of `[[tunnel.child]]`.
    func readChildren(_ tunnel: ConfigurationTable, _ algorithm: Algorithm?) -> [ChildDraft] {
        let tables = tunnel.tables("child")
        if tables.count >= SiteBuilder.mostChildren {
            problems.error(
                "\(tunnel.path("child"))[\(SiteBuilder.mostChildren - 1)]", "one child too many",
                hint: "\(SiteBuilder.mostChildren) at most, the tunnel's own outbound and inbound included")
        }
        var latest: (path: String, seconds: Int64)?
        return ([tunnel] + tables.prefix(SiteBuilder.mostChildren - 1)).map { table in
            let draft = ChildDraft(
                path: table.path, notBefore: table.dateTime("not_before"),
                outbound: table.table("outbound").map { readSA($0, algorithm) },
                inbound: table.table("inbound").map { readSA($0, algorithm) })
            if let seconds = draft.notBefore {
                let path = table.path("not_before")
                if let latest, seconds < latest.seconds {
                    let line = problems.line(of: latest.path).map { " in line \($0)" } ?? ""
                    problems.error(
                        path,
                        "\(CalendarTime.text(seconds)) is before \(CalendarTime.text(latest.seconds)) of "
                            + "\(latest.path)\(line)",
                        hint: "write the children in the order in which they follow each other, equal ones together")
                } else {
                    latest = (path, seconds)
                }
            }
            return draft
        }
    }

    private func readSA(_ table: ConfigurationTable, _ algorithm: Algorithm?) -> SADraft {
        var draft = SADraft(path: table.path)
        if let number = table.integer("spi") {
            let path = table.path("spi")
            if number >= 0 && number < 256 {
                // RFC 4303 2.1: 0 is for local use, 1 to 255 are IANA's.
                problems.error(path, "SPI \(number) is reserved (RFC 4303 section 2.1)", hint: "use 256 or above")
            } else if let spi = UInt32(exactly: number) {
                draft.spi = SPI(rawValue: spi)
            } else {
                problems.error(path, "an SPI has 32 bits and can't hold this number", hint: "256 to 0xffffffff")
            }
        }
        draft.key = readKey(table, algorithm)
        draft.replayWindowPackets = table.integer("replay_window_packets") ?? 1024
        if draft.replayWindowPackets.nonzeroBitCount != 1 {
            problems.error(
                table.path("replay_window_packets"), "\(draft.replayWindowPackets) is not a power of two",
                hint: "64, 128, 256, 512, 1024, 2048, 4096 or 8192")
        }
        return draft
    }

    func judgeSPIs(_ problems: ProblemList) {
        var inbound: [SPI: String] = [:], outbound: [IPAddress: [SPI: String]] = [:]
        inbound.reserveCapacity(tunnels.reduce(0) { $0 + $1.children.count })
        func judge(_ child: ChildDraft, _ remote: IPAddress?) {
            if let sa = child.inbound, let spi = sa.spi, let other = inbound.add(sa.path, for: spi) {
                problems.error(
                    "\(sa.path).spi", "\(spi) is also the inbound SPI of \(other)",
                    hint: "an inbound packet's SA is told by its SPI alone: give each its own")
            }
            if let sa = child.outbound, let spi = sa.spi, let remote,
                let other = outbound[remote, default: [:]].add(sa.path, for: spi)
            {
                problems.error(
                    "\(sa.path).spi", "\(spi) is also the SPI of \(other), to the same remote address",
                    hint: "the other end could not tell the two apart: give each its own")
            }
        }
        for tunnel in tunnels { for child in tunnel.children { judge(child, tunnel.remoteAddress) } }
    }

    // MARK: Lifetimes

    func readLifetime(_ table: ConfigurationTable, _ profile: AssociationProfile) -> Lifetime {
        let last = ReservationRequest.lastSequenceNumber(of: profile)
        let units = ["packets", "octets", "seconds"]
        let soft = units.map { table.integer("soft_lifetime_\($0)").map { UInt64($0) } }
        let hard = units.map { table.integer("hard_lifetime_\($0)").map { UInt64($0) } }
        for (unit, limits) in zip(units, zip(soft, hard)) {
            guard let soft = limits.0, let hard = limits.1, soft >= hard else { continue }
            problems.error(
                table.path("soft_lifetime_\(unit)"), "\(soft) is not less than hard_lifetime_\(unit) = \(hard)",
                hint: "the soft limit comes first, with time enough for the next SA: a tenth less is usual")
        }
        for (name, limits) in [("soft", soft), ("hard", hard)] {
            guard let packets = limits[0], packets > last else { continue }
            problems.warning(
                table.path("\(name)_lifetime_packets"),
                "\(packets) packets are never reached: an SA ends with sequence number \(last)",
                hint: "set it below, or remove it")
        }
        if soft.allSatisfy({ $0 == nil }), let first = hard.firstIndex(where: { $0 != nil }) {
            problems.warning(
                table.path("hard_lifetime_\(units[first])"), "the SA ends without a word before",
                hint: "soft_lifetime_\(units[first]) tells of the end in time, in the log and to gateway.hook_command")
        }
        return Lifetime(
            soft: Lifetime.Limits(packets: soft[0], octets: soft[1], seconds: soft[2]),
            hard: Lifetime.Limits(packets: hard[0], octets: hard[1], seconds: hard[2]))
    }
}

extension Dictionary {
    /// Adds a value unless there is one for the key: then it stays, and is returned.
    mutating func add(_ value: Value, for key: Key) -> Value? {
        guard let first = updateValue(value, forKey: key) else { return nil }
        self[key] = first
        return first
    }
}
