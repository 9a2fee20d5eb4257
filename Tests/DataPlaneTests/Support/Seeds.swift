import Foundation
import SeededRandom

extension SplitMix64 {
    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

    /// True once in `number` times.
    mutating func once(in number: Int) -> Bool { below(number) == 0 }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }
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
