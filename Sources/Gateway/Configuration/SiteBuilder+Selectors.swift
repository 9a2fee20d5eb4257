import IPsec

/// What the tunnels' selectors say together.
extension SiteBuilder {
    /// Traffic that two tunnels both claim. The SPD is looked at in order, so the earlier tunnel has all of it.
    func judgeSelectors(_ problems: ProblemList) {
        let selectors = tunnels.map {
            SelectorOverlaps.Selectors(local: $0.localSubnets, remote: $0.remoteSubnets)
        }
        SelectorOverlaps(selectors).forEach { overlap in
            let tunnel = tunnels[overlap.later], earlier = tunnels[overlap.earlier]
            let local = overlap.local, remote = overlap.remote
            if overlap.isEqual {
                problems.error(
                    "\(tunnel.path).remote_subnets",
                    "\(local.1) to \(remote.1) is also what tunnel \"\(earlier.name ?? earlier.path)\" protects",
                    hint: "traffic takes one tunnel: remove the pair from one of the two")
            } else {
                problems.warning(
                    "\(tunnel.path).remote_subnets",
                    "\(local.1) to \(remote.1) overlaps \(local.0) to \(remote.0) of tunnel "
                        + "\"\(earlier.name ?? earlier.path)\", which stands earlier in the file and has all they "
                        + "share",
                    hint:
                        "unlike routes, the more specific selector does not win: put the tunnel with the narrower "
                        + "blocks first")
            }
        }
    }
}
