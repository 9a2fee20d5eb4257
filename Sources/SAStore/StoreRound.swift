import IPsec

/// What a gateway wants on disk at one time: one transaction, one wait.
public struct StoreRound: Sendable {
    /// Blocks of numbers; the answer has an entry for each, in this order.
    public var reservations: [ReservationRequest] = []
    /// Where inbound windows start after a restart. Of two for one SA the later counts.
    public var ceilings: [ReplayCeiling] = []
    /// What SAs have carried.
    public var usage: [SAUsage] = []

    /// A round that wants nothing.
    public init() {}

    /// Whether there is nothing to do.
    public var isEmpty: Bool { reservations.isEmpty && ceilings.isEmpty && usage.isEmpty }

    /// Of every request, ceiling and usage in it, in this order.
    var keys: [KeyFingerprint] {
        reservations.map(\.key) + ceilings.map(\.sa.fingerprint) + usage.map(\.sa.fingerprint)
    }
}

/// Where the inbound window of an SA starts after a restart: no number up to it is accepted again then.
public struct ReplayCeiling: Hashable, Sendable {
    /// Whose window.
    public let sa: SAIdentity
    /// A sequence number; 0: none. May be lower than the one before: the caller knows when that is safe.
    public let ceiling: UInt64
    /// The highest number that was accepted by then. What lies between the two is refused after a crash, though some of
    /// it was never seen.
    public let reached: UInt64

    /// This ceiling for that SA; all up to it was accepted unless `reached` says less.
    public init(sa: SAIdentity, ceiling: UInt64, reached: UInt64? = nil) {
        self.sa = sa
        self.ceiling = ceiling
        self.reached = min(reached ?? ceiling, ceiling)
    }
}

/// What an SA has carried since it was installed: whole counts, not what was added.
public struct SAUsage: Hashable, Sendable {
    /// Whose counts.
    public let sa: SAIdentity
    /// Packets. Lower than what is recorded changes nothing: a lifetime never gets longer.
    public let packets: UInt64
    /// Octets, likewise.
    public let octets: UInt64

    /// These counts for that SA.
    public init(sa: SAIdentity, packets: UInt64, octets: UInt64) {
        self.sa = sa
        self.packets = packets
        self.octets = octets
    }
}
