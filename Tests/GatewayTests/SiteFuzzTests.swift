import SeededRandom
import Testing

@testable import Gateway

@Suite("Site files, broken at random")
struct SiteFuzzTests {
    private static let pieces = [
        "\"", "'", "\"\"\"", "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "#", "\n", "\\", "\\u0000", "\u{0}",
        "\u{e000}",
        "\u{e000}0\u{e000}", "0x", "-1", "9223372036854775807", "99999999999999999999", "1979-05-27", "true", "nan",
        "::1",
        "0.0.0.0/0", "/33", "é", "\u{1b}[31m", "key", "spi", "tunnel", "port", "255", "inf", " ", "\t", "\r",
        "child", "[[tunnel.child]]\n", "[tunnel.child]\n", "[tunnel.child.outbound]\n", "outbound = { spi = 256, ",
        "0000",
        "not_before = ", "2027-01-01T00:00:00Z", "1969-12-31T23:59:59-23:59", "9999-12-31T23:59:59", ".5", "+01:00",
        "T",
        "soft_lifetime_packets = 1\n", "hard_lifetime_octets = 0x7fffffffffffffff\n", "hook_command = [\"/x\"]\n",
        "fe80::1", "::ffff:1.2.3.4", "ff02::1", "/129", "/64", "::", "mode = \"transport\"\n", "aes-256-gcm-8",
        "ah-aes-128-gmac", "icv_octets = 12\n", "nat_traversal = true\n", "dscp = \"ef\"\n", "icmp_types = \"3/4\"\n",
        "protocol = \"icmpv6\"\n", "[punt]\n", "tfc_padding_octets = 1400\n", "extended_sequence_numbers = true\n",
        "key_file = \"$CREDENTIALS_DIRECTORY/x\"", "${HOME}",
    ]

    @Test("no mutation traps, and no problem shows a key", arguments: 1...4 as ClosedRange<UInt64>)
    func mutations(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var read = 0, refused = 0
        for round in 0..<1000 {
            let text = round % 3 == 1 ? dualSite : goodSite
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            var octets = Array(text.utf8)
            if round % 4 == 0 {
                var shuffled = lines
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let from = Int.random(in: shuffled.indices, using: &random)
                    let to = Int.random(in: shuffled.indices, using: &random)
                    shuffled[to] = round % 8 == 0 ? shuffled[from] : shuffled[to] + shuffled[from]
                }
                octets = Array(shuffled.joined(separator: "\n").utf8)
            }
            for _ in 0..<Int.random(in: 0...4, using: &random) { SiteFuzzTests.mutate(&octets, &random) }
            var files = MemoryFiles().reader
            let contents = octets
            files.read = { path, _ in
                path == "site.toml"
                    ? .success(FileReader.Contents(octets: contents, permissions: 0o644))
                    : .failure(FileReader.Failure(errorNumber: 2))
            }
            let credentials = CredentialsDirectory(round % 3 == 0 ? "/run/credentials" : nil)
            let mode = SiteReader.Mode.allCases[round % SiteReader.Mode.allCases.count]
            let all: [ConfigurationProblem], site: Site?
            do {
                let reading = try SiteReader(files: files, credentials: credentials).read(path: "site.toml", mode: mode)
                (all, site) = (reading.problems, reading.site)
                read += 1
            } catch {
                (all, site) = (error.problems, nil)
                refused += 1
                #expect(
                    all.contains { $0.severity == .error }, "seed \(seed), round \(round): refused without a reason")
            }
            let report = CheckReport(site: site, problems: all)
            for text in [report.text, report.json] where TestKeys.leak(in: text) {
                Issue.record("seed \(seed), round \(round): a key shows in\n\(text)")
                return
            }
            let lineCount = contents.count { $0 == UInt8(ascii: "\n") } + 1
            #expect(
                all.allSatisfy { $0.line.map { (1...lineCount).contains($0) } ?? true }, "seed \(seed), round \(round)")
        }
        #expect(read > 20 && refused > 500, "seed \(seed): \(read) read, \(refused) refused")
    }

    private static func mutate(_ octets: inout [UInt8], _ random: inout SplitMix64) {
        guard !octets.isEmpty else { return }
        let place = Int.random(in: octets.indices, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: octets[place] = UInt8.random(in: 0...255, using: &random)
        case 1: octets.insert(contentsOf: (pieces.randomElement(using: &random) ?? "").utf8, at: place)
        case 2: octets.removeSubrange(place..<min(octets.count, place + Int.random(in: 1...20, using: &random)))
        case 3:
            let end = min(octets.count, place + Int.random(in: 1...60, using: &random))
            octets.insert(contentsOf: octets[place..<end], at: Int.random(in: octets.indices, using: &random))
        default: octets[place] ^= 1 << UInt8.random(in: 0..<7, using: &random)
        }
    }
}
