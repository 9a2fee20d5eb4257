import IPsec

extension Topology {
    /// The SPD of one direction in the order in which it is looked at: the `[[policy]]` entries by priority and, among
    /// equals, by their place in the file, and then each tunnel's own selectors in the file's order.
    ///
    /// A tunnel's selectors, each local block with each remote one of its family, have the highest priority number
    /// there is. What none of them covers is discarded.
    public func policiesInOrder(_ direction: Direction) -> [Policy] {
        let asked = policies.filter { $0.direction == direction }.enumerated()
            .sorted { ($0.element.priority, $0.offset) < ($1.element.priority, $1.offset) }.map(\.element)
        let own = tunnels.enumerated().flatMap { index, tunnel in
            tunnel.localSubnets.flatMap { local in
                // A pair of two families is no selector.
                tunnel.remoteSubnets.filter { $0.family == local.family }.map { remote in
                    let outbound = TrafficSelector(source: local, destination: remote)
                    return Policy(
                        action: .protect(tunnel: index), direction: direction,
                        selector: direction == .outbound ? outbound : outbound.reversed, priority: .max,
                        name: tunnel.name)
                }
            }
        }
        return asked + own
    }
}
