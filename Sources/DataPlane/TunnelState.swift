import IPsec

/// What tables say of a tunnel at one time: the SA it sends under, and those it accepts.
public struct TunnelState: Sendable {
    /// What it sends under; nil: packets are dropped for `refusal`.
    public var outbound: OutboundAssociation?
    /// Why nothing is sent: `.noOutboundSA` or `.lifetimeExpired`.
    public var refusal: DropReason
    /// What it accepts.
    public var inbound: [InboundAssociation]
    /// Index of the worker that owns all of its SAs, and goes on to do so when they change: packets of a tunnel keep
    /// their order that way.
    public var owner: Int

    /// A state.
    public init(
        outbound: OutboundAssociation?, refusal: DropReason = .noOutboundSA, inbound: [InboundAssociation], owner: Int
    ) {
        self.outbound = outbound
        self.refusal = refusal
        self.inbound = inbound
        self.owner = owner
    }
}
