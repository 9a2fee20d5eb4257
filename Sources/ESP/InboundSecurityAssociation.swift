import IPsec
import Synchronization
import Wire

/// The hot half of an inbound SA: two cache lines for packets of the plain kind (see `InboundBurst`), and more for all
/// others and for rare moments. One worker owns it; others may read what is `Atomic` or never changes, and set its
/// ceiling.
@safe
public struct InboundSecurityAssociation: ~Copyable {
    // First line: what is asked of a packet.

    /// Numbers accepted so far.
    public internal(set) var window: ReplayWindow
    /// Expanded key.
    let key: UnsafeMutableRawPointer
    /// First 4 octets of the nonce, as they lie in memory.
    let saltWord: UInt32
    // Outer destination and source its packets must carry over IPv4.
    @usableFromInline let localWord: UInt32
    @usableFromInline var remoteWord: UInt32
    /// Index of the worker that owns it.
    public let owner: UInt32
    /// Its bit in the worker's `AttentionMap`.
    public let id: UInt32
    /// Of its packets' outer header.
    public let family: IPFamily
    /// What its packets are: an ESP SA takes no AH, and the other way round.
    public let securityProtocol: SecurityProtocol
    /// Whether its packets take the short way: ESP in tunnel mode with encryption, an ICV of 16 octets, and nothing
    /// else.
    let isPlain: Bool
    /// What the crypto stage does with them.
    let transform: Algorithm.Transform

    // Second line: what an accepted packet changes, and what says whether it may be.

    /// Inner octets accepted in this run.
    public let octets: Atomic<UInt64>
    /// Packets accepted in this run.
    public let packets: Atomic<UInt64>
    private let packetThreshold: Atomic<UInt64>
    private let octetThreshold: Atomic<UInt64>
    /// The highest number that may be accepted: a restart begins behind the one that is on disk, and this is never
    /// above that.
    private let ceiling: Atomic<UInt64>
    /// The number from which on the control plane wants to hear of it.
    private let notice: Atomic<UInt64>
    /// The highest number that was marked, for other threads.
    public let highest: Atomic<UInt64>
    /// The highest authentic number that was above the ceiling.
    public let wanted: Atomic<UInt64>

    // Third line: of packets that are not plain.

    /// How it treats packets.
    public let profile: AssociationProfile
    // Outer addresses as numbers of `family`.
    @usableFromInline let localNumber: UInt128
    @usableFromInline var remoteNumber: UInt128

    // Fourth line: of those, and for rare moments.

    /// Packets in a row that were not authentic, of an SA with extended numbers.
    var failuresInRow: UInt32 = 0
    /// Packets since so many failed that their high half is in doubt.
    var packetsInTrouble: UInt32 = 0
    /// In ticks: before, a peer behind NAT may not move again.
    var moveNotBefore: UInt64 = 0
    /// The port that a peer behind NAT sends from.
    var remotePortNumber = UDPHeader.natTraversalPort
    /// Whether packets of it wait for the ceiling: what comes after them must not overtake them.
    private var isHolding = false
    /// Whether it was ended: then its ceiling stays 0, whoever raises it.
    private let isOver = Atomic(false)
    private let allowance: SharedAllowance

    // Fifth line.

    /// Authentic packets that were above the ceiling in this run, for other threads.
    public let ahead: Atomic<UInt64>
    /// Times that a packet moved it to another half of its extended numbers (RFC 4303 appendix A3).
    public let resynchronizations = Atomic<UInt64>(0)
    /// Packets that were tried with another high half.
    public let resynchronizationAttempts = Atomic<UInt64>(0)
    /// As of an outbound SA.
    public let deviceHandle = Atomic<UInt64>(0)
    /// Of packets for which a device is wanted.
    public let fallbacks = FallbackCounters()

    /// An SA that accepts nothing up to `behind` and nothing above it before `setCeiling`. Traps unless both addresses
    /// are of one family, the key is one of the profile's algorithm, `replayWindow` is a power of two from 64 to 8192,
    /// and `id` below `AttentionMap.capacity`.
    public init(
        key: ExpandedKey, profile: AssociationProfile = AssociationProfile(), local: IPAddress, remote: IPAddress,
        replayWindow: Int, owner: Int, id: Int, behind: UInt64 = 0, allowance: Allowance = Allowance()
    ) {
        precondition(local.family == remote.family)
        window = ReplayWindow(size: replayWindow, behind: behind)
        unsafe self.key = unsafe key.table
        saltWord = key.saltWord
        localWord = UInt32(truncatingIfNeeded: local.rawValue)
        // No packet comes from 0.0.0.0.
        remoteWord = profile.natTraversal ? 0 : UInt32(truncatingIfNeeded: remote.rawValue)
        localNumber = local.rawValue
        remoteNumber = remote.rawValue
        family = local.family
        precondition(key.algorithm == profile.algorithm)
        securityProtocol = profile.algorithm.securityProtocol
        isPlain = profile.isPlainInbound
        transform = profile.algorithm.transform
        self.profile = profile
        self.owner = UInt32(owner)
        self.id = UInt32(id)
        self.allowance = SharedAllowance(allowance)
        packetThreshold = Atomic(0)
        octetThreshold = Atomic(0)
        packets = Atomic(0)
        octets = Atomic(0)
        ceiling = Atomic(behind)
        notice = Atomic(0)
        highest = Atomic(behind)
        wanted = Atomic(0)
        ahead = Atomic(0)
        _ = self.allowance.judge(packets: 0, octets: 0)
    }

