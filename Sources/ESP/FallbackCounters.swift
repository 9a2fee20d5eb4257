import IPsec
import Synchronization

/// What a device did of an SA's packets, and what it did not do and why. Its worker writes, anyone reads. In memory of
/// its own: most SAs never look at it.
@safe
public struct FallbackCounters: ~Copyable {
    /// One for each reason, and behind them the packets that a device worked on, and why no device has the SA.
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    // Computed, because a stored one would be made when it is first used, which a packet would have to look for.
    private static var offloadedWord: Int { Int(FallbackReason.last.rawValue) + 1 }
    private static var standingWord: Int { offloadedWord + 1 }
    private static var count: Int { standingWord + 1 }

    init() {
        unsafe words = .allocate(capacity: FallbackCounters.count)
        for index in 0..<FallbackCounters.count { unsafe (words + index).initialize(to: Atomic(0)) }
        reason = .reprogramming
    }

    deinit { unsafe words.deallocate() }

    private func add(_ packets: Int, _ word: Int) {
        let sum = unsafe words[word].load(ordering: .relaxed) &+ UInt64(truncatingIfNeeded: packets)
        unsafe words[word].store(sum, ordering: .relaxed)
    }

    /// Counts a packet that software worked on though a device was wanted.
    public func count(_ reason: FallbackReason) { add(1, Int(reason.rawValue)) }

    /// Counts one of an SA that no device has.
    public func countStanding() { count(reason) }

    /// Counts packets that a device worked on.
    public func countOffloaded(_ packets: Int) { add(packets, FallbackCounters.offloadedWord) }

    /// Packets that a device worked on.
    public var offloaded: UInt64 { unsafe words[FallbackCounters.offloadedWord].load(ordering: .relaxed) }

    /// Why no device has the SA; what it says while a device has it means nothing.
    public var reason: FallbackReason {
        get {
            let value = unsafe words[FallbackCounters.standingWord].load(ordering: .relaxed)
            return FallbackReason(rawValue: UInt8(truncatingIfNeeded: value)) ?? .reprogramming
        }
        nonmutating set {
            unsafe words[FallbackCounters.standingWord].store(UInt64(newValue.rawValue), ordering: .relaxed)
        }
    }

    /// Packets that software worked on, by the names of reasons that occurred.
    public var packets: [String: UInt64] {
        var packets: [String: UInt64] = [:]
        for reason in FallbackReason.allCases where self[reason] > 0 { packets[reason.name] = self[reason] }
        return packets
    }

    /// Packets that software worked on, for this reason.
    public subscript(_ reason: FallbackReason) -> UInt64 {
        unsafe words[Int(reason.rawValue)].load(ordering: .relaxed)
    }
}
