import SeededRandom
import Testing

@testable import Gateway

struct LatencyHistogramTests {
    /// Against all times in order: never too little, and at most a 128th too much.
    @Test func percentilesAreThoseOfTheSortedTimes() {
        for seed in UInt64(0)..<200 {
            var random = SplitMix64(seed: seed)
            // Of all magnitudes, or all near each other.
            let bits = UInt64.random(in: 1...40, using: &random), count = Int.random(in: 1...3000, using: &random)
            let times = (0..<count).map { _ in
                UInt64.random(in: 0..<1 << UInt64.random(in: bits / 2...bits, using: &random), using: &random)
            }
            var histogram = LatencyHistogram()
            for time in times { histogram.record(time) }
            let sorted = times.sorted()
            #expect(histogram.count == UInt64(count) && histogram.maximum == sorted[count - 1], "seed \(seed)")
            for perMille in [1, 10, 500, 900, 990, 999, 1000] {
                let exact = sorted[(count * perMille + 999) / 1000 - 1], told = histogram.percentile(perMille: perMille)
                #expect(
                    told >= exact && told - exact <= exact / 128,
                    "seed \(seed), \(perMille) of 1000: \(told) for \(exact)")
            }
        }
    }

    @Test func everyNumberBelowABucketsWidthIsExact() {
        for time in UInt64(0)..<128 {
            var histogram = LatencyHistogram()
            histogram.record(time)
            histogram.record(1 << 30)
            #expect(histogram.percentile(perMille: 500) == time)
        }
    }

    @Test func timesBeyondAllBucketsAreTheMaximum() {
        var histogram = LatencyHistogram()
        for time in [5, 1 << 50, UInt64.max] { histogram.record(time) }
        #expect(histogram.percentile(perMille: 1) == 5)
        #expect(histogram.percentile(perMille: 1000) == .max)
    }

    @Test func sumsCountWhatBothHaveCounted() {
        var random = SplitMix64(seed: 7)
        var one = LatencyHistogram(), other = LatencyHistogram(), both = LatencyHistogram()
        for index in 0..<5000 {
            let time = UInt64.random(in: 0..<1 << 24, using: &random)
            if index % 3 == 0 { one.record(time) } else { other.record(time) }
            both.record(time)
        }
        one.add(other)
        #expect(one.count == both.count && one.maximum == both.maximum)
        for perMille in 1...1000 { #expect(one.percentile(perMille: perMille) == both.percentile(perMille: perMille)) }
    }

    @Test func ofNothingIsNothing() {
        #expect(LatencyHistogram().percentile(perMille: 999) == 0)
    }
}
