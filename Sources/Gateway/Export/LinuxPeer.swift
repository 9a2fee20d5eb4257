import DataPlane
import ESP
import IPsec

/// The Linux kernel as the other end: `ip xfrm` and a route.
struct LinuxPeer {
    private let export: PeerExport
    private var tunnel: Topology.Tunnel { export.tunnel }
    private var profile: AssociationProfile { export.tunnel.profile }
    /// The largest window of the kernel's (XFRMA_REPLAY_ESN_MAX).
    private static let mostWindow = 4096
    /// Ties states to policies: no other tunnel of the site has the same.
    private var reqid: UInt32 { tunnel.children[0].inbound.spi.rawValue }

    init(_ export: PeerExport) { self.export = export }

    func lines() throws(PeerExport.Refusal) -> [String] {
        // RFC 4543 section 4: the kernel's AH takes hashes alone.
        guard profile.algorithm.transform != .authenticationAES128GMAC else {
            throw PeerExport.Refusal(
                description: "Linux has no AH with AES-GMAC: use ah-hmac-sha2-256-128, or aes-128-gmac")
        }
        guard !(profile.natTraversal && profile.algorithm.securityProtocol == .ah) else {
            throw PeerExport.Refusal(description: "AH does not pass a NAT (RFC 3715)")
        }
        var lines = ["set -e"] + export.asides + natLines
        lines += ["# What comes in."]
        lines += ([export.current] + export.others).map(receiving)
        lines += ["# What goes out. The kernel sends under the SA that was added last."]
        lines.append(sending(export.current))
        if !export.beside.isEmpty {
            lines += export.besideLines
            lines.append(
                "# The kernel sends under one. From 6.13 on, with iproute2 6.18, `pcpu-num CPU` at the end of a line")
            lines.append("# makes a pair a processor's own.")
        }
        for child in export.others {
            let isBeside = export.beside.contains { $0.outbound.spi == child.outbound.spi }
            lines.append(isBeside ? "# Or under:" : "# When vpn-gw sends under \(child.outbound.spi) too:")
            lines.append("# " + sending(child))
        }
        return lines + policies + routes
    }

    // MARK: SAs

    private func receiving(_ child: Topology.Child) -> String {
        state(
            tunnel.localAddress, tunnel.remoteAddress, child.outbound.spi, child.outbound.key, "KEY_TO_HERE",
            window: min(child.inbound.replayWindowPackets, LinuxPeer.mostWindow))
    }

    private func sending(_ child: Topology.Child) -> String {
        // iproute2 wants a window where there are extended numbers, for this direction too.
        state(
            tunnel.remoteAddress, tunnel.localAddress, child.inbound.spi, child.inbound.key, "KEY_FROM_HERE",
            window: profile.extendedSequenceNumbers ? 64 : nil)
    }

    private func state(
        _ source: IPAddress, _ destination: IPAddress, _ spi: SPI, _ key: KeyMaterial, _ placeholder: String,
        window: Int?
    ) -> String {
        let algorithm = profile.algorithm
        let digits = export.digits(key, 0..<algorithm.keyMaterialOctets, placeholder: "\(placeholder)_\(spi)")
        var words = [
            "ip xfrm state add src \(source) dst \(destination)",
            "proto \(algorithm.securityProtocol == .ah ? "ah" : "esp") spi \(spi) reqid \(reqid)",
            "mode \(profile.mode.rawValue)",
        ]
        if let window { words.append("replay-window \(window)") }
        if profile.extendedSequenceNumbers { words.append("flag esn") }
        // Either family travels in a tunnel.
        if profile.mode == .tunnel { words.append("flag af-unspec") }
        words.append(transform(digits))
        if profile.natTraversal {
            let ports = source == tunnel.localAddress ? "\(tunnel.remotePort) 4500" : "4500 \(tunnel.remotePort)"
            words.append("encap espinudp \(ports) \(source.family == .v4 ? "0.0.0.0" : "::")")
        }
        return words.joined(separator: " ")
    }

    private func transform(_ digits: String) -> String {
        let bits = profile.algorithm.icvOctets * 8
        switch profile.algorithm.transform {
        case .aes128GCM, .aes256GCM: return "aead 'rfc4106(gcm(aes))' 0x\(digits) \(bits)"
        case .aes128GMAC, .aes256GMAC: return "aead 'rfc4543(gcm(aes))' 0x\(digits) \(bits)"
        case .chaCha20Poly1305: return "aead 'rfc7539esp(chacha20,poly1305)' 0x\(digits) \(bits)"
        case .authenticationHMACSHA256, .authenticationAES128GMAC:
            return "auth-trunc 'hmac(sha256)' 0x\(digits) \(bits)"
        }
    }

    private var natLines: [String] {
        guard profile.natTraversal else { return [] }
        let family = tunnel.remoteAddress.family == .v4 ? "AF_INET" : "AF_INET6"
        return [
            "# The kernel takes ESP out of UDP for a socket that asked for it: an IKE daemon's, or this one's, which",
            "# must stay for as long as the tunnel does (UDP_ENCAP, RFC 3948).",
            "python3 -c 'import socket, signal; s = socket.socket(socket.\(family), socket.SOCK_DGRAM); "
                + "s.setsockopt(socket.IPPROTO_UDP, 100, 2); s.bind((\"\", 4500)); signal.pause()' &",
        ]
    }

    // MARK: Policies and routes

    /// Blocks that the tunnel joins, as the peer sees them.
    private var blocks: [(here: IPPrefix, there: IPPrefix)] {
        guard profile.mode == .tunnel else {
            return [(IPPrefix(tunnel.remoteAddress), IPPrefix(tunnel.localAddress))]
        }
        return tunnel.remoteSubnets.flatMap { here in
            tunnel.localSubnets.filter { $0.family == here.family }.map { (here, $0) }
        }
    }

    private var policies: [String] {
        let kind =
            "proto \(profile.algorithm.securityProtocol == .ah ? "ah" : "esp") reqid \(reqid) "
            + "mode \(profile.mode.rawValue)"
        func template(_ source: IPAddress, _ destination: IPAddress) -> String {
            profile.mode == .tunnel ? "tmpl src \(source) dst \(destination) \(kind)" : "tmpl \(kind)"
        }
        let out = template(tunnel.remoteAddress, tunnel.localAddress)
        let back = template(tunnel.localAddress, tunnel.remoteAddress)
        return ["# Which packets."]
            + blocks.flatMap { block -> [String] in
                var lines = [
                    "ip xfrm policy add src \(block.here) dst \(block.there) dir out \(out)",
                    "ip xfrm policy add src \(block.there) dst \(block.here) dir in \(back)",
                ]
                if profile.mode == .tunnel {
                    lines.append("ip xfrm policy add src \(block.there) dst \(block.here) dir fwd \(back)")
                }
                return lines
            }
    }

    /// A packet is routed before its policy is looked for.
    private var routes: [String] {
        guard profile.mode == .tunnel else { return [] }
        return tunnel.localSubnets.map { subnet in
            let line = "ip route replace \(subnet) via \(tunnel.localAddress)"
            guard subnet.family == tunnel.localAddress.family, export.isOnLink else {
                return "# \(subnet) needs a route, a default one will do: the policy takes over from there."
            }
            return line
        }
    }
}
