import IPsec
import SeededRandom
import Testing

@testable import ESP

/// What RFC 4303 section 3.4.3 asks for and nothing clever: the numbers marked so far, and the highest of them.
private struct PlainWindow {
    let size: UInt64
    private(set) var seen: Set<UInt64> = []
    private(set) var highest: UInt64
    /// Up to here all count as marked.
    private let behind: UInt64

    init(size: Int, behind: UInt64 = 0) {
        self.size = UInt64(size)
        self.behind = behind
        highest = behind
    }

    func check(_ number: UInt64) -> DropReason? {
        if number + size <= highest { return .late }
        return number <= behind || seen.contains(number) ? .replayed : nil
    }

    mutating func mark(_ number: UInt64) -> DropReason? {
        if let refused = check(number) { return refused }
        seen.insert(number)
        highest = max(highest, number)
        return nil
    }
}

// RFC 4303 3.4.3
@Suite("Anti-replay window")
struct ReplayWindowTests {
    static let sizes = [64, 128, 256, 512, 1024, 2048, 4096, 8192]

    @Test("the last W numbers are in and the one below is late", arguments: sizes)
    func edges(size: Int) {
        let width = UInt64(size)
        for top: UInt64 in [width, width + 1, 10_000_000, 10_000_063, UInt64(UInt32.max)] {
            var window = ReplayWindow(size: size)
            #expect(window.mark(top) == nil)
            #expect(window.mark(top) == .replayed)
            #expect(window.mark(top - width + 1) == nil)
            #expect(window.mark(top - width + 1) == .replayed)
            #expect(window.mark(top - width) == .late)
            #expect(window.check(top + 1) == nil)
            #expect(window.highest == top)
        }
    }

    @Test("every number of a full window is taken once, in any order", arguments: sizes)
    func fullWindow(size: Int) {
        let top: UInt64 = 1 << 20 + 17
        var window = ReplayWindow(size: size)
        #expect(window.mark(top) == nil)
        var random = SplitMix64(seed: UInt64(size))
        let rest = (top - UInt64(size) + 1..<top).shuffled(using: &random)
        #expect(rest.allSatisfy { window.mark($0) == nil })
        #expect(rest.allSatisfy { window.mark($0) == .replayed })
        #expect(window.highest == top)
    }

