import Foundation

/// A point in time as the control API writes it: "2027-01-01T00:00:00Z" (RFC 3339), whole seconds.
struct ControlTime: Sendable, Equatable, Encodable, CustomStringConvertible {
    let secondsSince1970: Int64

    /// Years 1 to 9999, which is what RFC 3339 can write.
    private static let limits: ClosedRange<Int64> = -62_135_596_800...253_402_300_799

    /// Nil outside of the years 1 to 9999.
    init?(secondsSince1970: Int64) {
        guard ControlTime.limits.contains(secondsSince1970) else { return nil }
        self.secondsSince1970 = secondsSince1970
    }

    /// Reads RFC 3339, with Z or an offset, without fractions. Nil for anything else.
    init?(_ text: String) {
        guard text.utf8.count <= 25, let date = try? Date(text, strategy: .iso8601) else { return nil }
        self.init(secondsSince1970: Int64(date.timeIntervalSince1970))
    }

    var description: String {
        Date(timeIntervalSince1970: Double(secondsSince1970)).formatted(.iso8601)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
