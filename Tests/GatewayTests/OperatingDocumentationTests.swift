import Foundation
import IPsec
import Testing

@testable import Gateway

@Suite("What operators read follows from what the program has")
struct OperatingDocumentationTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized

    private func text(_ path: String) throws -> String {
        try String(contentsOf: Self.root.appending(path: path), encoding: .utf8)
    }

    /// When the keys changed: `VPNGW_WRITE_DOCS=1 swift test --filter OperatingDocumentation`.
    @Test("docs/SITE.md is the schema's")
    func siteReference() throws {
        let file = Self.root.appending(path: "docs/SITE.md")
        if ProcessInfo.processInfo.environment["VPNGW_WRITE_DOCS"] != nil {
            try SiteReference.markdown.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try text("docs/SITE.md") == SiteReference.markdown)
    }

    @Test("the manual has every table and key, and no line of it is a macro by mistake")
    func manual() {
        let manual = SiteReference.manual
        for word in [
            "[[tunnel.child]]", "[tunnel.child.inbound]", "\n.B \"mtu_octets\"\n", "an integer from 576 to 9216",
        ] {
            #expect(manual.contains(word), "\(word)")
        }
        let macros: Set<String> = [".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".br", ".EX", ".EE"]
        for line in manual.split(separator: "\n") where line.hasPrefix(".") || line.hasPrefix("'") {
            #expect(macros.contains(String(line.prefix { $0 != " " })), "\(line)")
        }
        var page = Roff(name: "x", section: 1, what: "a\\b")
        page.paragraph(".so /etc/passwd\n'quoted")
        #expect(page.text.contains("a\\eb") && page.text.contains("\n\\&.so") && page.text.contains("\n\\&'quoted"))
    }

    @Test("the troubleshooting guide says of every drop reason what to look at, and knows no other")
    func troubleshooting() throws {
        let sections = try text("docs/guides/troubleshooting.md").components(separatedBy: "\n### `").dropFirst()
        var told: [String: String] = [:]
        for section in sections {
            let parts = section.split(separator: "`", maxSplits: 1)
            told[String(parts[0])] = parts.count == 2 ? parts[1].trimmingCharacters(in: .whitespacesAndNewlines) : ""
        }
        for reason in DropReason.allCases {
            let words = told.removeValue(forKey: reason.name)
            #expect(words?.count ?? 0 > 40, "docs/guides/troubleshooting.md: ### `\(reason.name)`")
        }
        #expect(told.isEmpty, "no drop reasons: \(told.keys.sorted())")
    }

    /// The names of samples that `/metrics` has.
    private static var metrics: Set<String> {
        let text = MetricsText(
            report: ControlMetricsTests.report, associations: [ControlClientTests.association],
            counters: ControlMetricsTests.counters, name: "a"
        ).text
        return Set(
            text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
                String(line.prefix { $0 != "{" && $0 != " " })
            })
    }

    @Test(
        "dashboard, alerts and guides name metrics that there are",
        arguments: [
            "configs/grafana/vpn-gw.json", "configs/prometheus/vpn-gw.rules.yml", "docs/CONTROL.md",
            "docs/guides/tuning.md", "docs/guides/troubleshooting.md",
        ])
    func metricNames(_ path: String) throws {
        let names = Set(try text(path).matches(of: /vpngw_[a-z_]+[a-z]/).map { String($0.output) })
        if path.hasPrefix("configs") { #expect(names.count >= 3) }
        #expect(names.subtracting(Self.metrics) == [], "\(path)")
    }

    @Test("the dashboard is JSON whose panels all ask for something, at places that do not overlap")
    func dashboard() throws {
        let object = try JSONSerialization.jsonObject(with: Data(text("configs/grafana/vpn-gw.json").utf8))
        let panels = try #require((object as? [String: Any])?["panels"] as? [[String: Any]])
        #expect(panels.count >= 8)
        var taken: Set<[Int]> = []
        for panel in panels {
            let targets = try #require(panel["targets"] as? [[String: Any]])
            #expect(targets.allSatisfy { ($0["expr"] as? String)?.isEmpty == false })
            let place = try #require(panel["gridPos"] as? [String: Int])
            let (x, y, width, height) = (place["x"] ?? -1, place["y"] ?? -1, place["w"] ?? 0, place["h"] ?? 0)
            #expect(x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= 24)
            for column in x..<x + width {
                for row in y..<y + height { #expect(taken.insert([column, row]).inserted, "\(panel["title"] ?? "")") }
            }
        }
    }

    @Test("docs/CONTROL.md names every metric")
    func control() throws {
        let text = try text("docs/CONTROL.md")
        for name in Self.metrics { #expect(text.contains("`\(name)`"), "\(name)") }
    }
}
