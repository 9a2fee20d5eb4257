import IPsec

/// Something that an operator may want to act on.
public struct GatewayEvent: Sendable, Equatable {
    /// What happened.
    public enum Kind: String, Sendable, CaseIterable {
        /// An SA passed a soft lifetime: it needs a successor.
        case lifetimeSoft = "lifetime_soft"
        /// An SA passed a hard lifetime and stopped.
        case lifetimeHard = "lifetime_hard"
        /// Another outbound SA carries its tunnel's traffic.
        case activated = "sa_activated"
        /// An SA is gone.
        case removed = "sa_removed"
        /// A peer behind a NAT sends from another address or port.
        case peerMoved = "peer_moved"
        /// A router told how large packets to a peer may be.
        case pathMTU = "path_mtu"
        /// Authentic packets come in by a tunnel: the first, or again after `tunnelDown`.
        case tunnelUp = "tunnel_up"
        /// Nothing authentic came in by a tunnel for a minute while we sent.
        case tunnelDown = "tunnel_down"
        /// Software does what a NIC did.
        case offloadLost = "offload_lost"
        /// A NIC is used again.
        case offloadBack = "offload_back"
        /// The site file was read again, or refused.
        case reload
        /// The state store does not take reservations.
        case storeFailed = "store_failed"
    }

    /// What happened.
    public var kind: Kind
    /// Where it is about one tunnel.
    public var tunnel: String?
    /// Where it is about one SA.
    public var spi: SPI?
    /// Of that SA.
    public var direction: Direction?
    /// A sentence for people. No keys.
    public var detail: String

    /// An event.
    public init(
        _ kind: Kind, tunnel: String? = nil, spi: SPI? = nil, direction: Direction? = nil, detail: String = ""
    ) {
        self.kind = kind
        self.tunnel = tunnel
        self.spi = spi
        self.direction = direction
        self.detail = detail
    }

    /// What a hook command finds in its environment; nothing else of ours is there. What is not known is empty, and
    /// everything is one line.
    var environment: [String] {
        func cut(_ text: String) -> String {
            let scalars = text.unicodeScalars.prefix(1000).filter { $0 != "\0" }
            return String(
                String.UnicodeScalarView(scalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
        }
        return [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "VPNGW_EVENT=\(kind.rawValue)",
            "VPNGW_TUNNEL=\(cut(tunnel ?? ""))", "VPNGW_SPI=\(spi?.description ?? "")",
            "VPNGW_DIRECTION=\(direction?.rawValue ?? "")", "VPNGW_DETAIL=\(cut(detail))",
        ]
    }
}
