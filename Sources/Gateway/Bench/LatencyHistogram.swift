/// Counts of times, from which percentiles are read within one part in 128.
///
/// Log-linear, as HdrHistogram's are: below 128 ticks every number has a bucket of its own; from there on every
/// doubling has 128 buckets of one width, which is never more than a 128th of what lies in them. A percentile is told
/// as the greatest time of its bucket, so that it is never too little and at most a 128th too much. The maximum is
/// exact. Memory does not grow: 34 KiB.
public struct LatencyHistogram: Sendable {
    private static let places = 7
    private static let width = 1 << places
    /// Times from this on lie in the last bucket: two minutes at 8 GHz.
    private static let limitBits = 40

    private var counts = [UInt64](
        repeating: 0, count: (LatencyHistogram.limitBits - LatencyHistogram.places + 1) * LatencyHistogram.width)
    /// How many times were recorded.
    public private(set) var count: UInt64 = 0
    /// The greatest of them; 0 of none.
    public private(set) var maximum: UInt64 = 0

    /// An empty one.
    public init() {}

    /// Counts one time, in ticks.
    public mutating func record(_ ticks: UInt64) {
        counts[min(LatencyHistogram.bucket(of: ticks), counts.count - 1)] += 1
        count += 1
        maximum = max(maximum, ticks)
    }

    /// Counts all that another has counted.
    public mutating func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        maximum = max(maximum, other.maximum)
    }

    /// The least time that so many of 1000 recorded times do not exceed, in ticks: 500 is the median. 0 of none. Traps
    /// outside of 1 to 1000.
    public func percentile(perMille: Int) -> UInt64 {
        precondition((1...1000).contains(perMille))
        guard count > 0 else { return 0 }
        let rank = (count * UInt64(perMille) + 999) / 1000
        var passed: UInt64 = 0
        for (index, number) in counts.enumerated() {
            passed += number
            if passed >= rank {
                return index == counts.count - 1 ? maximum : min(maximum, LatencyHistogram.greatest(in: index))
            }
        }
        return maximum
    }

    private static func bucket(of ticks: UInt64) -> Int {
        let bits = UInt64.bitWidth - ticks.leadingZeroBitCount
        guard bits > places else { return Int(ticks) }
        // The doubling is told by the highest bit, the place in it by the bits that follow.
        let shift = bits - places - 1
        return (shift + 1) << places + Int(ticks >> UInt64(shift)) - width
    }

    private static func greatest(in bucket: Int) -> UInt64 {
        guard bucket >= width else { return UInt64(bucket) }
        let shift = bucket >> places - 1
        return UInt64(width + bucket & (width - 1) + 1) << UInt64(shift) - 1
    }
}
