import SeededRandom
import Testing
import Wire

// RFC 791 3.1
@Suite("IPv4")
struct IPv4HeaderTests {
    /// A header whose checksum is worked out by hand.
    private static let header = octets("4500 0073 0000 4000 40 11 b861 c0a80001 c0a800c7")

    /// `header` with its checksum made right.
    private static func mended(_ header: [UInt8], length: Int) -> [UInt8] {
        var header = header
        header[10] = 0
        header[11] = 0
        let checksum = ~naiveSum(header.prefix(length))
        header[10] = UInt8(checksum >> 8)
        header[11] = UInt8(checksum & 0xff)
        return header
    }

    /// A packet whose header carries `options`, padded to a word with ends of options.
    private static func packet(options: [UInt8], payload: [UInt8] = [1, 2, 3, 4]) -> [UInt8] {
        let options = options + [UInt8](repeating: 0, count: -options.count & 3)
        let length = 20 + options.count
        var packet = octets("4500 0000 1234 0000 40 11 0000 0a000101 0a000202") + options + payload
        packet[0] = 0x40 | UInt8(length / 4)
        packet[3] = UInt8(packet.count)
        return mended(packet, length: length)
    }

    private static func isWellFormed(_ octets: [UInt8]) -> Bool? {
        var octets = octets
        return octets.withPacketBytes { IPv4Header($0)?.isWellFormed }
    }

    @Test("fields of a header")
    func parse() throws {
        var packet = octets("45b9 0014 1c46 4000 40 11 0000 c0a80001 c0a800c7")
        try packet.withPacketBytes { bytes in
            let header = try #require(IPv4Header(bytes))
            #expect(header.version == 4 && header.headerLength == 20)
            #expect(header.typeOfService == 0xb9)
            #expect(header.totalLength == 20)
            #expect(header.identification == 0x1c46)
            #expect(header.fragmentField == 0x4000 && header.dontFragment)
            #expect(!header.isFragment && !header.isLaterFragment)
            #expect(header.timeToLive == 64 && header.ipProtocol == IPProtocol.udp)
            #expect(header.source == 0xc0a8_0001 && header.destination == 0xc0a8_00c7)
        }
    }

    @Test("emit gives known octets back and nothing beyond")
    func emit() {
        let packet = emitted(22) {
            IPv4Header($0)?.emit(
                totalLength: 0x73, fragment: IPv4Header.Fragment.dontFragment, timeToLive: 64,
                ipProtocol: IPProtocol.udp,
                source: 0xc0a8_0001, destination: 0xc0a8_00c7)
        }
        #expect(packet == IPv4HeaderTests.header + [0xa5, 0xa5])
    }

