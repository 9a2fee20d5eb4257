import Foundation
import IPsec
import Testing

@testable import Gateway

@Suite("What top shows")
struct TopScreenTests {
    /// A summary as it comes over the socket.
    private func summary(tunnels: Int = 2, drops: Int = 3, workers: Int = 2, name: String = "site-a") throws -> [String:
        Any]
    {
        let summary = ControlView.Summary(
            name: name, version: "1.0.0", uptimeSeconds: 93784, ratesSeconds: 1, rxPackets: 1_000_000_000_000,
            originatedPackets: 5, txPackets: 999_999_999_999, consumedPackets: 1, droppedPackets: 4, inFlightPackets: 1,
            tunnels: .init(count: UInt64(tunnels), up: UInt64(max(0, tunnels - 1)), down: 1, quiet: 0),
            ports: ["lan", "an-unusually-long-port-name"].map {
                .init(
                    name: $0, role: "unprotected", link: $0 == "lan" ? .up : .down, rxPacketsPerSecond: 14_880_952,
                    rxBitsPerSecond: 1e10, txPacketsPerSecond: 12, txBitsPerSecond: 999_499, rxLostPackets: 12345)
            },
            busiestTunnels: (0..<min(32, tunnels)).map {
                .init(
                    name: "tunnel-with-a-long-name-\($0)", state: $0 == 0 ? "down" : "up", remoteAddress: "192.0.2.2",
                    outboundPath: "lookaside", inboundPath: "lookaside", outboundPacketsPerSecond: 1234,
                    outboundBitsPerSecond: 5_600_000, inboundPacketsPerSecond: 0.5, inboundBitsPerSecond: 0)
            },
            drops: DropReason.allCases.prefix(drops).map {
                .init(reason: $0.name, help: $0.help, packets: 12_345_678_901, packetsPerSecond: 3)
            },
            workers: (0..<workers).map { .init(index: $0, core: $0 + 2, busyShare: 0.5, packetsPerSecond: 100) })
        let answer = ControlAnswer(.ok, json: ControlView.summary(summary))
        return try #require(try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any])
    }

