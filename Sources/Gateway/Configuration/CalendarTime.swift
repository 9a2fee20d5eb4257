import Foundation

/// Dates of the Gregorian calendar and seconds since 1970, leap seconds not counted (POSIX).
enum CalendarTime {
    /// What the site file can say and ISO 8601 writes in four digits: 1970 to 9999.
    static let range: ClosedRange<Int64> = 0...253_402_300_799

    /// Days from 1970-01-01 to a day that there is; negative before. `year` is 0 or later.
    static func days(year: Int, month: Int, day: Int) -> Int {
        // Years begin in March, so that the leap day is the last of its year; counted from 400 before 0.
        let march = month > 2 ? month - 3 : month + 9, year = 400 + (month > 2 ? year : year - 1)
        return year * 365 + year / 4 - year / 100 + year / 400 + (march * 153 + 2) / 5 + day - 1 - daysBefore1970
    }

    /// "2027-01-01T00:00:00Z"; ISO 8601 in UTC. For what is in `range`.
    static func text(_ seconds: Int64) -> String { Date(timeIntervalSince1970: Double(seconds)).formatted(.iso8601) }

    /// From the first of March 400 years before the year 0.
    private static let daysBefore1970 = 719_468 + 146_097
}
