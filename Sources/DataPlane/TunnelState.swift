import IPsec

/// What tables say of a tunnel at one time: the SAs it sends under, and those it accepts.
public struct TunnelState: Sendable {
    /// One of the pairs that a tunnel uses at the same time (RFC 9611), as far as it is for sending.
    public struct Lane: Sendable {
        /// What its flows are sent under; nil: they go by other lanes.
        public var outbound: OutboundAssociation?
        /// Index of the worker that owns the lane's SAs, and goes on to do so when they change: packets of a flow keep
        /// their order that way.
        public var owner: Int

        /// A lane.
        public init(outbound: OutboundAssociation?, owner: Int) {
            self.outbound = outbound
            self.owner = owner
        }
    }

    /// At least one, each of another worker. Flows keep theirs as long as there are as many.
    public var lanes: [Lane]
    /// Why nothing is sent when no lane does: `.noOutboundSA` or `.lifetimeExpired`.
    public var refusal: DropReason
    /// What it accepts, in all lanes.
    public var inbound: [InboundAssociation]

    /// A state of a tunnel with lanes.
    public init(lanes: [Lane], refusal: DropReason = .noOutboundSA, inbound: [InboundAssociation]) {
        precondition(lanes.count == 1 || !lanes.isEmpty && Set(lanes.map(\.owner)).count == lanes.count)
        self.lanes = lanes
        self.refusal = refusal
        self.inbound = inbound
    }

    /// A state of a tunnel that one worker has.
    public init(
        outbound: OutboundAssociation?, refusal: DropReason = .noOutboundSA, inbound: [InboundAssociation], owner: Int
    ) {
        self.init(lanes: [Lane(outbound: outbound, owner: owner)], refusal: refusal, inbound: inbound)
    }

    /// What the first lane sends under; of most tunnels there is no other.
    public var outbound: OutboundAssociation? {
        get { lanes[0].outbound }
        set { lanes[0].outbound = newValue }
    }

    /// Index of the worker that owns the first lane's SAs.
    public var owner: Int { lanes[0].owner }

    /// The lane by which all flows go; nil when several send.
    var sole: Lane? {
        if lanes.count == 1 { return lanes[0] }
        let sending = lanes.filter { $0.outbound != nil }
        return sending.count > 1 ? nil : sending.first ?? lanes[0]
    }
}