    private let printed: (String) -> [Substring] = { frame in
        let plain = frame.replacing(/\u{1b}\[[0-9;]*[A-Za-z]/, with: "")
        return plain.split(separator: "\r\n", omittingEmptySubsequences: false)
    }

    @Test("80 columns and 24 rows hold all of a small gateway")
    func small() throws {
        let lines = TopScreen.lines(of: try summary(), columns: 80, rows: 24)
        #expect(lines.count <= 24)
        // What a reason says may be cut, nothing else is.
        #expect(lines.prefix { !$0.text.hasPrefix("DROPPED") }.allSatisfy { $0.text.count <= 80 })
        let frame = TopScreen.frame(lines, columns: 80, rows: 24, hasColor: false)
        let shown = printed(frame)
        #expect(shown.allSatisfy { $0.count <= 80 } && shown.count <= 24)
        let text = shown.joined(separator: "\n")
        for word in [
            "site-a", "up 1 d 02:03:04", "1 of 2 tunnels up, 1 DOWN", "rx 1.00T", "lan", "an-unusually-…",
            "14.9M",
            "10.0G", "999k", "tunnel-with-a-lon…", "lookaside/lookaside", "1.23k", "5.60M", "malformed", "12345678901",
            "50.0 %", "####################",
        ] {
            #expect(text.contains(word), "\(word)\n\(text)")
        }
    }

    @Test("what has no room is counted, whatever the size", arguments: [1, 5, 10, 16, 24, 40, 100])
    func sizes(rows: Int) throws {
        for tunnels in [0, 1, 32, 100_000] {
            for drops in [0, 5, 40] {
                let lines = TopScreen.lines(
                    of: try summary(tunnels: tunnels, drops: drops, workers: 2), columns: 20, rows: rows)
                #expect(lines.count <= rows)
                let frame = TopScreen.frame(lines, columns: 20, rows: rows, hasColor: true)
                #expect(printed(frame).allSatisfy { $0.count <= 20 } && printed(frame).count <= rows + 1)
            }
        }
        let text = TopScreen.lines(of: try summary(tunnels: 1000), columns: 80, rows: 40)
            .map(\.text).joined(separator: "\n")
        #expect(text.contains(/… 9\d\d more/))
    }

    /// A terminal's columns and rows.
    struct Size: Sendable, CustomTestStringConvertible {
        var columns: Int, rows: Int
        var testDescription: String { "\(columns)x\(rows)" }
    }

    @Test(
        "what is cut says so, and what fits is whole",
        arguments: [(80, 24), (120, 40), (40, 10), (20, 5), (1, 1)].map { Size(columns: $0, rows: $1) })
    func cut(size: Size) throws {
        let names = [
            "münchen-straße-und-noch-viel-länger", "東京本社と大阪支社とのあいだのトンネル", "n\u{308}e\u{301}🚀🚀🚀-rockets-and-more",
        ]
        for name in names {
            var summary = try summary(name: name)
            for list in ["ports", "busiest_tunnels"] {
                let rows = try #require(summary[list] as? [[String: Any]])
                summary[list] = rows.map { $0.merging(["name": name]) { $1 } }
            }
            let lines = TopScreen.lines(of: summary, columns: size.columns, rows: size.rows)
            let shown = printed(
                TopScreen.frame(lines, columns: size.columns, rows: size.rows, hasColor: false))
            #expect(lines.count <= size.rows)
            for (line, text) in zip(lines, shown) {
                #expect(TerminalText.columns(text) <= size.columns, "\(text)")
                #expect(text == line.text || text.hasSuffix("…") && line.text.hasPrefix(text.dropLast()), "\(text)")
            }
            // A terminal with room to spare has whole names; their columns begin one below the other all the same.
            let isWhole = lines.count { $0.text.hasPrefix(name) } == 5
            #expect(isWhole == (size.columns >= 120), "\(shown)")
            let paths = lines.filter { $0.text.contains("lookaside/lookaside") || $0.text.contains("PATH OUT/IN") }
            let starts = paths.compactMap { line -> Int? in
                let start = line.text.range(of: "lookaside/") ?? line.text.range(of: "PATH OUT")
                return start.map { TerminalText.columns(line.text[..<$0.lowerBound]) }
            }
            #expect(Set(starts).count <= 1 && (starts.count == 3 || size.rows < 24), "\(starts)")
        }
        let small = TopScreen.lines(of: try summary(), columns: size.columns, rows: size.rows)
        #expect((small.last?.text == "… and more, on a taller terminal") == (size.rows < 24))
    }

    @Test("columns of a terminal, and cutting to them")
    func columns() {
        let widths = [
            ("", 0), ("abc", 3), ("ü", 1), ("u\u{308}", 1), ("東京", 4), ("한글", 4), ("ﾊﾝｶｸ", 4), ("🚀", 2), ("🇩🇪", 2),
            ("…", 1), ("☎\u{fe0f}", 2),
        ]
        for (text, columns) in widths { #expect(TerminalText.columns(text) == columns, "\(text)") }
        let cuts = [(4, "東京"), (3, "東…"), (2, "…"), (1, "…"), (0, "")]
        for (columns, text) in cuts { #expect(TerminalText.cut("東京", to: columns) == text) }
        #expect(TerminalText.cut("abc", to: 3) == "abc" && TerminalText.cut("abc", to: 2) == "a…")
        #expect(TerminalText.trimmed("  a b  ") == "  a b" && TerminalText.trimmed("   ") == "")
        #expect(TerminalText.presentable("a\u{202e}b\u{1b}") == "a\u{fffd}b\u{fffd}")
    }

    @Test("colour only where it is wanted, and each line cleared behind its end")
    func colour() throws {
        let lines = TopScreen.lines(of: try summary(), columns: 80, rows: 24)
        let plain = TopScreen.frame(lines, columns: 80, rows: 24, hasColor: false)
        #expect(!plain.contains("m") || !plain.contains(/\u{1b}\[[0-9;]*m/))
        let painted = TopScreen.frame(lines, columns: 80, rows: 24, hasColor: true)
        #expect(painted.contains("\u{1b}[1;31m") && painted.contains("\u{1b}[0m"))
        // A full line has nothing behind it, and clearing would take its last character.
        for (line, text) in zip(plain.split(separator: "\r\n").dropLast(), printed(plain)) {
            #expect(line.hasSuffix("\u{1b}[K") == (TerminalText.columns(text) < 80))
        }
        #expect(printed(plain).contains { TerminalText.columns($0) == 80 })
        #expect(plain.hasPrefix("\u{1b}[H") && plain.hasSuffix("\u{1b}[J"))
    }

    @Test("names can't write to the terminal")
    func hostile() throws {
        for line in TopScreen.lines(of: try summary(name: "a\u{1b}[2Jb\u{7}")) {
            #expect(!line.text.unicodeScalars.contains { $0.properties.generalCategory == .control })
        }
        let silent = TopScreen.lines(silent: "no\u{1b}[H answer", since: 3)
        #expect(silent[0].text == "NO ANSWER for 3 s: no\u{fffd}[H answer")
    }

    @Test("numbers have at most six characters")
    func numbers() {
        let expected: [Double: String] = [
            0: "0", 0.5: "0.5", 3: "3", 9.96: "10", 12: "12", 999: "999", 999.6: "1.00k", 1234: "1.23k", 9996: "10.0k",
            123_456: "123k", 999_600: "1.00M", 14_880_952: "14.9M", 1e10: "10.0G", 1e30: ">999P",
        ]
        for (number, text) in expected { #expect(TopScreen.short(number) == text) }
    }

    @Test("an answer without its fields, of another version, is shown without them")
    func empty() {
        #expect(!TopScreen.lines(of: [:], columns: 80, rows: 24).isEmpty)
        #expect(ControlTable.text(.summary, [:]).contains("DROPPED"))
    }
}