    @Test("a jump beyond the whole ring forgets what was there", arguments: sizes)
    func jumps(size: Int) {
        let width = UInt64(size)
        for jump in [width - 1, width, width + 1, 2 * width - 1, 2 * width, 2 * width + 1, 100 * width, 1 << 31] {
            var window = ReplayWindow(size: size)
            for number in 1...2 * width { #expect(window.mark(number) == nil) }
            let top = 2 * width + jump
            #expect(window.mark(top) == nil)
            // Below: what lay in the old window and is still inside, is replayed; all between is fresh.
            for number in top - width + 1..<top {
                #expect(window.check(number) == (number <= 2 * width ? .replayed : nil), "jump \(jump), \(number)")
            }
            #expect(window.check(top - width) == .late)
        }
    }

    /// Numbers at which words and rings begin and end, and what is next to them; anything; and the last without ESN.
    private static func starts(_ size: Int) -> [UInt64] {
        let width = UInt64(size), last = UInt64(UInt32.max)
        var random = SplitMix64(seed: width)
        let corners = [0, 64, 128, width, 2 * width, 3 * width, 1 << 20, last, last + 64].flatMap { corner in
            (corner - min(2, corner))...(corner + 2)
        }
        return corners + (0..<40).map { _ in random.next() % last }
    }

    @Test("a window behind a number takes nothing up to it and everything above", arguments: sizes)
    func startsBehind(size: Int) {
        let width = UInt64(size)
        for behind in ReplayWindowTests.starts(size) {
            let fresh = ReplayWindow(size: size, behind: behind), plain = PlainWindow(size: size, behind: behind)
            #expect(fresh.highest == behind)
            for number in max(1, behind - min(behind, 3 * width))...(behind + 3 * width)
            where fresh.check(number) != plain.check(number) {
                Issue.record("size \(size), behind \(behind): \(number) is \(String(describing: fresh.check(number)))")
                return
            }
            for jump in [1, 2, 63, 64, 65, width - 1, width, width + 1, 2 * width - 1, 2 * width, 1 << 33] {
                var window = ReplayWindow(size: size, behind: behind)
                #expect(window.mark(behind + jump) == nil)
                for number in max(1, behind + jump - min(behind + jump, width + 1))...(behind + jump) {
                    let expected: DropReason? =
                        number + width <= behind + jump
                        ? .late
                        : number <= behind || number == behind + jump
                            ? .replayed : nil
                    guard window.check(number) == expected else {
                        Issue.record("size \(size), behind \(behind), jump \(jump): number \(number)")
                        return
                    }
                }
            }
        }
    }

    @Test("a window behind a number agrees with a plain set", arguments: sizes, [4 as UInt64, 5])
    func behindAgreesWithPlainSet(size: Int, seed: UInt64) {
        var random = SplitMix64(seed: seed ^ UInt64(size) << 32)
        for behind in ReplayWindowTests.starts(size) {
            var window = ReplayWindow(size: size, behind: behind), plain = PlainWindow(size: size, behind: behind)
            for step in 0..<500 {
                let number = ReplayWindowTests.next(around: plain.highest, size: UInt64(size), &random)
                let expected = plain.mark(number)
                guard window.mark(number) == expected && window.highest == plain.highest else {
                    Issue.record("size \(size), seed \(seed), behind \(behind), step \(step): number \(number)")
                    return
                }
            }
        }
    }

    @Test("up to the last number without ESN")
    func lastNumbers() {
        let last = UInt64(UInt32.max)
        var window = ReplayWindow(size: 64)
        for number in last - 200...last { #expect(window.mark(number) == nil) }
        for number in last - 63...last { #expect(window.mark(number) == .replayed) }
        #expect(window.mark(last - 64) == .late)
    }

    @Test("check leaves no trace, and two copies of a burst pass it and are told apart by mark")
    func checkThenMark() {
        var window = ReplayWindow(size: 64)
        #expect(window.mark(100) == nil)
        for number: UInt64 in [101, 5000, 99, 37] {
            #expect(window.check(number) == nil)
            #expect(window.check(number) == nil)
            #expect(window.highest == 100)
        }
        for number: UInt64 in [99, 101] {
            #expect(window.check(number) == nil)
            #expect(window.check(number) == nil)
            #expect(window.mark(number) == nil)
            #expect(window.mark(number) == .replayed)
        }
        // A number that was fine at the check may be late at the mark, when the burst held a jump.
        #expect(window.check(60) == nil)
        #expect(window.mark(1000) == nil)
        #expect(window.mark(60) == .late)
    }

    @Test("agrees with a plain set", arguments: sizes, [1 as UInt64, 2, 3])
    func agreesWithPlainSet(size: Int, seed: UInt64) {
        var random = SplitMix64(seed: seed ^ UInt64(size) << 32)
        var window = ReplayWindow(size: size), plain = PlainWindow(size: size)
        var counts: [DropReason?: Int] = [:]
        for step in 0..<300_000 {
            let number = ReplayWindowTests.next(around: plain.highest, size: UInt64(size), &random)
            let checked = window.check(number), before = window.highest, expected = plain.check(number)
            counts[expected, default: 0] += 1
            guard checked == expected, before == plain.highest, window.mark(number) == plain.mark(number),
                window.highest == plain.highest
            else {
                Issue.record("size \(size), seed \(seed), step \(step): number \(number), expected \(expected as Any)")
                return
            }
        }
        #expect([nil, .late, .replayed].allSatisfy { counts[$0, default: 0] > 1000 }, "size \(size), seed \(seed)")
    }

    /// Mostly near the right edge, often in the window, sometimes at its left edge, rarely a jump beyond the ring.
    private static func next(around highest: UInt64, size: UInt64, _ random: inout SplitMix64) -> UInt64 {
        let choice = random.next(), distance = choice >> 32
        switch choice % 1024 {
        case 0: return highest + size + distance % (size * 4)
        case 1..<16: return max(1, highest + 2 - min(highest, size + distance % 4))
        case 16..<400: return max(1, highest - min(highest, distance % (size + size / 8)))
        default: return highest + 1 + distance % 3
        }
    }
}
