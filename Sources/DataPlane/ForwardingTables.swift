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
    /// Index of the worker that owns its SAs.
    var owner: UInt16
    var refusal: DropReason
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

/// A slot of the SAD: which inbound SA an SPI names (RFC 4301 section 4.4.2). SPIs are unique among ours.
struct SADSlot: BitwiseCopyable {
    var spi: UInt32
    /// Index of the tunnel whose selectors hold for what it decrypts.
    var tunnel: UInt32
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

/// Everything that workers look up: routes, SPD, SAD, tunnels. Built whole, never changed; the next one takes over what
/// did not change, and keeps the SAs that both know.
@safe
public final class ForwardingTables: @unchecked Sendable {
    /// What they were built from.
    public let topology: Topology
    /// What each tunnel sends and accepts under, in the topology's order.
    public let states: [TunnelState]
    /// Counts the tables of a gateway, from 1.
    public let generation: UInt64
    let routing: RouteTable
    let policies: PolicyTable
    let tunnels: FixedArray<TunnelEntry>
    let selectors: FixedArray<AddressBlock>
    let associations: FixedArray<SADSlot>
    /// One bit for each own address, so that most packets need not look further.
    let ownFilter: UInt64
    private let routeBasis: RouteTable.Basis
    private let policyBasis: PolicyTable.Basis

    /// Builds the tables for a topology whose tunnels are in `states`; `previous` are those in whose place they come.
    /// `name` must be unique in the process but for tables that follow each other.
    public init(
        _ topology: Topology, states: [TunnelState], name: String, previous: ForwardingTables? = nil
    ) throws(DataPlaneError) {
        precondition(states.count == topology.tunnels.count)
        let generation = (previous?.generation ?? 0) + 1, unique = "\(name)-\(generation)"
        self.topology = topology
        self.states = states
        self.generation = generation
        routeBasis = RouteTable.Basis(topology)
        policyBasis = PolicyTable.Basis(topology)
        if let previous, previous.routeBasis == routeBasis {
            routing = previous.routing
        } else {
            routing = try RouteTable(topology, name: unique)
        }
        if let previous, previous.policyBasis == policyBasis {
            policies = previous.policies
        } else {
            policies = try PolicyTable(topology, name: unique)
        }
        var blocks: [AddressBlock] = [], entries: [TunnelEntry] = []
        let own = topology.ports.flatMap(\.addresses).map(\.address)
        for (index, tunnel) in topology.tunnels.enumerated() {
            let first = UInt32(blocks.count)
            blocks += (tunnel.localSubnets + tunnel.remoteSubnets).map(AddressBlock.init)
            let inside = own.first { address in tunnel.localSubnets.contains { $0.contains(address) } }
            entries.append(
                TunnelEntry(
                    outbound: states[index].outbound?.reference, firstSelector: first,
                    localSelectors: UInt16(tunnel.localSubnets.count),
                    remoteSelectors: UInt16(tunnel.remoteSubnets.count), ownAddress: inside?.v4Number ?? 0,
                    nextHop: routing.nextHops[index], innerMTU: UInt16(tunnel.innerMTUOctets),
                    owner: UInt16(states[index].owner), refusal: states[index].refusal))
        }
        selectors = FixedArray(blocks)
        tunnels = FixedArray(entries)
        associations = ForwardingTables.sad(states)
        ownFilter = own.reduce(0) { $0 | Worker.filterBit($1.v4Number) }
    }

    /// Open addressing at a quarter full or less: an SPI is found in one cache line nearly always.
    private static func sad(_ states: [TunnelState]) -> FixedArray<SADSlot> {
        let count = states.reduce(0) { $0 + $1.inbound.count }
        var capacity = 16
        while capacity < count * 4 { capacity *= 2 }
        var slots = [SADSlot](repeating: SADSlot(spi: 0, tunnel: 0, association: nil), count: capacity)
        for (tunnel, state) in states.enumerated() {
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
