import DataPlane
import ESP
import IPsec

/// VPP as the other end: an IP-in-IP interface that its SAs protect.
struct VPPPeer {
    private let export: PeerExport
    private var tunnel: Topology.Tunnel { export.tunnel }
    private var profile: AssociationProfile { export.tunnel.profile }

    init(_ export: PeerExport) { self.export = export }

    /// Of an interface (ITP_MAX_N_SA_IN).
    private static let mostInbound = 4

    /// What vpn-gw sends under beside the current one, by VPP's numbers.
    private var beside: [(number: Int, outbound: Topology.Outbound)] {
        export.beside.prefix(VPPPeer.mostInbound - 1).enumerated().map { (21 + $0.offset, $0.element.outbound) }
    }

    func lines() throws(PeerExport.Refusal) -> [String] {
        guard profile.mode == .tunnel else {
            throw PeerExport.Refusal(
                description: "transport mode between two hosts: VPP protects interfaces; use mode = \"tunnel\"")
        }
        guard profile.algorithm.icvOctets == 16 else {
            throw PeerExport.Refusal(
                description: "VPP's AEAD has an ICV of 16 octets: use icv_octets = 16 at both ends")
        }
        guard profile.algorithm.transform != .authenticationAES128GMAC else {
            throw PeerExport.Refusal(
                description: "VPP has no AH with AES-GMAC: use ah-hmac-sha2-256-128, or aes-128-gmac")
        }
        let (outbound, inbound) = (export.current.outbound, export.current.inbound)
        var lines = export.asides
        if !export.beside.isEmpty {
            lines +=
                export.besideLines + [
                    "# VPP sends under one, and takes \(VPPPeer.mostInbound) at most."
                ]
        }
        if export.others.count > export.beside.count {
            lines.append(
                "# One pair of SAs, the one whose time it is. At a roll-over, run it again for the next with other "
                    + "numbers than 10 and 20, and `ipsec tunnel protect` with these.")
        }
        let isGMAC = [.aes128GMAC, .aes256GMAC].contains(profile.algorithm.transform)
        if isGMAC || profile.algorithm.transform == .chaCha20Poly1305 {
            lines.append("# VPP 24.10 or later has this algorithm.")
        }
        return lines + [
            "create ipip tunnel src \(tunnel.remoteAddress) dst \(tunnel.localAddress)",
            association(10, inbound.spi, inbound.key, "KEY_FROM_HERE"),
            association(20, outbound.spi, outbound.key, "KEY_TO_HERE") + " inbound",
        ] + beside.map { association($0.number, $0.outbound.spi, $0.outbound.key, "KEY_TO_HERE") + " inbound" } + [
            "ipsec tunnel protect ipip0 sa-out 10 sa-in 20" + beside.map { " sa-in \($0.number)" }.joined(),
            "set interface state ipip0 up",
            "# INTERFACE is the one with \(tunnel.remoteAddress).",
            "set interface unnumbered ipip0 use INTERFACE",
        ] + tunnel.localSubnets.map { "ip route add \($0) via ipip0" }
    }

    private func association(_ number: Int, _ spi: SPI, _ key: KeyMaterial, _ placeholder: String) -> String {
        let algorithm = profile.algorithm
        // VPP reads SPIs as decimal numbers.
        var words = ["ipsec sa add \(number) spi \(spi.rawValue)"]
        let digits = export.digits(key, 0..<algorithm.keyOctets, placeholder: "\(placeholder)_\(spi)")
        if algorithm.securityProtocol == .ah {
            words.append("ah integ-alg sha-256-128 integ-key \(digits)")
        } else {
            let salt = export.digits(
                key, algorithm.keyOctets..<algorithm.keyMaterialOctets, placeholder: "\(placeholder)_SALT")
            words.append("esp crypto-alg \(name) crypto-key \(digits) salt 0x\(salt)")
        }
        words.append("use-anti-replay")
        if profile.extendedSequenceNumbers { words.append("use-esn") }
        if profile.natTraversal { words.append("udp-encap") }
        return words.joined(separator: " ")
    }

    private var name: String {
        switch profile.algorithm.transform {
        case .aes128GCM: "aes-gcm-128"
        case .aes256GCM: "aes-gcm-256"
        case .chaCha20Poly1305: "chacha20-poly1305"
        case .aes128GMAC: "aes-null-gmac-128"
        case .aes256GMAC: "aes-null-gmac-256"
        case .authenticationHMACSHA256, .authenticationAES128GMAC: "none"
        }
    }
}
