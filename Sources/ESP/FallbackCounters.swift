import IPsec
import Synchronization

/// What a device did of an SA's packets, and what it did not do and why. Its worker writes, anyone reads.
public struct FallbackCounters: ~Copyable {
    private let counters = InlineArray<24, Atomic<UInt64>> { _ in Atomic(0) }
    /// Packets that a device encrypted or decrypted.
    public let offloaded = Atomic<UInt64>(0)
    /// Why no device has the SA, as a `FallbackReason`; what it says while a device has it means nothing.
    private let standing = Atomic<UInt8>(FallbackReason.reprogramming.rawValue)

    init() {}

    /// Counts a packet that software worked on though a device was wanted.
    public func count(_ reason: FallbackReason) {
        let counter = Int(reason.rawValue)
        counters[counter].store(counters[counter].load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }

    /// Counts one of an SA that no device has.
    public func countStanding() { count(reason) }

    /// Counts a packet that a device worked on.
    @inline(__always)
    public func countOffloaded() { offloaded.store(offloaded.load(ordering: .relaxed) &+ 1, ordering: .relaxed) }

    /// Why no device has the SA.
    public var reason: FallbackReason {
        get { FallbackReason(rawValue: standing.load(ordering: .relaxed)) ?? .reprogramming }
        nonmutating set { standing.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// Packets that software worked on, by the names of reasons that occurred.
    public var packets: [String: UInt64] {
        var packets: [String: UInt64] = [:]
        for reason in FallbackReason.allCases where self[reason] > 0 { packets[reason.name] = self[reason] }
        return packets
    }

    /// Packets that software worked on, for this reason.
    public subscript(_ reason: FallbackReason) -> UInt64 {
        counters[Int(reason.rawValue)].load(ordering: .relaxed)
    }
}
