import CDPDK
import ESP
import IPsec

/// A tunnel as packets see it: 32 octets.
struct TunnelEntry: BitwiseCopyable {
    /// What it sends under; nil: see `refusal`.
    var outbound: OutboundAssociationReference?
    /// Where its blocks stand among the selectors: the local ones and then the remote ones.
    var firstSelector: UInt32
    var localSelectors: UInt16
    var remoteSelectors: UInt16
    /// An address of ours that the tunnel covers, to send errors from; 0 when there is none.
    var ownAddress: UInt32
    /// Index among the neighbours, or `RouteEntry.onLink` when no way leads to the other end.
    var nextHop: UInt32
    /// The largest inner packet, in octets.
    var innerMTU: UInt16
    /// Index of the worker that owns its SAs; `ownersOfLanes` where each lane has one.
    var owner: UInt16
    var refusal: DropReason
    var flags: Flags

    static let ownersOfLanes: UInt16 = .max

    /// What of a tunnel is not the plain case.
    struct Flags: OptionSet, BitwiseCopyable {
        let rawValue: UInt8

        static let clampsMSS = Flags(rawValue: 1)
        static let learnsPathMTU = Flags(rawValue: 2)
        /// In transport mode packets can't be cut before they are protected (RFC 4303 section 3.3.4).
        static let isTransport = Flags(rawValue: 4)
        /// Whether a device may do the cryptography, each way.
        static let offloadsOutbound = Flags(rawValue: 8)
        static let offloadsInbound = Flags(rawValue: 16)

        init(rawValue: UInt8) { self.rawValue = rawValue }

        /// `hasEngine` says whether the port that leads to its peer has an IPsec engine.
        init(_ tunnel: Topology.Tunnel, hasEngine: Bool) {
            self = []
            if tunnel.clampsMSS { insert(.clampsMSS) }
            if tunnel.learnsPathMTU { insert(.learnsPathMTU) }
            if tunnel.profile.mode == .transport { insert(.isTransport) }
            func isAsked(_ choice: OffloadChoice) -> Bool { choice == .lookaside || hasEngine && choice != .off }
            if isAsked(tunnel.offload.outbound) { insert(.offloadsOutbound) }
            if isAsked(tunnel.offload.inbound) { insert(.offloadsInbound) }
        }
    }
}

/// The peer of a tunnel, or of a lane, whose ESP travels in UDP.
struct PeerEntry: BitwiseCopyable {
    /// Index of the entry.
    var tunnel: UInt32
    /// Where it is, a UDP port and an address as a number.
    var port: UInt16
    var family: IPFamily
    /// Whether it is elsewhere than the site says.
    var hasMoved: Bool
    var number: UInt128

    var address: IPAddress {
        family == .v4 ? IPAddress(v4: UInt32(truncatingIfNeeded: number)) : IPAddress(v6: number)
    }

    init(_ tunnel: Topology.Tunnel, index: Int) {
        self.tunnel = UInt32(index)
        port = tunnel.remotePort
        family = tunnel.remoteAddress.family
        hasMoved = tunnel.peerHasMoved
        number = tunnel.remoteAddress.rawValue
    }
}

/// Which entry of a tunnel or a lane sends under an SPI. Peers choose them, so that several may have the same.
struct OutboundSlot: BitwiseCopyable {
    var spi: UInt32
    var tunnel: UInt32
}

/// A block of addresses as two numbers.
struct AddressBlock: BitwiseCopyable {
    var address: UInt32
    var mask: UInt32

    init(_ prefix: IPPrefix) {
        address = prefix.address.v4Number
        mask = UInt32(truncatingIfNeeded: prefix.mask)
    }

    @inline(__always)
    func contains(_ candidate: UInt32) -> Bool { candidate & mask == address }
}

/// What of a tunnel IPv6 packets inside it look at.
struct TunnelEntry6: BitwiseCopyable {
    /// An address of ours that the tunnel covers, to send errors from; 0 when there is none.
    var ownAddress: UInt128
    /// Where its blocks stand among the selectors of IPv6: the local ones and then the remote ones.
    var firstSelector: UInt32
    var localSelectors: UInt16
    var remoteSelectors: UInt16
}

/// A block of IPv6 addresses as two numbers.
struct AddressBlock6: BitwiseCopyable {
    var address: UInt128
    var mask: UInt128

    init(_ prefix: IPPrefix) {
        address = prefix.address.rawValue
        mask = prefix.mask
    }

    func contains(_ candidate: UInt128) -> Bool { candidate & mask == address }
}

/// An IPv6 address of ours and its port.
struct OwnAddress6: BitwiseCopyable {
    var address: UInt128
    var port: UInt16
}

