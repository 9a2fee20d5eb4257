import Foundation
import IPsec
import Testing

@Suite("docs/DROPS.md follows from the list of drop reasons")
struct DropDocumentationTests {
    private static let file = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../docs/DROPS.md").standardized

    /// The page as the list makes it. When the list changed: `VPNGW_WRITE_DOCS=1 swift test --filter
    /// DropDocumentation`.
    private static var page: String {
        let rows = DropReason.allCases.map { "| `\($0.name)` | \($0.help) |" }
        return """
            # Why a packet was dropped

            A packet is dropped for one reason: the first that applies, in this order. \
            Reports count them under these names.

            | reason | what it says |
            |---|---|
            \(rows.joined(separator: "\n"))

            """
    }

    @Test("the page is the list")
    func page() throws {
        if ProcessInfo.processInfo.environment["VPNGW_WRITE_DOCS"] != nil {
            try Self.page.write(to: Self.file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: Self.file, encoding: .utf8) == Self.page)
    }
}
