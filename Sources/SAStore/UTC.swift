/// Wall clock time as people read it.
public enum UTC {
    /// "2026-11-21T08:00:49Z". Beyond the years 1 to 9999 "second 253402300800 since 1970".
    public static func text(_ secondsSince1970: Int64) -> String {
        guard (-62_135_596_800..<253_402_300_800).contains(secondsSince1970) else {
            return "second \(secondsSince1970) since 1970"
        }
        // Days since 0000-03-01, so that a leap day is the last of its year; 146097 days are 400 years.
        let fromMarchOfYearZero = secondsSince1970 + 719_468 * 86_400
        let second = fromMarchOfYearZero % 86_400, days = fromMarchOfYearZero / 86_400
        let era = days / 146_097, day = days % 146_097
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        let civilYear = era * 400 + year + (civilMonth <= 2 ? 1 : 0)
        let date = padded(civilYear, 4) + "-" + padded(civilMonth, 2) + "-" + padded(dayOfMonth, 2)
        return date + "T" + padded(second / 3600, 2) + ":" + padded(second / 60 % 60, 2) + ":" + padded(second % 60, 2)
            + "Z"
    }

    private static func padded(_ number: Int64, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