/// A slot of the SAD: which inbound SA an SPI names (RFC 4301 section 4.4.2). SPIs are unique among ours.
struct SADSlot: BitwiseCopyable {
    var spi: UInt32
    /// Index of the tunnel whose selectors hold for what it decrypts.
    var tunnel: UInt32
    var association: InboundAssociationReference?
}

/// What the SPD says; 0 when no policy matched.
struct PolicyResult {
    enum Action: UInt32 { case bypass = 1, discard, protect }
    let rawValue: UInt32

    static let none = PolicyResult(rawValue: 0)

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

/// Everything that workers look up: routes, SPD, SAD, tunnels. Built whole, never changed; the next one takes over what
/// did not change, and keeps the SAs that both know.
@safe
public final class ForwardingTables: @unchecked Sendable {
    /// What they were built from.
    public var topology: Topology { built.topology }
    /// What each tunnel sends and accepts under, in the topology's order.
    public let states: [TunnelState]
    /// Counts the tables of a gateway, from 1.
    public var generation: UInt64 { built.generation }
    var routing: RouteTable { built.routing }
    var policies: PolicyTable { built.policies }
    /// Of tunnels, and behind these of lanes.
    let tunnels: FixedArray<TunnelEntry>
    let lanes: LaneTable
    let selectors: FixedArray<AddressBlock>
    let tunnels6: FixedArray<TunnelEntry6>
    let selectors6: FixedArray<AddressBlock6>
    /// Inbound SAs of ESP, and those of AH.
    let associations: FixedArray<SADSlot>
    let authentications: FixedArray<SADSlot>
    /// IPv6 addresses that ports answer to, link-local ones that the site names among them.
    let own6: FixedArray<OwnAddress6>
    /// Tunnels whose ESP travels in UDP.
    let peers: FixedArray<PeerEntry>
    /// Which tunnels send under an SPI.
    let outboundSPIs: FixedArray<OutboundSlot>
    /// Whether ESP may be for hosts behind us.
    let hasTransport: Bool
    /// One bit for each own address, so that most packets need not look further.
    let ownFilter: UInt64
    let ownFilter6: UInt64
    /// Index of the port to the kernel; `Worker.noPort` without.
    let puntPort: Int
    /// Whether a UDP datagram from outside may be anything but clear text.
    var takesDatagrams: Bool { peers.count > 0 || puntPort != Worker.noPort }
    /// Index of the port that leads to each tunnel's peer; nil where none does.
    public let ways: [Int?]
    private let engines: Set<Int>
    let built: TopologyTables

    /// Builds the tables for a topology whose tunnels are in `states`; `previous` are those in whose place they come.
    /// `name` must be unique in the process but for tables that follow each other. `engines` are the ports that have an
    /// IPsec engine; those of the previous, if there are such.
    public convenience init(
        _ topology: Topology, states: [TunnelState], name: String, engines: Set<Int> = [],
        previous: ForwardingTables? = nil
    ) throws(DataPlaneError) {
        self.init(
            try TopologyTables(topology, name: name, previous: previous), states: states, engines: engines,
            previous: previous)
    }