    @Test("emit puts every field in its place")
    func emitFields() {
        let packet = emitted(20) {
            IPv4Header($0)?.emit(
                typeOfService: 0xb9, totalLength: 0x0203, identification: 0x0405, fragment: 0x2607, timeToLive: 8,
                ipProtocol: 9, source: 0x0c0d_0e0f, destination: 0x1011_1213)
        }
        #expect(
            packet == IPv4HeaderTests.mended(octets("45b9 0203 0405 2607 08 09 0000 0c0d0e0f 10111213"), length: 20))
    }

    @Test(
        "fragments",
        arguments: [
            (0x0000 as UInt16, false, false, false), (0x4000, false, false, true), (0x2000, true, false, false),
            (0x2001, true, true, false), (0x0001, true, true, false), (0x1fff, true, true, false),
            (0x8000, false, false, false), (0x6000, true, false, true),
        ])
    func fragments(field: UInt16, isFragment: Bool, isLater: Bool, dontFragment: Bool) throws {
        var packet = IPv4HeaderTests.header
        try packet.withPacketBytes { bytes in
            bytes.store(field, at: IPv4Header.Offset.fragment)
            let header = try #require(IPv4Header(bytes))
            #expect(header.isFragment == isFragment && header.isLaterFragment == isLater)
            #expect(header.dontFragment == dontFragment)
        }
    }

    @Test("too short", arguments: 0..<20)
    func short(count: Int) { #expect(IPv4HeaderTests.isWellFormed([UInt8](repeating: 0x45, count: count)) == nil) }

    // RFC 1812 5.2.2
    @Test("a change of any bit of the header is noticed")
    func damage() {
        let packet = IPv4HeaderTests.header + [UInt8](repeating: 0, count: 0x73 - 20)
        #expect(IPv4HeaderTests.isWellFormed(packet) == true)
        for bit in 0..<160 {
            var damaged = packet
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(IPv4HeaderTests.isWellFormed(damaged) == false, "bit \(bit)")
        }
    }

    @Test("total length against the buffer and the header")
    func totalLength() {
        for length in 0...60 {
            var header = IPv4HeaderTests.header
            header[3] = UInt8(length)
            header = IPv4HeaderTests.mended(header, length: 20)
            for count in 20...60 {
                let packet = header + [UInt8](repeating: 0, count: count - 20)
                #expect(
                    IPv4HeaderTests.isWellFormed(packet) == (length >= 20 && length <= count), "\(length) in \(count)")
            }
        }
    }

    @Test("versions and header lengths that are none", arguments: 0...255 as ClosedRange<UInt8>)
    func firstOctet(first: UInt8) {
        // Options all no-operation, so that only version and lengths decide.
        var packet = IPv4HeaderTests.header + [UInt8](repeating: 1, count: 44)
        packet[0] = first
        packet[3] = 64
        let length = Int(first & 15) * 4
        packet = IPv4HeaderTests.mended(packet, length: length)
        #expect(IPv4HeaderTests.isWellFormed(packet) == (first >> 4 == 4 && length >= 20))
    }

    @Test(
        "options that are well formed",
        arguments: [
            "01", "00", "01010100", "94040000", "0704040a", "010101 94040000", "44080500 00000000", "ff02",
            "8802 01 00",
            // After the end of options nothing counts (RFC 791 3.1).
            "00 ffffff", "01 00 9400",
        ])
    func options(text: String) {
        #expect(IPv4HeaderTests.isWellFormed(IPv4HeaderTests.packet(options: octets(text))) == true)
    }

    @Test(
        "options that are not",
        arguments: [
            // Without their length octet, with a length below 2, and longer than the header.
            "010101 94", "94000000", "94010000", "94050000", "01 940400", "0728 04 00", "94ffffff", "01010102",
            "01020400",
        ])
    func badOptions(text: String) {
        #expect(IPv4HeaderTests.isWellFormed(IPv4HeaderTests.packet(options: octets(text))) == false)
        // With nothing behind the header, where a look beyond it would trap.
        #expect(IPv4HeaderTests.isWellFormed(IPv4HeaderTests.packet(options: octets(text), payload: [])) == false)
    }

    @Test("an option that reaches to the last of 40 octets, and one that reaches beyond")
    func longestOptions() {
        let record: [UInt8] = [7, 40, 4] + [UInt8](repeating: 0, count: 37)
        #expect(IPv4HeaderTests.isWellFormed(IPv4HeaderTests.packet(options: record)) == true)
        let shifted: [UInt8] = [1] + record.dropLast()
        #expect(IPv4HeaderTests.isWellFormed(IPv4HeaderTests.packet(options: shifted)) == false)
    }

    @Test("a header with options needs its checksum and its length too")
    func optionsChecksum() {
        let packet = IPv4HeaderTests.packet(options: octets("94040000"))
        for bit in 0..<24 * 8 {
            var damaged = packet
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(IPv4HeaderTests.isWellFormed(damaged) == false, "bit \(bit)")
        }
        #expect(IPv4HeaderTests.isWellFormed([UInt8](packet.dropLast())) == false)
        var cut = packet
        cut[3] = 20
        #expect(IPv4HeaderTests.isWellFormed(IPv4HeaderTests.mended(cut, length: 24)) == false)
    }

    // RFC 1624
    @Test("TTL and ECN take the checksum along", arguments: [1 as UInt64, 2])
    func incrementalUpdates(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for step in 0..<2000 {
            var original = IPv4HeaderTests.mended([0x45] + random.octets(19), length: 20)
            if original[8] == 0 { original[8] = 1 }
            original = IPv4HeaderTests.mended(original, length: 20)
            let ecn = UInt8(truncatingIfNeeded: random.next())
            var changed = original
            changed.withPacketBytes { bytes in
                IPv4Header(bytes)?.decrementTimeToLive()
                IPv4Header(bytes)?.setECN(ecn)
            }
            original[8] -= 1
            original[1] = original[1] & 0xfc | ecn & 0x03
            #expect(changed == IPv4HeaderTests.mended(original, length: 20), "seed \(seed), step \(step)")
        }
    }
}
