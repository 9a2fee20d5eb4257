import SeededRandom
import Testing

@testable import Gateway

@Suite("A large site's text in pieces")
struct TextPiecesTests {
    /// Lines of a text that is TOML, and those that end one or hide what looks like the head of a table.
    private static let plain = ["[[tunnel]]", "[[tunnel]]", "name = \"a\"", "spi = 256", "# [[tunnel]]", ""]
    private static let odd = [
        "[tunnel.outbound]", "[[tunnel.child]]", "text = \"\"\"", "\"\"\"", "text = '''", "'''", "list = [", "]",
        "  [[tunnel]]", "[[policy]]", "[gateway]", "tunnel = []", "[tunnel]", "[[tunnel]] # one", "[[tunnel]]]",
        "x = \"\\\"\"", "\r",
    ]

    @Test("say what the whole says, or nothing", arguments: 1...8)
    func sameAsWhole(seed: UInt64) throws {
        var random = SplitMix64(seed: seed), agreed = 0
        for _ in 0..<200 {
            let text = (0..<Int.random(in: 2...40, using: &random)).map { number -> String in
                let isOdd = Int.random(in: 0..<12, using: &random) == 0
                let line = (isOdd ? TextPiecesTests.odd : TextPiecesTests.plain).randomElement(using: &random) ?? ""
                // Names differ: a text that says one twice is none.
                return line.contains(" = ") && !isOdd ? "k\(number)\(line)" : line
            }.joined(separator: "\n")
            let octets = Array(text.utf8)
            let ranges = TextPieces(octets, most: 4, least: 8).ranges
            #expect(ranges.flatMap { octets[$0] } == octets, "seed \(seed):\n\(text)")
            guard let pieces = SiteReader.entries(inPiecesOf: octets, most: 4, least: 8) else { continue }
            let whole = try? SiteReader.entries(text)
            let names = pieces.entries.map { $0.name }.sorted()
            #expect(names == whole?.entries.map { $0.name }.sorted(), "seed \(seed):\n\(text)")
            for name in names { #expect(pieces[name] == whole?[name], "seed \(seed), \(name):\n\(text)") }
            agreed += 1
        }
        #expect(agreed > 0, "seed \(seed): no text was read in pieces")
    }

    @Test("are as many as asked for, and each begins with a tunnel of its own")
    func cuts() throws {
        let tunnels = (0..<100).map { "[[tunnel]]\nname = \"t\($0)\"\n" }.joined()
        let text = Array("[gateway]\nname = \"g\"\n\(tunnels)".utf8)
        let ranges = TextPieces(text, most: 3, least: 16).ranges
        #expect(ranges.count == 3)
        for range in ranges.dropFirst() {
            #expect(text[range].starts(with: Array("[[tunnel]]\n".utf8)))
        }
        #expect(TextPieces(text, most: 3, least: 1 << 20).ranges == [0..<text.count])
        #expect(TextPieces([], most: 3, least: 1).ranges == [0..<0])
        let entries = try #require(SiteReader.entries(inPiecesOf: text, most: 3, least: 16))
        #expect(entries["tunnel"] == (try SiteReader.entries(String(decoding: text, as: UTF8.self)))["tunnel"])
        #expect(entries["gateway"] == .table(try SiteReader.entries("name = \"g\"")))
    }

    @Test("an array that is written out gets nothing added, and nothing is said twice")
    func refusals() {
        func pieces(_ text: String) -> ByName<ConfigurationValue>? {
            SiteReader.entries(inPiecesOf: Array(text.utf8), most: 2, least: 4)
        }
        let tunnels = "\n[[tunnel]]\n[[tunnel]]\n"
        #expect(pieces("a = 1\(tunnels)") != nil)
        #expect(pieces("a = 1\(tunnels)[a]\n") == nil)
        #expect(pieces("[[policy]]\(tunnels)[[policy]]\n") == nil)
        #expect(pieces("tunnel = [{}]\(tunnels)") == nil)
        #expect(pieces("[tunnel]\(tunnels)") == nil)
        #expect(pieces("a = '''\(tunnels)'''\n") == nil)
    }

    @Test("shares come back in order, however many there are")
    func shares() {
        for count in [0, 1, 511, 1024, 5000] {
            let shares = Shares.map(count) { Array($0) }
            #expect(shares.flatMap { $0 } == Array(0..<count))
        }
        #expect(Shares.map(3, smallest: 1) { Array($0) }.flatMap { $0 } == [0, 1, 2])
    }
}
