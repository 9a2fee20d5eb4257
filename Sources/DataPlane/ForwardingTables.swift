import CDPDK
import ESP
import IPsec

/// What a destination address means here.
struct RouteEntry: BitwiseCopyable {
    enum Kind: UInt8 {
        /// No port leads there in clear; a tunnel may.
        case none
        /// One of the gateway's own addresses.
        case local
        /// A directed broadcast of a connected block.
        case broadcast
        /// Out of a protected port: does not cross the boundary.
        case protected
        /// Out of an unprotected port: only with a verdict of the SPD.
        case unprotected
    }

    var kind: Kind
    /// Index of the port out; of its own port for `.local`.
    var port: UInt16
    /// Index of the gateway among the neighbours, or `RouteEntry.onLink` when the destination itself is the next hop.
    var gateway: UInt32

    static let onLink: UInt32 = .max
    static let nowhere = RouteEntry(kind: .none, port: 0, gateway: onLink)
}

/// A tunnel as packets see it.
struct TunnelEntry: BitwiseCopyable {
    var outbound: OutboundAssociationReference
    /// The largest inner packet, the owner and the next hop are the SA's; these are what its packets may hold.
    var firstSelector: UInt32
    var localSelectors: UInt16
    var remoteSelectors: UInt16
    /// An address of ours that the tunnel covers, to send errors from; 0 when there is none.
    var ownAddress: UInt32
}

/// A block of addresses as two numbers.
struct AddressBlock: BitwiseCopyable {
    var address: UInt32
    var mask: UInt32

    init(_ prefix: IPv4Prefix) {
        address = prefix.address.rawValue
        mask = prefix.mask
    }

    @inline(__always)
    func contains(_ candidate: UInt32) -> Bool { candidate & mask == address }
}

/// A slot of the SAD: which inbound SA an SPI names (RFC 4301 section 4.4.2). SPIs are unique among ours.
struct SADSlot: BitwiseCopyable {
    var spi: UInt32
    var association: InboundAssociationReference?
}

/// What the SPD says, as a classifier's result: never 0, which means that no policy matched.
struct PolicyResult {
    enum Action: UInt32 { case bypass = 1, discard, protect }
    let rawValue: UInt32

    @inline(__always)
    init(rawValue: UInt32) { self.rawValue = rawValue }

    init(_ action: Policy.Action) {
        switch action {
        case .bypass: rawValue = Action.bypass.rawValue
        case .discard: rawValue = Action.discard.rawValue
        case .protect(let tunnel): rawValue = Action.protect.rawValue | UInt32(tunnel) << 2
        }
    }

    /// Nil when no policy matched.
    @inline(__always)
    var action: Action? { Action(rawValue: rawValue & 3) }
    @inline(__always)
    var tunnel: Int { Int(rawValue >> 2) }
}

/// Everything that workers look up and never change: routes, SPD, SAD, tunnels. Built whole; owns the SAs.
@safe
public final class ForwardingTables: @unchecked Sendable {
    let fib: UnsafeMutableRawPointer
    let outboundPolicies: UnsafeMutableRawPointer
    let inboundPolicies: UnsafeMutableRawPointer
    let routes: FixedArray<RouteEntry>
    let tunnels: FixedArray<TunnelEntry>
    let selectors: FixedArray<AddressBlock>
    let associations: FixedArray<SADSlot>
    /// Neighbours that routes and tunnels point at, in the order of their indices.
    let pinnedNeighbors: [NeighborKey]
    /// Outbound SA of tunnel `i`.
    public let outbound: [OutboundAssociationReference]
    /// Inbound SA of tunnel `i`.
    public let inbound: [InboundAssociationReference]
    private let keys: ExpandedKeys

