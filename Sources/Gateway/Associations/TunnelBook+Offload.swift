import DataPlane
import IPsec

extension TunnelBook {
    /// What NICs are wanted for. `ways` has for each tunnel the index of the port that leads to its peer; `overrides`
    /// what operators said since the site was read, by tunnel.
    func wishes(
        _ topology: Topology, ways: [Int?], overrides: [String: Topology.Offload]
    ) -> [OffloadWish] {
        var wishes: [OffloadWish] = []
        for (index, entry) in entries.enumerated() {
            let tunnel = topology.tunnels[index], offload = overrides[entry.name] ?? tunnel.offload
            for child in entry.children {
                guard let pair = child.pair else { continue }
                let rank = TunnelBook.rank(child.state), sameness = pair.sameness
                func wish(_ association: OffloadWish.Association, _ direction: Direction) -> OffloadWish {
                    let isOutbound = direction == .outbound
                    return OffloadWish(
                        association: association,
                        spi: isOutbound ? child.description.outbound.spi : child.description.inbound.spi,
                        key: isOutbound ? child.description.outbound.key : child.description.inbound.key,
                        profile: sameness.profile, local: sameness.local, remote: sameness.remote, port: ways[index],
                        choice: offload[direction], rank: rank)
                }
                wishes.append(wish(.outbound(pair.outbound), .outbound))
                wishes.append(wish(.inbound(pair.inbound), .inbound))
            }
        }
        return wishes
    }

    /// What packets go by now comes first.
    private static func rank(_ state: State) -> Int {
        switch state {
        case .current: 0
        case .next, .standby: 1
        case .old, .retired: 2
        }
    }
}
