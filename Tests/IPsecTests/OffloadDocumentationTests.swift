import Foundation
import IPsec
import Testing

@Suite("docs/OFFLOAD.md has the list of reasons for software")
struct OffloadDocumentationTests {
    private static let file = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../docs/OFFLOAD.md").standardized

    /// The page with the table as the list makes it. When the list changed: `VPNGW_WRITE_DOCS=1 swift test --filter
    /// OffloadDocumentation`.
    private static func page(from text: String) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard let head = lines.firstIndex(of: "| reason | what it says |") else { return "" }
        let rest = lines[(head + 2)...].drop { $0.hasPrefix("|") }
        let rows = FallbackReason.allCases.map { "| `\($0.name)` | \($0.help) |" }
        return (lines[..<(head + 2)] + rows + rest).joined(separator: "\n")
    }

    @Test("the table is the list")
    func table() throws {
        let text = try String(contentsOf: Self.file, encoding: .utf8), page = Self.page(from: text)
        if ProcessInfo.processInfo.environment["VPNGW_WRITE_DOCS"] != nil {
            try page.write(to: Self.file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: Self.file, encoding: .utf8) == page)
    }
}