    /// The same of what was built of the topology before, with the same `previous`.
    public init(
        _ built: TopologyTables, states: [TunnelState], engines: Set<Int> = [], previous: ForwardingTables? = nil
    ) {
        self.built = built
        let topology = built.topology
        precondition(states.count == topology.tunnels.count)
        self.states = states
        let engines = previous?.engines ?? engines
        self.engines = engines
        let routing = built.routing, pinned = routing.pinned
        let ways = routing.nextHops.map { $0 == RouteEntry.onLink ? nil : Int(pinned[Int($0)].port) }
        self.ways = ways
        var blocks: [AddressBlock] = [], entries: [TunnelEntry] = []
        var blocks6: [AddressBlock6] = [], entries6: [TunnelEntry6] = []
        let own = topology.ports.flatMap(\.routedAddresses).map(\.address)
        for (index, tunnel) in topology.tunnels.enumerated() {
            let local = tunnel.localSubnets.filter { $0.family == .v4 }
            let remote = tunnel.remoteSubnets.filter { $0.family == .v4 }
            let sole = states[index].sole
            entries.append(
                TunnelEntry(
                    outbound: sole?.outbound?.reference, firstSelector: UInt32(blocks.count),
                    localSelectors: UInt16(local.count), remoteSelectors: UInt16(remote.count),
                    ownAddress: ForwardingTables.first(of: own, in: local)?.v4 ?? 0,
                    nextHop: routing.nextHops[index], innerMTU: UInt16(tunnel.innerMTUOctets),
                    owner: sole.map { UInt16($0.owner) } ?? TunnelEntry.ownersOfLanes, refusal: states[index].refusal,
                    flags: TunnelEntry.Flags(tunnel, hasEngine: ways[index].map(engines.contains) ?? false)))
            blocks += (local + remote).map(AddressBlock.init)
            let local6 = tunnel.localSubnets.filter { $0.family == .v6 }
            let remote6 = tunnel.remoteSubnets.filter { $0.family == .v6 }
            entries6.append(
                TunnelEntry6(
                    ownAddress: ForwardingTables.first(of: own, in: local6)?.rawValue ?? 0,
                    firstSelector: UInt32(blocks6.count), localSelectors: UInt16(local6.count),
                    remoteSelectors: UInt16(remote6.count)))
            blocks6 += (local6 + remote6).map(AddressBlock6.init)
        }
        var laneEntries: [LaneTable.Entry] = []
        lanes = LaneTable(states, &laneEntries)
        for (tunnel, lane) in laneEntries {
            var entry = entries[tunnel]
            (entry.outbound, entry.owner) = (lane.outbound?.reference, UInt16(lane.owner))
            entries.append(entry)
        }
        selectors = FixedArray(blocks)
        tunnels = FixedArray(entries)
        tunnels6 = FixedArray(entries6)
        selectors6 = FixedArray(blocks6)
        associations = ForwardingTables.sad(topology, states, .esp)
        authentications = ForwardingTables.sad(topology, states, .ah)
        let places = Array(topology.tunnels.indices) + laneEntries.map(\.tunnel)
        peers = FixedArray(
            places.enumerated().filter { topology.tunnels[$0.element].profile.natTraversal }.map {
                PeerEntry(topology.tunnels[$0.element], index: $0.offset)
            })
        outboundSPIs = ForwardingTables.outboundSPIs(entries)
        puntPort = topology.ports.firstIndex { $0.role == .punt } ?? Worker.noPort
        hasTransport = topology.tunnels.contains { $0.profile.mode == .transport }
        ownFilter = own.reduce(0) { $0 | ($1.v4.map(Worker.filterBit) ?? 0) }
        let own6 = topology.ports.enumerated().flatMap { index, port in
            (port.ownAddresses + port.addresses.map(\.address).filter(\.isLinkLocal)).filter { $0.family == .v6 }.map {
                OwnAddress6(address: $0.rawValue, port: UInt16(index))
            }
        }
        self.own6 = FixedArray(own6)
        ownFilter6 = own6.reduce(0) { $0 | Worker.filterBit($1.address) }
    }

    /// As the SAD, of what tunnels send under.
    private static func outboundSPIs(_ entries: [TunnelEntry]) -> FixedArray<OutboundSlot> {
        var capacity = 16
        while capacity < entries.count * 4 { capacity *= 2 }
        var slots = [OutboundSlot](repeating: OutboundSlot(spi: 0, tunnel: .max), count: capacity)
        for (tunnel, entry) in entries.enumerated() {
            guard let spi = entry.outbound?.with({ $0.spi }) else { continue }
            var index = SADView.start(spi, mask: capacity - 1)
            while slots[index].tunnel != .max { index = (index + 1) & (capacity - 1) }
            slots[index] = OutboundSlot(spi: spi, tunnel: UInt32(tunnel))
        }
        return FixedArray(slots)
    }

    private static func first(of addresses: [IPAddress], in blocks: [IPPrefix]) -> IPAddress? {
        addresses.first { address in blocks.contains { $0.contains(address) } }
    }

    /// The inbound SAs of one protocol. Open addressing at a quarter full or less: an SPI is found in one cache line
    /// nearly always.
    private static func sad(
        _ topology: Topology, _ states: [TunnelState], _ security: SecurityProtocol
    ) -> FixedArray<SADSlot> {
        let isOf = topology.tunnels.map { $0.profile.algorithm.securityProtocol == security }
        let count = zip(states, isOf).reduce(0) { $0 + ($1.1 ? $1.0.inbound.count : 0) }
        var capacity = 16
        while capacity < count * 4 { capacity *= 2 }
        var slots = [SADSlot](repeating: SADSlot(spi: 0, tunnel: 0, association: nil), count: capacity)
        for (tunnel, state) in states.enumerated() where isOf[tunnel] {
            for association in state.inbound {
                let spi = association.spi.rawValue
                var index = SADView.start(spi, mask: capacity - 1)
                while slots[index].association != nil { index = (index + 1) & (capacity - 1) }
                slots[index] = SADSlot(spi: spi, tunnel: UInt32(tunnel), association: association.reference)
            }
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

    /// The slot of the SA that `spi` names, whose association is nil when there is none. Slots are never all taken, so
    /// the search ends.
    @inline(__always)
    func find(_ spi: UInt32) -> SADSlot {
        let mask = slots.count &- 1
        var index = SADView.start(spi, mask: mask)
        while slots[index].association != nil {
            if slots[index].spi == spi { return slots[index] }
            index = (index &+ 1) & mask
        }
        return slots[index]
    }
}
