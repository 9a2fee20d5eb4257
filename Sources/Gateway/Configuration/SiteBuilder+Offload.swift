import DataPlane
import IPsec

/// `offload` of a tunnel.
extension SiteBuilder {
    /// One word for both directions, or a table with one for each; "auto" where nothing is said.
    func readOffload(_ table: ConfigurationTable, _ draft: TunnelDraft) -> Topology.Offload {
        let path = table.path("offload")
        var offload = Topology.Offload.wanted
        switch table.values["offload"] {
        case .string(let text)?:
            guard let choice = readChoice(text, at: path) else { break }
            (offload.outbound, offload.inbound) = (choice, choice)
            judge(choice, draft, Direction.allCases, at: path)
        case .table(let entries)?:
            for (key, value) in entries.entries {
                guard let direction = Direction(rawValue: key) else {
                    problems.error(
                        "\(path).\(key)", "unknown key", hint: "offload = { outbound = \"auto\", inbound = \"off\" }")
                    continue
                }
                guard case .string(let text) = value else {
                    problems.error(
                        "\(path).\(key)", "must be a string, not \(value.typeName)", hint: "\(key) = \"auto\"")
                    continue
                }
                guard let choice = readChoice(text, at: "\(path).\(key)") else { continue }
                offload[direction] = choice
                judge(choice, draft, [direction], at: "\(path).\(key)")
            }
        default: break
        }
        return offload
    }

    private func readChoice(_ text: String, at path: String) -> OffloadChoice? {
        if let choice = OffloadChoice(rawValue: text) { return choice }
        let choices = OffloadChoice.allCases.map(\.rawValue)
        problems.error(
            path, "\"\(text)\" is none of \(choices.map { "\"\($0)\"" }.joined(separator: ", "))",
            hint: suggestion(text, choices))
        return nil
    }

    /// What can never be, by the site's text alone; what only the machine lacks is found out when it starts.
    private func judge(_ choice: OffloadChoice, _ draft: TunnelDraft, _ directions: [Direction], at path: String) {
        guard choice == .required || choice == .lookaside else { return }
        let hindrance = directions.lazy.compactMap { OffloadWish.hindrance(draft.profile, $0) }.first
        if let hindrance {
            problems.error(
                path,
                "offload = \"\(choice.rawValue)\" can't be had with \(SiteBuilder.words(hindrance, draft.profile))",
                hint: "use \"auto\" or \"off\": \(hindrance.help)")
        }
        if choice == .lookaside {
            if mode.usesDevices && root.table("dpdk")?.strings("crypto_devices").isEmpty ?? true {
                problems.error(
                    path, "offload = \"lookaside\" can't be had without a crypto device",
                    hint: "name one in [dpdk]: crypto_devices = [\"0000:3d:01.0\"], or \"crypto_aesni_mb0\"")
            }
            return
        }
        guard mode.usesDevices, let port = draft.remoteAddress.flatMap(portTowards) else { return }
        if let device = ports[port].device, !Environment.Settings.isPCI(device) {
            problems.error(
                path, "offload = \"required\" can't be had on \(ports[port].name ?? ports[port].path), which is no NIC",
                hint: "use \"auto\" or \"off\", or give the port a PCI device")
        } else if ports[port].vlan != nil {
            problems.error(
                path, "offload = \"required\" can't be had on a port with a VLAN",
                hint: "use \"auto\" or \"off\": \(FallbackReason.vlan.help)")
        }
    }

    private static func words(_ reason: FallbackReason, _ profile: AssociationProfile) -> String {
        switch reason {
        case .esn: "extended sequence numbers"
        case .natTraversal: "NAT traversal"
        case .tfcPadding: "padding for traffic flow confidentiality"
        default: profile.algorithm.name
        }
    }
}
