import Foundation
import IPsec
import Testing

@testable import Gateway

@Suite("What a table leaves out where a terminal is narrow")
struct ControlTableTests {
    /// SAs of two tunnels, with the longest that there is of most.
    static var sas: [String: Any] {
        [
            "sas": ["site-b", "frankfurt-to-tokyo"].map { name in
                [
                    "tunnel": name, "direction": "outbound", "spi": "0x00001001", "state": "current",
                    "path": "lookaside",
                    "algorithm": "aes-128-gcm-16", "mode": "tunnel", "worker": 3, "packets": 123_456_789,
                    "octets": 123_456_789_012, "sequence_number": 123_456_789, "origin": "file",
                    "not_before": "2027-01-01T00:00:00Z", "key_fingerprint": "0123456789abcdef",
                    "nat_traversal_peer": "[2001:db8:1111:2222:3333:4444:5555:6666]:4500",
                ]
            }
        ]
    }

    private func lines(_ text: String) -> [String] {
        text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    }

    @Test(
        "SAs behind NATs with IPv6 addresses fit every width from 80 columns on", arguments: [80, 100, 120, 160, 200])
    func associations(columns: Int) throws {
        let text = lines(ControlTable.text(.sa, ControlTableTests.sas, columns: columns))
        #expect(text.count == 4 && text.allSatisfy { TerminalText.columns($0) <= columns }, "\(text)")
        for title in ["TUNNEL", "DIRECTION", "SPI", "STATE", "PACKETS"] { #expect(text[0].contains(title)) }
        // Each title is in the table or named below.
        let all = lines(ControlTable.text(.sa, ControlTableTests.sas))[0]
        let titles = all.split(separator: #/  +/#)
        #expect(titles.count == 15 && text[3].hasPrefix("--wide shows "))
        let hidden = text[3].dropFirst(13).split(separator: ", ")
        let shown = text[0].split(separator: #/  +/#)
        #expect(Set(hidden).isDisjoint(with: shown))
        #expect(text[3].hasSuffix("…") || Set(hidden).union(shown) == Set(titles), "\(text)")
    }

    @Test("without a terminal, with --wide and where there is room all columns are there")
    func whole() {
        let all = ControlTable.text(.sa, ControlTableTests.sas)
        #expect(lines(all).count == 3 && !all.contains("--wide") && all.contains("[2001:db8:1111:2222:3333:4444"))
        #expect(ControlTable.text(.sa, ControlTableTests.sas, columns: 400) == all)
        let widest = lines(all).map(TerminalText.columns).max() ?? 0
        #expect(ControlTable.text(.sa, ControlTableTests.sas, columns: widest) == all)
        #expect(ControlTable.text(.sa, ControlTableTests.sas, columns: widest - 1).contains("--wide shows ORIGIN\n"))
    }

    @Test("columns without a value go first, and nobody is told of them")
    func empty() throws {
        var row = try #require((ControlTableTests.sas["sas"] as? [[String: Any]])?.first)
        row["nat_traversal_peer"] = nil
        row["not_before"] = nil
        let sas = ["sas": [row]], whole = lines(ControlTable.text(.sa, sas))
        let widest = whole.map(TerminalText.columns).max() ?? 0
        #expect(whole[0].contains("NAT PEER") && whole[1].contains("  -  "))
        let text = lines(ControlTable.text(.sa, sas, columns: widest - 1))
        #expect(text.count == 2 && !text[0].contains("NAT PEER") && text[0].contains("ORIGIN"), "\(text)")
    }

    @Test("sentences are cut with a sign, and wide characters take two columns")
    func prose() {
        let drops: [String: Any] = [
            "drops": Dictionary(uniqueKeysWithValues: DropReason.allCases.map { ($0.name, 1) }),
            "help": Dictionary(uniqueKeysWithValues: DropReason.allCases.map { ($0.name, $0.help) }),
        ]
        let text = lines(ControlTable.text(.drops, drops, columns: 60))
        #expect(text.count == DropReason.allCases.count + 1 && text.allSatisfy { TerminalText.columns($0) <= 60 })
        #expect(text.contains { $0.hasSuffix("…") } && !text.contains { $0.contains("--wide") })
        let routes = ["routes": ["東京", "a"].map { ["destination": $0, "via": "v", "port": "p", "kind": "static"] }]
        let starts = lines(ControlTable.text(.routes, routes, columns: 80)).dropFirst().map { line in
            line.firstIndex(of: "v").map { TerminalText.columns(line[..<$0]) }
        }
        #expect(starts == [13, 13], "\(starts)")
    }

    @Test("every table fits 80 columns, with its longest words", arguments: ControlSubject.allCases)
    func everything(subject: ControlSubject) throws {
        let view = Sample.views[try #require(ControlSubject.allCases.firstIndex(of: subject))]
        let text = try ControlTable.text(subject, of: view, port: nil, json: false, columns: 80)
        #expect(lines(text).allSatisfy { TerminalText.columns($0) <= 80 }, "\(text)")
        // Whatever the width, JSON has all of it.
        let json = try ControlTable.text(subject, of: view, port: nil, json: true, columns: 10)
        #expect(try json == ControlTable.text(subject, of: view, port: nil, json: true, columns: nil))
    }
}
