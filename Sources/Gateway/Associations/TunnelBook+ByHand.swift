// SAs that operators added, after a reload: those stay that are what their tunnel asks for.

import DataPlane
import IPsec

extension TunnelBook.Child {
    /// Whether its SAs, if it has any still, treat packets as a tunnel wants it, between that tunnel's ends.
    func fits(_ tunnel: Topology.Tunnel) -> Bool {
        guard let sameness = pair?.sameness else { return true }
        return sameness.profile == tunnel.profile && sameness.local == tunnel.localAddress
            && sameness.remote == tunnel.remoteAddress
    }
}

extension TunnelBook {
    /// Lines about pairs that were added by hand to a tunnel and that the book `old` still had, but this one, which
    /// followed it to `topology`, has not.
    func lostByHand(of old: TunnelBook, in topology: Topology) -> [String] {
        let kept = Set(pairs.map(\.outbound.id))
        let tunnels = Dictionary(uniqueKeysWithValues: topology.tunnels.map { ($0.name, $0) })
        var lines: [String] = []
        for entry in old.entries {
            guard let tunnel = tunnels[entry.name] else { continue }
            for child in entry.children where child.origin == .runtime {
                guard let pair = child.pair, !kept.contains(pair.outbound.id) else { continue }
                let reason =
                    child.fits(tunnel)
                    ? "the file has its SPIs or keys now"
                    : "they were made for other addresses or another profile than the tunnel has now"
                let spis = child.spis.map(\.description).joined(separator: " and ")
                lines.append("tunnel \(entry.name): SAs \(spis), added at run time, are removed: \(reason)")
            }
        }
        return lines
    }
}
