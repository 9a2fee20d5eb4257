import SeededRandom
import Testing
import Wire

// RFC 9293 3.1, 3.2; RFC 6691
@Suite("TCP")
struct TCPHeaderTests {
    /// SYNs made by scapy: the segment of one in IPv4; of one in IPv6, whose option is at an odd place.
    private static let even = "03e8 0050 00000001 00000000 7002 2000 48dd 0000 020405b4 01 030307"
    private static let evenClamped = "03e8 0050 00000001 00000000 7002 2000 492d 0000 02040564 01 030307"
    private static let odd = "03e8 0050 00000001 00000000 7012 2000 5408 0000 01 020405b4 030307"
    private static let oddClamped = "03e8 0050 00000001 00000000 7012 2000 a408 0000 01 02040564 030307"

    private static func clamped(_ segment: [UInt8], to limit: UInt16) -> (segment: [UInt8], hasChanged: Bool?) {
        var segment = segment
        let hasChanged = segment.withPacketBytes { TCPHeader($0)?.clampMaximumSegmentSize(to: limit) }
        return (segment, hasChanged)
    }

    @Test("fields of a segment")
    func parse() throws {
        var segment = octets(TCPHeaderTests.odd)
        try segment.withPacketBytes { bytes in
            let header = try #require(TCPHeader(bytes))
            #expect(header.sourcePort == 1000 && header.destinationPort == 80 && header.headerLength == 28)
            #expect(header.flags == 0x12 && header.isSynchronize)
        }
    }

    @Test(
        "a SYN's size is lowered as scapy would have sent it, never raised",
        arguments: [(even, evenClamped), (odd, oddClamped)])
    func clamp(before: String, after: String) {
        let lowered = TCPHeaderTests.clamped(octets(before), to: 1380)
        #expect(lowered.segment == octets(after) && lowered.hasChanged == true)
        for limit in [1460, 1461, 65_535] as [UInt16] {
            let kept = TCPHeaderTests.clamped(octets(before), to: limit)
            #expect(kept.segment == octets(before) && kept.hasChanged == false)
        }
    }

    @Test("other segments are left alone")
    func others() {
        for flags in 0...255 as ClosedRange<UInt8> {
            var segment = octets(TCPHeaderTests.even)
            segment[13] = flags
            #expect(TCPHeaderTests.clamped(segment, to: 500).hasChanged == (flags & 2 != 0), "\(flags)")
        }
    }

    @Test(
        "options that don't hold end the walk, and none traps",
        arguments: [
            // The end of options, lengths of 0 and 1, beyond the header, cut before the length, an MSS of another size.
            "00 020405b4 000000", "0800 0204 05b4 0000", "0801 0204 05b4 0000", "0809 0204 05b4 0000",
            "01010101 010101 02", "010101 01 0204 05", "0203 05 020305 0000", "0206 05b4 0000 0101",
        ])
    func malformed(options: String) {
        var segment = [UInt8](octets(TCPHeaderTests.even).prefix(20)) + octets(options)
        segment[12] = UInt8(segment.count / 4) << 4
        #expect(TCPHeaderTests.clamped(segment, to: 500).segment == segment)
        // A header length below the least, or beyond the octets there are.
        for length in 0...15 as ClosedRange<UInt8> {
            segment[12] = length << 4
            _ = TCPHeaderTests.clamped(segment, to: 500)
        }
    }

    @Test("options behind the header's end are payload")
    func payload() {
        var segment = octets(TCPHeaderTests.even)
        segment[12] = 0x50
        #expect(TCPHeaderTests.clamped(segment, to: 500).segment == segment)
    }

    // RFC 1624
    @Test("the checksum follows, at even and odd places", arguments: [1 as UInt64, 2, 3])
    func checksum(seed: UInt64) {
        var random = SplitMix64(seed: seed), changes = 0
        for step in 0..<2000 {
            var options = [UInt8](repeating: 1, count: Int.random(in: 0...5, using: &random))
            options += [2, 4] + random.octets(2) + [UInt8](repeating: 1, count: Int.random(in: 0...5, using: &random))
            options += [UInt8](repeating: 0, count: -options.count & 3)
            var segment = random.octets(20) + options + random.octets(Int.random(in: 0...9, using: &random))
            segment[12] = UInt8((20 + options.count) / 4) << 4
            segment[13] |= 2
            segment[16] = 0
            segment[17] = 0
            let checksum = ~naiveSum(segment)
            segment[16] = UInt8(checksum >> 8)
            segment[17] = UInt8(checksum & 0xff)
            let limit = UInt16.random(in: 0...65_535, using: &random)
            let after = TCPHeaderTests.clamped(segment, to: limit)
            #expect(naiveSum(after.segment) == 0xffff, "seed \(seed), step \(step)")
            changes += after.hasChanged == true ? 1 : 0
            let place = 20 + (options.firstIndex(of: 2) ?? 0) + 2
            let size = UInt16(segment[place]) << 8 | UInt16(segment[place + 1])
            #expect(
                UInt16(after.segment[place]) << 8 | UInt16(after.segment[place + 1]) == min(size, limit),
                "seed \(seed), step \(step)")
            var rest = after.segment
            for index in [16, 17, place, place + 1] { rest[index] = segment[index] }
            #expect(rest == segment, "seed \(seed), step \(step): more changed than the field and the checksum")
        }
        #expect(changes > 500)
    }

    // RFC 6691
    @Test("the size counts fixed headers only")
    func sizes() {
        #expect(TCPHeader.maximumSegmentSize(mtuOctets: 1446, ipHeaderOctets: 20) == 1406)
        #expect(TCPHeader.maximumSegmentSize(mtuOctets: 1446, ipHeaderOctets: 40) == 1386)
        #expect(TCPHeader.maximumSegmentSize(mtuOctets: 30, ipHeaderOctets: 20) == 1)
        #expect(TCPHeader.maximumSegmentSize(mtuOctets: 1 << 20, ipHeaderOctets: 20) == 65_535)
    }

    @Test("too short", arguments: 0..<20)
    func short(count: Int) {
        var segment = [UInt8](repeating: 0xff, count: count)
        #expect(segment.withPacketBytes { TCPHeader($0) == nil })
    }
}
