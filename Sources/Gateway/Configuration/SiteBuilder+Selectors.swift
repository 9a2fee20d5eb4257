import IPsec

/// What the tunnels' selectors say together.
extension SiteBuilder {
    /// Traffic that two tunnels both claim. The SPD is looked at in order, so the earlier tunnel has all of it.
    func judgeSelectors() {
        for (index, tunnel) in tunnels.enumerated() {
            for earlier in tunnels[..<index] {
                guard let remote = SiteBuilder.overlap(earlier.remoteSubnets, tunnel.remoteSubnets),
                    let local = SiteBuilder.overlap(earlier.localSubnets, tunnel.localSubnets)
                else { continue }
                let path = "\(tunnel.path).remote_subnets", name = earlier.name ?? earlier.path
                if remote.isEqual && local.isEqual {
                    problems.error(
                        path, "\(local.blocks.1) to \(remote.blocks.1) is also what tunnel \"\(name)\" protects",
                        hint: "traffic takes one tunnel: remove the pair from one of the two")
                } else {
                    problems.warning(
                        path,
                        "\(local.blocks.1) to \(remote.blocks.1) overlaps \(local.blocks.0) to \(remote.blocks.0) of "
                            + "tunnel \"\(name)\", which stands earlier in the file and has all they share",
                        hint:
                            "unlike routes, the more specific selector does not win: put the tunnel with the narrower "
                            + "blocks first")
                }
            }
        }
    }

    /// Two blocks of the lists that share addresses, equal ones if there are any.
    private static func overlap(
        _ left: [IPv4Prefix], _ right: [IPv4Prefix]
    ) -> (blocks: (IPv4Prefix, IPv4Prefix), isEqual: Bool)? {
        var found: (IPv4Prefix, IPv4Prefix)?
        for one in left {
            for other in right where one.overlaps(other) {
                if one == other { return ((one, other), true) }
                found = found ?? (one, other)
            }
        }
        return found.map { ($0, false) }
    }
}