    /// Builds the tables. `workers` share the SAs out among themselves. Names must be unique in the process.
    public init(_ topology: Topology, workers: Int, name: String) throws(DataPlaneError) {
        var plan = RoutePlan(topology)
        let routes = plan.compile()
        guard var keys = ExpandedKeys(capacity: max(1, 2 * topology.tunnels.count)) else { throw .noCrypto }
        var outbound: [OutboundAssociationReference] = []
        var inbound: [InboundAssociationReference] = []
        for (index, tunnel) in topology.tunnels.enumerated() {
            let nextHop = plan.nextHop(towards: tunnel.remoteAddress)
            outbound.append(
                OutboundAssociationReference(
                    OutboundSecurityAssociation(
                        key: keys.expand(tunnel.children[0].outbound.key), spi: tunnel.children[0].outbound.spi,
                        local: tunnel.localAddress,
                        remote: tunnel.remoteAddress, nextHop: nextHop, innerMTU: tunnel.innerMTUOctets,
                        owner: index % workers)))
            inbound.append(
                InboundAssociationReference(
                    InboundSecurityAssociation(
                        key: keys.expand(tunnel.children[0].inbound.key), local: tunnel.localAddress,
                        remote: tunnel.remoteAddress,
                        replayWindow: tunnel.children[0].inbound.replayWindowPackets, tunnel: index,
                        owner: index % workers)))
        }
        self.keys = keys
        self.outbound = outbound
        self.inbound = inbound
        pinnedNeighbors = plan.pinned

        var blocks: [AddressBlock] = []
        let entries = topology.tunnels.indices.map { index in
            let tunnel = topology.tunnels[index]
            let first = UInt32(blocks.count)
            blocks += (tunnel.localSubnets + tunnel.remoteSubnets).map(AddressBlock.init)
            return TunnelEntry(
                outbound: outbound[index], firstSelector: first, localSelectors: UInt16(tunnel.localSubnets.count),
                remoteSelectors: UInt16(tunnel.remoteSubnets.count),
                ownAddress: ForwardingTables.ownAddress(of: tunnel, in: topology))
        }
        self.routes = FixedArray(routes.entries)
        selectors = FixedArray(blocks)
        tunnels = FixedArray(entries)
        associations = ForwardingTables.sad(topology, inbound)
        unsafe fib = try unsafe routes.makeFIB(name: name)
        let policies = PolicyPlan(topology)
        unsafe outboundPolicies = try unsafe policies.classifier(.outbound, name: name)
        unsafe inboundPolicies = try unsafe policies.classifier(.inbound, name: name)
    }

    deinit {
        unsafe cdpdk_fib_free(fib)
        unsafe cdpdk_classifier_free(outboundPolicies)
        unsafe cdpdk_classifier_free(inboundPolicies)
        for reference in outbound { reference.destroy() }
        for reference in inbound { reference.destroy() }
    }

    private static func ownAddress(of tunnel: Topology.Tunnel, in topology: Topology) -> UInt32 {
        let own = topology.ports.flatMap(\.addresses).map(\.address)
        return own.first { address in tunnel.localSubnets.contains { $0.contains(address) } }?.rawValue ?? 0
    }

    /// Open addressing at a quarter full or less: an SPI is found in one cache line nearly always.
    private static func sad(_ topology: Topology, _ inbound: [InboundAssociationReference]) -> FixedArray<SADSlot> {
        var capacity = 16
        while capacity < topology.tunnels.count * 4 { capacity *= 2 }
        var slots = [SADSlot](repeating: SADSlot(spi: 0, association: nil), count: capacity)
        for (tunnel, association) in zip(topology.tunnels, inbound) {
            var index = SADView.start(tunnel.children[0].inbound.spi.rawValue, mask: capacity - 1)
            while slots[index].association != nil { index = (index + 1) & (capacity - 1) }
            slots[index] = SADSlot(spi: tunnel.children[0].inbound.spi.rawValue, association: association)
        }
        return FixedArray(slots)
    }
}

/// The SAD as a worker reads it.
struct SADView {
    let slots: FixedArrayView<SADSlot>

    /// Where the search for an SPI begins. The multiplier is 2^32 divided by the golden ratio (Knuth, TAOCP 3, 6.4).
    @inline(__always)
    static func start(_ spi: UInt32, mask: Int) -> Int { Int((spi &* 0x9e37_79b1) >> 8) & mask }

    /// The SA that `spi` names, nil when there is none. Slots are never all taken, so the search ends.
    @inline(__always)
    func find(_ spi: UInt32) -> InboundAssociationReference? {
        let mask = slots.count &- 1
        var index = SADView.start(spi, mask: mask)
        while let association = slots[index].association {
            if slots[index].spi == spi { return association }
            index = (index &+ 1) & mask
        }
        return nil
    }
}
