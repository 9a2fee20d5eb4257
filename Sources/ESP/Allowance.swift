import Synchronization

/// What is left of an SA's lifetime for this run, in packets and inner octets; `.max` where nothing limits it.
@frozen
public struct Allowance: BitwiseCopyable, Hashable, Sendable {
    /// Until somebody should know.
    public var softPackets: UInt64 = .max, softOctets: UInt64 = .max
    /// Until it ends.
    public var hardPackets: UInt64 = .max, hardOctets: UInt64 = .max

    /// Without limits.
    public init() {}
}

/// An allowance that the control plane may change while a worker goes by it, and which limits were reached.
@safe
struct SharedAllowance: ~Copyable {
    private let softPackets: Atomic<UInt64>, softOctets: Atomic<UInt64>
    private let hardPackets: Atomic<UInt64>, hardOctets: Atomic<UInt64>
    /// 1 soft, 2 hard.
    private let reached = Atomic<UInt8>(0)

    init(_ allowance: Allowance) {
        softPackets = Atomic(allowance.softPackets)
        softOctets = Atomic(allowance.softOctets)
        hardPackets = Atomic(allowance.hardPackets)
        hardOctets = Atomic(allowance.hardOctets)
    }

    func set(_ allowance: Allowance) {
        softPackets.store(allowance.softPackets, ordering: .relaxed)
        softOctets.store(allowance.softOctets, ordering: .relaxed)
        hardPackets.store(allowance.hardPackets, ordering: .relaxed)
        hardOctets.store(allowance.hardOctets, ordering: .relaxed)
    }

    var isSoftReached: Bool { reached.load(ordering: .relaxed) & 1 != 0 }
    var isHardReached: Bool { reached.load(ordering: .relaxed) & 2 != 0 }

    /// Holds what was used against the limits. True when that says something new.
    func judge(packets: UInt64, octets: UInt64) -> Bool {
        let soft = packets >= softPackets.load(ordering: .relaxed) || octets >= softOctets.load(ordering: .relaxed)
        let hard = packets >= hardPackets.load(ordering: .relaxed) || octets >= hardOctets.load(ordering: .relaxed)
        let now: UInt8 = (soft ? 1 : 0) | (hard ? 2 : 0)
        return reached.exchange(now, ordering: .relaxed) != now
    }

    /// How many packets there will be when a limit is reached next.
    func nextPackets(after used: UInt64) -> UInt64 { SharedAllowance.next(softPackets, hardPackets, used) }
    /// How many octets there will be when a limit is reached next.
    func nextOctets(after used: UInt64) -> UInt64 { SharedAllowance.next(softOctets, hardOctets, used) }

    private static func next(_ soft: borrowing Atomic<UInt64>, _ hard: borrowing Atomic<UInt64>, _ used: UInt64)
        -> UInt64
    {
        let soft = soft.load(ordering: .relaxed), hard = hard.load(ordering: .relaxed)
        return used < soft ? min(soft, hard) : hard
    }
}
