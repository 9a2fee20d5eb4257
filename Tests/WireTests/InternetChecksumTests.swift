import SeededRandom
import Testing
import Wire

// RFC 1071, RFC 1624
@Suite("Internet checksum")
struct InternetChecksumTests {
    @Test("agrees with a plain loop for every length to 300 and some larger ones", arguments: [1 as UInt64, 2, 3])
    func plainLoop(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for length in Array(0...300) + [1499, 1500, 9000, 65_535] {
            var data = random.octets(length)
            let sum = UInt16(bigEndian: data.withPacketBytes { InternetChecksum.sum($0) })
            #expect(sum == naiveSum(data), "seed \(seed), length \(length)")
        }
    }

    @Test("the most carries there can be", arguments: [1, 2, 3, 4, 19, 20, 65_534, 65_535])
    func allOnes(length: Int) {
        var data = [UInt8](repeating: 0xff, count: length)
        #expect(UInt16(bigEndian: data.withPacketBytes { InternetChecksum.sum($0) }) == naiveSum(data))
    }

    @Test("folds any 64 bits like their remainder, and zero only from zero")
    func fold() {
        var random = SplitMix64(seed: 4)
        for sum in [0, 1, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, .max] + (0..<10_000).map({ _ in random.next() })
        {
            let folded = UInt64(InternetChecksum.fold(sum))
            #expect(folded % 0xffff == sum % 0xffff && (folded == 0) == (sum == 0), "\(sum)")
        }
    }

    @Test("of a header without options", arguments: [5 as UInt64, 6])
    func minimalHeader(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<2000 {
            var header = random.octets(20)
            let sum = header.withPacketBytes { InternetChecksum.sumOfMinimalHeader($0) }
            #expect(UInt16(bigEndian: sum) == naiveSum(header), "seed \(seed)")
            #expect(header.withPacketBytes { InternetChecksum.isIntactMinimalHeader($0) } == (sum == 0xffff))
            // With the checksum that makes it whole, and with one bit of it wrong.
            (header[10], header[11]) = (0, 0)
            let whole = ~naiveSum(header)
            (header[10], header[11]) = (UInt8(whole >> 8), UInt8(whole & 0xff))
            #expect(header.withPacketBytes { InternetChecksum.isIntactMinimalHeader($0) }, "seed \(seed)")
            header[Int.random(in: 0..<20, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            #expect(!header.withPacketBytes { InternetChecksum.isIntactMinimalHeader($0) }, "seed \(seed)")
        }
    }

    // RFC 1624 3, equation 3, and the example of its section 4.
    @Test("follows a changed field")
    func update() {
        #expect(InternetChecksum.updated(0xdd2f, from: 0x5555, to: 0x3285) == 0x0000)
        var random = SplitMix64(seed: 7)
        for step in 0..<5000 {
            // Never all zero: then, and only then, 0 and 0xffff are different sums.
            var data = random.octets(40)
            data[0] |= 0x40
            data[10] = 0
            data[11] = 0
            let before = data.withPacketBytes { ~InternetChecksum.sum($0) }
            let field = 12 + 2 * Int.random(in: 0..<14, using: &random)
            let after = data.withPacketBytes { bytes -> (recomputed: UInt16, updated: UInt16) in
                let old = bytes.word16(at: field), new = UInt16(truncatingIfNeeded: random.next() | random.next())
                bytes.store(word: new, at: field)
                return (~InternetChecksum.sum(bytes), InternetChecksum.updated(before, from: old, to: new))
            }
            #expect(after.recomputed == after.updated, "step \(step)")
        }
    }
}
