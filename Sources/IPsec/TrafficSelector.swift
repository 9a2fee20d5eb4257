// Selectors and policies. Read RFC 4301 sections 4.4.1 (the SPD) and 4.4.1.1 (selectors) first.

/// Which packets a policy or an SA covers, by the fields of their IP and transport headers (RFC 4301 section 4.4.1.1).
public struct TrafficSelector: Hashable, Sendable {
    /// Source block, of the same family as the destination.
    public var source: IPPrefix
    /// Destination block.
    public var destination: IPPrefix
    /// IP protocol number; nil is any.
    public var ipProtocol: UInt8?
    /// Source ports; nil is any. A packet whose ports can't be seen (a later fragment) never matches a range.
    public var sourcePorts: ClosedRange<UInt16>?
    /// Destination ports; nil is any.
    public var destinationPorts: ClosedRange<UInt16>?
    /// ICMP or ICMPv6 messages, each a type times 256 plus a code (RFC 7296 section 3.13.1); nil is any.
    public var icmpMessages: ClosedRange<UInt16>?

    /// A selector by blocks, and by protocol and ports where given.
    public init(
        source: IPPrefix, destination: IPPrefix, ipProtocol: UInt8? = nil,
        sourcePorts: ClosedRange<UInt16>? = nil, destinationPorts: ClosedRange<UInt16>? = nil,
        icmpMessages: ClosedRange<UInt16>? = nil
    ) {
        self.source = source
        self.destination = destination
        self.ipProtocol = ipProtocol
        self.sourcePorts = sourcePorts
        self.destinationPorts = destinationPorts
        self.icmpMessages = icmpMessages
    }

    /// Whether it looks at what later fragments don't show: ports, or the ICMP type.
    public var needsPorts: Bool { sourcePorts != nil || destinationPorts != nil || icmpMessages != nil }

    /// The same traffic seen from the other side of the boundary.
    public var reversed: TrafficSelector {
        TrafficSelector(
            source: destination, destination: source, ipProtocol: ipProtocol, sourcePorts: destinationPorts,
            destinationPorts: sourcePorts, icmpMessages: icmpMessages)
    }
}

/// One entry of the SPD for one direction (RFC 4301 section 4.4.1).
public struct Policy: Hashable, Sendable {
    /// What happens to the packets it covers.
    public enum Action: Hashable, Sendable {
        /// Crosses the boundary in clear.
        case bypass
        /// Does not cross it.
        case discard
        /// Crosses it under the SAs of the tunnel with this index.
        case protect(tunnel: Int)
    }

    /// What happens to the packets it covers.
    public var action: Action
    /// The direction it applies to.
    public var direction: Direction
    /// The packets it covers, as they look in that direction.
    public var selector: TrafficSelector
    /// Looked at first when lowest; between equals the earlier entry wins.
    public var priority: Int
    /// What operators know it by: the site file's name for it, or its tunnel's. Entries of one table in the site file,
    /// one for each family, have one name.
    public var name: String

    /// An entry of the SPD.
    public init(
        action: Action, direction: Direction, selector: TrafficSelector, priority: Int, name: String = ""
    ) {
        self.action = action
        self.direction = direction
        self.selector = selector
        self.priority = priority
        self.name = name
    }
}
