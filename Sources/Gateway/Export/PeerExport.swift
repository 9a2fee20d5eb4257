import DataPlane
import ESP
import Foundation
import IPsec

/// What another implementation has to be told to be the other end of a tunnel: the site's tunnel, mirrored.
public struct PeerExport: Sendable {
    /// Whose commands are printed.
    public enum Kind: String, Sendable, CaseIterable {
        /// `ip xfrm`.
        case linux
        /// `vppctl`.
        case vpp
    }

    /// Why there is nothing to print.
    public struct Refusal: Error, CustomStringConvertible, Sendable {
        /// What the tunnel has and the peer can't do, or that there is no such tunnel.
        public let description: String
    }

    let tunnel: Topology.Tunnel
    /// The pair of SAs that carries the tunnel's traffic at `now`.
    let current: Topology.Child
    /// The others.
    let others: [Topology.Child]
    /// Of these, those that are used at the same time, by other workers.
    let beside: [Topology.Child]
    /// Whether the peer reaches us without a router between.
    let isOnLink: Bool
    let withKeys: Bool

    /// - Parameters:
    ///   - site: what the gateway runs.
    ///   - name: the tunnel's.
    ///   - now: seconds since 1970, for the pair whose time it is.
    ///   - withKeys: false: placeholders stand where the keys go.
    public init(_ site: Site, tunnel name: String, now: Int64, withKeys: Bool) throws(Refusal) {
        guard let tunnel = site.topology.tunnels.first(where: { $0.name == name }) else {
            let names = site.topology.tunnels.map(\.name)
            let hint =
                nearest(to: name, among: names).map { "did you mean \($0)?" }
                ?? "there are \(names.prefix(20).joined(separator: ", "))"
            throw Refusal(description: "there is no tunnel \"\(ConfigurationProblem.presentable(name))\": \(hint)")
        }
        self.tunnel = tunnel
        // The first pair is sent under until another's time has come; one without a time waits for a command.
        let begun = LaneAssignment.generations(tunnel.children).last { pairs in
            pairs[0] == 0 || tunnel.children[pairs[0]].notBefore.map { $0 <= now } ?? false
        }
        let pairs = begun ?? [0], index = pairs[0]
        current = tunnel.children[index]
        others = tunnel.children.enumerated().filter { $0.offset != index }.map(\.element)
        let assignment = LaneAssignment(tunnel.children, workers: site.dpdk.workerCores.count)
        beside = pairs.dropFirst().filter { assignment.begins[$0] }.map { tunnel.children[$0] }
        isOnLink = site.topology.ports.contains { port in
            port.role == .unprotected && port.addresses.contains { $0.prefix.contains(tunnel.remoteAddress) }
        }
        self.withKeys = withKeys
    }

    /// The other end's commands, a script that ends in a newline. Throws when it can't speak with this tunnel at all;
    /// what is only not the same on both sides is a comment.
    public func text(for kind: Kind) throws(Refusal) -> String {
        let lines: [String]
        switch kind {
        case .linux: lines = try LinuxPeer(self).lines()
        case .vpp: lines = try VPPPeer(self).lines()
        }
        return (heading + lines).joined(separator: "\n") + "\n"
    }

    private var heading: [String] {
        // Names are the operator's own words: a line break in one would be a command.
        let name = tunnel.name.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : String($0) }
        var lines = [
            "# The other end of tunnel \(name.joined()): \(tunnel.profile.algorithm), "
                + "\(tunnel.remoteAddress) to \(tunnel.localAddress)."
        ]
        lines.append(
            withKeys
                ? "# It holds keys: keep it in a file of mode 0600, send it over a channel you trust, delete it after."
                : "# Put the keys where KEY_… stands, or print it with --with-keys.")
        return lines
    }

    /// What the peer does not take over, and need not.
    var asides: [String] {
        let profile = tunnel.profile
        var lines: [String] = []
        if profile.tfcPaddingOctets > 0 {
            lines.append("# tfc_padding_octets: what vpn-gw pads is understood; what comes back is not padded.")
        }
        if profile.dontFragment != .copy || profile.dscp != .copy {
            lines.append("# df and dscp: what vpn-gw sends; the other end has its own words for what it sends.")
        }
        if !tunnel.lifetime.isEmpty {
            lines.append("# lifetimes are each end's own: SAs end here when vpn-gw says so, and not there.")
        }
        return lines
    }

    /// What the peer is to know of pairs that are used at once.
    var besideLines: [String] {
        [
            "# vpn-gw sends under \(beside.count + 1) pairs at once, one for each of its workers (RFC 9611),",
            "# and takes what comes under any of them.",
        ]
    }

    /// The key of an SA as the peer takes it, without "0x"; or a placeholder that no shell takes for a key.
    func digits(_ key: KeyMaterial, _ octets: Range<Int>, placeholder: String) -> String {
        withKeys ? key.revealedDigits(octets) : placeholder
    }

    /// "Now" as `init` takes it.
    public static var now: Int64 { Int64(Date().timeIntervalSince1970) }
}
