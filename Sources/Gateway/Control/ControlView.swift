import IPsec

/// One subject of the running gateway, as `GET /v1/…` answers and `vpn-gw show … --json` prints it, in the words of
/// the report. Encodes to an object whose one field is named by the subject; `report` to the report itself.
///
/// Fields are added within a version of the API, never renamed or given another meaning.
public enum ControlView: Sendable {
    /// In the order of tunnels; "sas".
    case sa([Association])
    /// In the order they are looked at; "policies".
    case spd([PolicyEntry])
    /// In the site file's order; "ports", an object by name.
    case ports([Port])
    /// In the order of their indexes; "workers".
    case workers([Worker])
    /// "offload".
    case offload([Offload])
    /// In the order of ports, "caps"; and "crypto_devices" as the site names them.
    case caps([Capability], [CryptoDevice])
    /// Packets by reason; reasons that never occurred are left out. "drops", and "help" with a line for each.
    case drops([DropReason: UInt64])
    /// "neighbors".
    case neighbors([Neighbor])
    /// IPv4 before IPv6, the longest prefix first; "routes".
    case routes([Route])
    /// The contract's report.
    case report(Report)
    /// Everything at a glance, and how fast it goes.
    case summary(Summary)
}

extension ControlView: Encodable {
    private enum CodingKeys: String, CodingKey {
        case sas, policies, ports, workers, offload, caps, cryptoDevices, drops, help, neighbors, routes
    }

    /// For a JSON encoder that turns names to snake case.
    public func encode(to encoder: any Encoder) throws {
        if case .report(let report) = self { return try report.encode(to: encoder) }
        if case .summary(let summary) = self { return try summary.encode(to: encoder) }
        var container = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .sa(let rows): try container.encode(rows, forKey: .sas)
        case .spd(let rows): try container.encode(rows, forKey: .policies)
        case .ports(let rows):
            let named = Dictionary(rows.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
            try container.encode(named, forKey: .ports)
        case .workers(let rows): try container.encode(rows, forKey: .workers)
        case .offload(let rows): try container.encode(rows, forKey: .offload)
        case .caps(let rows, let devices):
            try container.encode(rows, forKey: .caps)
            try container.encode(devices, forKey: .cryptoDevices)
        case .drops(let counts):
            let seen = counts.filter { $0.value > 0 }
            let drops = Dictionary(uniqueKeysWithValues: seen.map { ($0.key.name, $0.value) })
            let help = Dictionary(uniqueKeysWithValues: seen.map { ($0.key.name, $0.key.help) })
            try container.encode(drops, forKey: .drops)
            try container.encode(help, forKey: .help)
        case .neighbors(let rows): try container.encode(rows, forKey: .neighbors)
        case .routes(let rows): try container.encode(rows, forKey: .routes)
        case .report, .summary: break
        }
    }
}

extension SPI: Encodable {
    /// As text: "0x00001001".
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension Direction: Encodable {}