    /// Lets the worker accept numbers up to `ceiling`; from `notice` on the SA's bit is set in the attention map. The
    /// caller has put it on disk before it raises it. Does nothing to an SA that was ended.
    public func setCeiling(_ ceiling: UInt64, notice: UInt64) {
        guard !isOver.load(ordering: .sequentiallyConsistent) else { return }
        // A number above the ceiling is looked at, whatever the notice.
        self.notice.store(ceiling == .max ? notice : min(notice, ceiling + 1), ordering: .sequentiallyConsistent)
        self.ceiling.store(ceiling, ordering: .sequentiallyConsistent)
        // Another thread may have ended it in between.
        if isOver.load(ordering: .sequentiallyConsistent) { close() }
    }

    /// Whether the ceiling is no reason to wait with a number: it is below, or the SA is over.
    @inline(__always)
    public func reaches(_ number: UInt64) -> Bool {
        let ceiling = ceiling.load(ordering: .acquiring)
        return number <= ceiling || ceiling == 0
    }

    /// Says whether packets of it wait that were `ahead`: as long as some do, so does everything that comes. The first
    /// that is `ahead` says so by itself; who keeps such packets says when none is left.
    public mutating func setHolding(_ isHolding: Bool) {
        self.isHolding = isHolding
        packetThreshold.store(0, ordering: .relaxed)
    }

    /// Says what this run may accept in all; as of an outbound SA. One that was ended begins anew with the next
    /// ceiling.
    public func limit(_ allowance: Allowance) {
        self.allowance.set(allowance)
        _ = self.allowance.judge(
            packets: packets.load(ordering: .relaxed), octets: octets.load(ordering: .relaxed))
        isOver.store(false, ordering: .sequentiallyConsistent)
        packetThreshold.store(0, ordering: .relaxed)
        octetThreshold.store(0, ordering: .relaxed)
    }

    /// Ends it: nothing is accepted any more, for `lifetimeExpired`.
    public func expire() {
        isOver.store(true, ordering: .sequentiallyConsistent)
        close()
    }

    private func close() {
        ceiling.store(0, ordering: .sequentiallyConsistent)
        notice.store(0, ordering: .sequentiallyConsistent)
    }

    /// Whether the soft limit was reached.
    public var isSoftExpired: Bool { allowance.isSoftReached }
    /// Whether the hard limit was reached: nothing is accepted under it any more.
    public var isHardExpired: Bool { allowance.isHardReached }

    /// Takes the number of an authentic packet, which may have `waited` for the ceiling; nil when it was fresh and
    /// nothing is in the way.
    @inline(__always)
    mutating func accept(_ packet: inout InboundPacket, waited: Bool, _ attention: AttentionMap.View) -> DropReason? {
        let number = packet.number
        let packets = self.packets.load(ordering: .relaxed)
        if number >= notice.load(ordering: .relaxed) || packets >= packetThreshold.load(ordering: .relaxed)
            || octets.load(ordering: .relaxed) >= octetThreshold.load(ordering: .relaxed)
        {
            if let refused = look(number, waited: waited, attention) { return refused }
        }
        packet.advancesWindow = number > window.highest
        if let refused = window.mark(number) { return refused }
        highest.store(window.highest, ordering: .relaxed)
        return nil
    }

    /// Counts a packet of so many inner octets that was as it should be.
    @inline(__always)
    func count(_ length: Int) {
        packets.store(packets.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        octets.store(octets.load(ordering: .relaxed) &+ UInt64(length), ordering: .relaxed)
    }

    /// The rare case: a threshold was reached.
    @inline(never)
    private mutating func look(_ number: UInt64, waited: Bool, _ attention: AttentionMap.View) -> DropReason? {
        let packets = self.packets.load(ordering: .relaxed), used = octets.load(ordering: .relaxed)
        if allowance.judge(packets: packets, octets: used) { attention.raise(id) }
        let ceiling = self.ceiling.load(ordering: .acquiring)
        if allowance.isHardReached || ceiling == 0 { return .lifetimeExpired }
        packetThreshold.store(isHolding ? 0 : allowance.nextPackets(after: packets), ordering: .relaxed)
        octetThreshold.store(allowance.nextOctets(after: used), ordering: .relaxed)
        if number <= ceiling {
            if number >= notice.load(ordering: .relaxed) { attention.raise(id) }
            return isHolding && !waited ? .ahead : nil
        }
        if !waited { ahead.store(ahead.load(ordering: .relaxed) &+ 1, ordering: .relaxed) }
        if number > wanted.load(ordering: .relaxed) { wanted.store(number, ordering: .releasing) }
        // From here on, even if the ceiling goes up while this burst is looked at.
        setHolding(true)
        // The number first: who takes the bit and does not see it would leave this packet waiting for the next one.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        attention.raise(id)
        return .ahead
    }
}
