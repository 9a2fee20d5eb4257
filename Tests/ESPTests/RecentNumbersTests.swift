import SeededRandom
import Testing

@testable import ESP

@Suite("Numbers of about the last second")
struct RecentNumbersTests {
    @Test("a number is recent for as many tenths as are kept, whatever was sent since")
    func tenths() {
        var numbers = RecentNumbers()
        #expect(!numbers.contains(1, tenth: 5))
        numbers.note(100, tenth: 1000)
        #expect(numbers.contains(100, tenth: 1000) && !numbers.contains(99, tenth: 1000))
        #expect(numbers.contains(100, tenth: 1009) && !numbers.contains(100, tenth: 1010))
        numbers.note(200, tenth: 1005)
        #expect(numbers.contains(150, tenth: 1009) && !numbers.contains(150, tenth: 1010))
        #expect(numbers.contains(200, tenth: 1014) && !numbers.contains(200, tenth: 1015))
        numbers.note(300, tenth: 5000)
        #expect(!numbers.contains(299, tenth: 5000) && numbers.contains(300, tenth: 5009))
    }

    @Test("against a list of all that was sent")
    func model() {
        for seed in UInt64(1)...200 {
            var random = SplitMix64(seed: seed)
            var numbers = RecentNumbers(), tenth = UInt64(Int(random.next() % 3)), next: UInt64 = 1
            var sent: [(number: UInt64, tenth: UInt64)] = []
            for _ in 0..<100 {
                tenth += UInt64([0, 0, 1, 2, 9, 10, 11, 500][Int(random.next() % 8)])
                numbers.note(next, tenth: tenth)
                for _ in 0...Int(random.next() % 3) {
                    sent.append((next, tenth))
                    next += 1
                }
                let later = tenth + UInt64(Int(random.next() % 12))
                for one in sent.suffix(40) {
                    let isRecent = later - one.tenth < RecentNumbers.tenths
                    #expect(numbers.contains(one.number, tenth: later) == isRecent, "seed \(seed)")
                }
            }
        }
    }
}
