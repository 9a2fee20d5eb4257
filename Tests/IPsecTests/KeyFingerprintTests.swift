import IPsec
import SeededRandom
import Testing

@Suite("Fingerprints")
struct KeyFingerprintTests {
    @Test("a fingerprint is its 64 digits, in the same order", arguments: [1, 2] as [UInt64])
    func digits(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let texts = (0..<200).map { _ in
            String((0..<64).map { _ in "0123456789abcdef".randomElement(using: &random) ?? "0" })
        }
        let read = try texts.map { try #require(KeyFingerprint($0)) }
        #expect(read.map(\.description) == texts)
        #expect(read.map(\.short) == texts.map { String($0.prefix(16)) })
        #expect(read.sorted().map(\.description) == texts.sorted())
        for bad in [
            "", String(texts[0].dropLast()), texts[0] + "0", "g" + String(texts[0].dropFirst()),
            texts[0].uppercased() + "F",
        ] {
            #expect(KeyFingerprint(bad) == nil)
        }
        // Every octet there is, at every place.
        let good = Array(texts[0].utf8)
        for octet in UInt8.min...UInt8.max {
            let isDigit = "0123456789abcdef".utf8.contains(octet)
            for place in good.indices {
                var digits = good
                digits[place] = octet
                let read = KeyFingerprint(digits: digits.span)
                #expect((read != nil) == isDigit)
                if let read { #expect(Array(read.description.utf8) == digits) }
            }
        }
    }
}
