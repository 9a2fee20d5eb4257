import Foundation
import SeededRandom
import Testing

@testable import Gateway

@Suite("Calendar")
struct CalendarTimeTests {
    @Test("days are Foundation's, leap years and all", arguments: 1...3 as ClosedRange<UInt64>)
    func days(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = .gmt
        for _ in 0..<3000 {
            let seconds = Int64.random(in: CalendarTime.range, using: &random)
            let parts = calendar.dateComponents(
                [.year, .month, .day], from: Date(timeIntervalSince1970: Double(seconds)))
            let year = try #require(parts.year), month = try #require(parts.month), day = try #require(parts.day)
            #expect(
                CalendarTime.days(year: year, month: month, day: day) == Int(seconds / 86400),
                "seed \(seed): \(year)-\(month)-\(day)")
        }
    }

    @Test(
        "days that are known",
        arguments: [
            (1970, 1, 1, 0), (1969, 12, 31, -1), (1970, 3, 1, 59), (2000, 2, 29, 11016), (2027, 1, 1, 20819),
            (9999, 12, 31, 2_932_896), (0, 1, 1, -719_528), (1, 1, 1, -719_162), (400, 3, 1, -573_371),
        ])
    func known(year: Int, month: Int, day: Int, days: Int) {
        #expect(CalendarTime.days(year: year, month: month, day: day) == days)
    }

    @Test("text is ISO 8601 in UTC", arguments: [(0, "1970-01-01"), (20819, "2027-01-01"), (2_932_896, "9999-12-31")])
    func text(days: Int64, date: String) {
        #expect(CalendarTime.text(days * 86400) == date + "T00:00:00Z")
        #expect(CalendarTime.text(days * 86400 + 86399) == date + "T23:59:59Z")
    }
}
