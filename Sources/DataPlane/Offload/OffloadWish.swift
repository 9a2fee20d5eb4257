import ESP
import IPsec

/// An SA, and whether a device is wanted for it.
public struct OffloadWish: Sendable {
    /// The SA.
    public enum Association: Sendable {
        case outbound(OutboundAssociation)
        case inbound(InboundAssociation)
    }

    /// The SA; its direction follows from it.
    public var association: Association
    /// Names it at its receiver.
    public var spi: SPI
    /// Its key.
    public var key: KeyMaterial
    /// How it treats packets.
    public var profile: AssociationProfile
    /// Outer addresses, this end's and the peer's.
    public var local: IPAddress, remote: IPAddress
    /// Index of the port that leads to the peer; nil when none does.
    public var port: Int?
    /// What the site says.
    public var choice: OffloadChoice
    /// Lower ones first, where there is not room for all.
    public var rank: Int

    /// A wish.
    public init(
        association: Association, spi: SPI, key: KeyMaterial, profile: AssociationProfile, local: IPAddress,
        remote: IPAddress, port: Int?, choice: OffloadChoice, rank: Int
    ) {
        self.association = association
        self.spi = spi
        self.key = key
        self.profile = profile
        self.local = local
        self.remote = remote
        self.port = port
        self.choice = choice
        self.rank = rank
    }

    /// Which way its packets go.
    public var direction: Direction {
        switch association {
        case .outbound: .outbound
        case .inbound: .inbound
        }
    }

    /// The SA's number.
    public var id: Int {
        switch association {
        case .outbound(let association): association.id
        case .inbound(let association): association.id
        }
    }

    /// Packets that a device worked on, and those that software did though a device was wanted, by reason.
    public var counts: (offloaded: UInt64, fallback: [String: UInt64]) {
        switch association {
        case .outbound(let association):
            association.reference.with { ($0.fallbacks.offloaded, $0.fallbacks.packets) }
        case .inbound(let association):
            association.reference.with { ($0.fallbacks.offloaded, $0.fallbacks.packets) }
        }
    }

    /// How a device knows the SA; 0 when none does.
    var handle: UInt64 {
        switch association {
        case .outbound(let association): association.reference.with { $0.deviceHandle.load(ordering: .relaxed) }
        case .inbound(let association): association.reference.with { $0.deviceHandle.load(ordering: .relaxed) }
        }
    }

    /// Tells the SA how a device knows it: 0 when none does, for `reason`.
    func tell(handle: UInt64, reason: FallbackReason?) {
        switch association {
        case .outbound(let association):
            association.reference.with {
                if let reason { $0.fallbacks.reason = reason }
                $0.deviceHandle.store(handle, ordering: .releasing)
            }
        case .inbound(let association):
            association.reference.with {
                if let reason { $0.fallbacks.reason = reason }
                $0.deviceHandle.store(handle, ordering: .releasing)
            }
        }
    }

    /// What of the SA itself keeps it from every engine; nil when nothing does.
    public static func hindrance(_ profile: AssociationProfile, _ direction: Direction) -> FallbackReason? {
        if profile.algorithm != .aes128GCM16 { return .algorithm }
        if profile.extendedSequenceNumbers { return .esn }
        if profile.natTraversal { return .natTraversal }
        return direction == .outbound && profile.tfcPaddingOctets > 0 ? .tfcPadding : nil
    }
}

/// Where an SA's cryptography is done.
public enum OffloadPath: Equatable, Sendable {
    /// By the NIC of the port with this index.
    case inline(port: Int)
    /// By the coprocessor with this index.
    case lookaside(device: Int)
    /// By the processor; the reason is nil where nothing else is wanted.
    case software(FallbackReason?)

    /// The name in reports.
    public var name: String {
        switch self {
        case .inline: "inline"
        case .lookaside: "lookaside"
        case .software: "software"
        }
    }
}
