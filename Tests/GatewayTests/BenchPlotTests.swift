import Foundation
import Testing

@testable import Gateway

struct BenchPlotTests {
    private static func row(
        _ path: String, _ direction: String, _ octets: Double, associations: Int = 1, isMixed: Bool = false
    ) -> BenchRow {
        BenchRow(
            path: path, direction: direction, innerOctets: octets, associations: associations,
            cyclesPerPacketMedian: 200 + octets / 8, cyclesPerPacketMin: 190, ioFloorCycles: 30,
            cyclesPerOctet: 200 / octets + 0.125, packetsPerSecond: 1e7, innerBitsPerSecond: octets * 8e7,
            isMixed: isMixed)
    }

    private static let rows = ["software", "null"].flatMap { path in
        ["encap", "decap"].flatMap { direction in
            [64.0, 512, 1420].map { row(path, direction, $0) } + [row(path, direction, 361, isMixed: true)]
        }
    }

    private static func occurrences(_ part: String, in text: String) -> Int {
        text.components(separatedBy: part).count - 1
    }

    @Test func isWellFormedAndReadableAlone() throws {
        let svg = BenchPlot(BenchPlotTests.rows, subtitle: "EPYC <9> & \"friends\"\u{1}, 2026-11-21").svg
        let parser = XMLProbe(svg)
        #expect(parser.isWellFormed)
        for text in [
            "Throughput, encapsulation", "Throughput, decapsulation", "inner Gbit/s",
            "TSC cycles an inner octet (logarithmic)",
            "inner packet, octets (logarithmic)", "EPYC <9> & \"friends\", 2026-11-21", "software", "null", "1420",
        ] { #expect(parser.texts.contains { $0.contains(text) }, "\(text) in \(parser.texts)") }
        // Two panels for each direction, a line for each path in each, and a mark at each size but the mixed one.
        #expect(BenchPlotTests.occurrences("<polyline", in: svg) == 8)
        #expect(BenchPlotTests.occurrences("<circle", in: svg) == 4 * 3 + 1)
    }

    @Test func noTwoPathsLookAlike() {
        let paths = ["software", "inline", "lookaside", "null"]
        let rows = paths.flatMap { path in [64.0, 1420].map { BenchPlotTests.row(path, "encap", $0) } }
        let lines = BenchPlot(rows, subtitle: "").svg.split(separator: "\n").filter { $0.hasPrefix("<polyline") }
        let strokes = lines.compactMap { $0.components(separatedBy: "stroke=\"").last }
        #expect(strokes.count == 8 && Set(strokes).count == 4)
    }

    @Test func linesOfSeveralNumbersOfAssociationsAreNamedByThem() {
        let rows = [1, 10_000].flatMap { count in
            [64.0, 1420].map { BenchPlotTests.row("software", "encap", $0, associations: count) }
        }
        let texts = XMLProbe(BenchPlot(rows, subtitle: "").svg).texts
        #expect(texts.contains("software, 1 SA") && texts.contains("software, 10000 SAs"))
    }

    @Test func everyMarkLiesWithinItsPanel() {
        for scale in [1e-3, 1, 7, 999, 1e6] {
            let axes = [Axis(linearUpTo: scale), Axis(decades: [scale / 300, scale])]
            for axis in axes {
                for value in [scale / 300, scale / 2, scale] { #expect((0...1.000001).contains(axis.place(value))) }
                #expect((2...40).contains(axis.ticks.count), "\(axis.ticks)")
                #expect(axis.ticks == axis.ticks.sorted())
            }
        }
        #expect((0...1).contains(Axis(logarithmic: [64]).place(64)))
    }
}

/// What an XML parser makes of it.
private final class XMLProbe {
    private(set) var isWellFormed = false
    private(set) var texts: [String] = []

    init(_ text: String) {
        // Foundation's parser is a library of its own here; the grammar of what we write is small enough.
        var rest = text[...], open: [Substring] = [], content = ""
        while let start = rest.firstIndex(of: "<") {
            content += rest[..<start]
            guard let end = rest[start...].firstIndex(of: ">") else { return }
            let tag = rest[rest.index(after: start)..<end]
            guard !tag.contains("<"), tag.count(where: { $0 == "\"" }) % 2 == 0 else { return }
            if tag.hasPrefix("/") {
                guard open.popLast() == tag.dropFirst() else { return }
                let plain = content.trimmingCharacters(in: .whitespacesAndNewlines)
                if !plain.isEmpty { texts.append(XMLProbe.unescape(plain)) }
            } else if !tag.hasSuffix("/") {
                open.append(tag.prefix { $0 != " " })
            }
            content = ""
            rest = rest[rest.index(after: end)...]
        }
        let isClean = !text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }
        isWellFormed = open.isEmpty && isClean && rest.allSatisfy(\.isWhitespace)
    }

    private static func unescape(_ text: String) -> String {
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")].reduce(text) {
            $0.replacingOccurrences(of: $1.0, with: $1.1)
        }
    }
}
