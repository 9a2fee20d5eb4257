import Foundation

/// Repeats for a seed, which a failing test prints.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

    /// True once in `number` times.
    mutating func once(in number: Int) -> Bool { below(number) == 0 }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

    mutating func octets(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next() >> 32) } }
}

/// The seeds of a test: `standard`, or what VPNGW_TEST_SEEDS says ("7" or "100-199"), to repeat a failure or to look
/// longer.
func seeds(_ standard: ClosedRange<UInt64>) -> [UInt64] {
    guard let asked = ProcessInfo.processInfo.environment["VPNGW_TEST_SEEDS"] else { return Array(standard) }
    let numbers = asked.split(separator: "-").map {
        UInt64($0) ?? { preconditionFailure("VPNGW_TEST_SEEDS=\(asked)") }()
    }
    return Array(numbers[0]...numbers[numbers.count - 1])
}
