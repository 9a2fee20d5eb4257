import SeededRandom
import Testing
import Wire

// RFC 8200 4
@Suite("IPv6 extension headers")
struct IPv6UpperTests {
    /// A packet whose IPv6 header names `first` and whose payload is `payload`.
    private static func packet(_ first: UInt8, _ payload: [UInt8], behind: [UInt8] = []) -> [UInt8] {
        var header = IPv6HeaderTests.packet.prefix(40) + []
        header[4] = UInt8(payload.count >> 8)
        header[5] = UInt8(payload.count & 0xff)
        header[6] = first
        return header + payload + behind
    }

    private static func walk(_ packet: [UInt8]) -> IPv6Upper? {
        var packet = packet
        return packet.withPacketBytes { IPv6Header($0)?.walk() }
    }

    @Test("nothing between", arguments: [6, 17, 50, 51, 58, 59, 4, 41, 132, 135, 255] as [UInt8])
    func plain(upper: UInt8) {
        let found = IPv6UpperTests.walk(IPv6UpperTests.packet(upper, []))
        #expect(found == IPv6Upper(upperProtocol: upper))
        #expect(found?.hasFragmentHeader == false && found?.isFragment == false)
    }

    /// Made by scapy: hop-by-hop (router alert), destination options, routing of type 0, fragment, destination options.
    @Test("all of them")
    func chain() throws {
        let packet = octets(
            """
            6000000000500040 20010db8000100000000000000000001 20010db8000200000000000000000002
            3c00050200000100 2b01010c000000000000000000000000
            2c0200010000000020010db8000300000000000000000003 3c00000101020304 1100010400000000
            0001000200101111 6162636465666768
            """)
        let found = try #require(IPv6UpperTests.walk(packet))
        #expect(found.upperProtocol == IPProtocol.udp && found.offset == 104 && found.nextHeaderOffset == 96)
        #expect(found.hasRoutingType0)
        #expect(found.fragmentHeaderOffset == 88 && found.fragmentNextHeaderOffset == 64)
        #expect(found.insertionOffset == 96 && found.insertionNextHeaderOffset == 88)
        #expect(found.isFragment && !found.isLaterFragment && found.moreFragments && found.fragmentOffset == 0)
        #expect(found.identification == 0x0102_0304)
    }

    @Test("a later fragment ends the walk, whatever it says comes next")
    func laterFragment() throws {
        for next in [17, 60, 44, 0] as [UInt8] {
            let packet = IPv6UpperTests.packet(44, [next] + octets("00 05c8 01020304 ffff"))
            let found = try #require(IPv6UpperTests.walk(packet))
            #expect(found.upperProtocol == next && found.offset == 48 && found.nextHeaderOffset == 40)
            #expect(found.isFragment && found.isLaterFragment && !found.moreFragments)
            #expect(found.fragmentOffset == 1480 && found.identification == 0x0102_0304)
        }
    }

    // RFC 6946
    @Test("an atomic fragment has the header and is none; reserved bits don't count")
    func atomicFragment() throws {
        let found = try #require(IPv6UpperTests.walk(IPv6UpperTests.packet(44, octets("11ff 0006 01020304"))))
        #expect(found.hasFragmentHeader && !found.isFragment && !found.isLaterFragment)
        #expect(found.upperProtocol == IPProtocol.udp && found.offset == 48)
    }

    // RFC 4303 3.1.1
    @Test("destination options are protected, unless a routing header follows")
    func insertion() throws {
        let options = octets("3a 00 0104 00000000")
        let found = try #require(IPv6UpperTests.walk(IPv6UpperTests.packet(60, options)))
        #expect(found.upperProtocol == IPProtocol.icmpv6 && found.offset == 48 && found.nextHeaderOffset == 40)
        #expect(found.insertionOffset == 40 && found.insertionNextHeaderOffset == 6)
        let routed = octets("2b 00 0104 00000000 3c 00 0400 00000000 11 00 0104 00000000")
        let other = try #require(IPv6UpperTests.walk(IPv6UpperTests.packet(60, routed)))
        #expect(other.upperProtocol == IPProtocol.udp && other.offset == 64 && other.nextHeaderOffset == 56)
        #expect(other.insertionOffset == 56 && other.insertionNextHeaderOffset == 48)
        #expect(!other.hasRoutingType0)
    }

    @Test(
        "chains that don't hold",
        arguments: [
            // Cut in the first eight octets, longer than the packet, hop-by-hop not first, two fragment headers.
            (0, "11000104 000000"), (0, ""), (60, "11010104 00000000"), (43, "11ff0000 00000000"), (44, "110000"),
            (60, "0000010400000000 1100010400000000"), (0, "0000010400000000 1100010400000000"),
            (44, "2c00000000000001 1100000000000001"),
            // RFC 7112: a first fragment that does not have all of the chain.
            (44, "3c00000100000001"), (44, "3c00000100000001 11010104 00000000"),
        ] as [(UInt8, String)])
    func malformed(first: UInt8, payload: String) {
        #expect(IPv6UpperTests.walk(IPv6UpperTests.packet(first, octets(payload))) == nil)
        // Octets behind the packet's end don't mend it.
        let behind = [UInt8](repeating: 0, count: 4096)
        #expect(IPv6UpperTests.walk(IPv6UpperTests.packet(first, octets(payload), behind: behind)) == nil)
    }

    @Test("eight are followed, nine are not")
    func limit() {
        for count in 0...12 {
            let options = (0..<count).flatMap { octets(($0 == count - 1 ? "11" : "3c") + "00010400000000") }
            let found = IPv6UpperTests.walk(IPv6UpperTests.packet(count == 0 ? 17 : 60, options))
            #expect((found != nil) == (count <= 8), "\(count)")
            if let found { #expect(found.offset == 40 + 8 * count && found.upperProtocol == 17) }
        }
    }

    /// The chain as plainly as it can be said, over an array.
    private static func plainWalk(_ packet: [UInt8]) -> (upper: UInt8, offset: Int)? {
        let end = 40 + Int(packet[4]) << 8 + Int(packet[5])
        var next = packet[6], offset = 40, passed = 0, fragments = 0
        while [0, 43, 44, 60].contains(next) {
            passed += 1
            if next == 0 && passed > 1 || passed > 8 || offset + 8 > end { return nil }
            let length = next == 44 ? 8 : 8 + 8 * Int(packet[offset + 1])
            if offset + length > end { return nil }
            if next == 44 {
                fragments += 1
                if fragments > 1 { return nil }
                if (Int(packet[offset + 2]) << 8 + Int(packet[offset + 3])) / 8 != 0 {
                    return (packet[offset], offset + 8)
                }
            }
            next = packet[offset]
            offset += length
        }
        return (next, offset)
    }

    @Test("agrees with a plain walk", arguments: [1 as UInt64, 2, 3, 4])
    func plainModel(seed: UInt64) {
        var random = SplitMix64(seed: seed), whole = 0, long = 0
        for step in 0..<4000 {
            var payload = random.octets(8 * Int.random(in: 0...14, using: &random))
            for offset in stride(from: 0, to: payload.count, by: 8) {
                payload[offset] = ([0, 43, 44, 60, 60, 60, 43, 17, 6] as [UInt8]).randomElement(using: &random) ?? 0
                payload[offset + 1] = UInt8.random(in: 0...2, using: &random)
                if Bool.random(using: &random) { payload[offset + 3] &= 7 }
                payload[offset + 2] = 0
            }
            let first = ([0, 43, 44, 60] as [UInt8]).randomElement(using: &random) ?? 0
            let packet = IPv6UpperTests.packet(first, payload, behind: random.octets(step % 24))
            let found = IPv6UpperTests.walk(packet), plain = IPv6UpperTests.plainWalk(packet)
            #expect(
                found?.upperProtocol == plain?.upper && found?.offset == plain?.offset, "seed \(seed), step \(step)")
            if let found {
                whole += 1
                long += found.offset > 64 ? 1 : 0
                #expect(packet[found.nextHeaderOffset] == found.upperProtocol)
                #expect(found.insertionOffset <= found.offset && found.nextHeaderOffset < found.offset)
                #expect(found.isLaterFragment || found.insertionNextHeaderOffset <= found.nextHeaderOffset)
            }
        }
        #expect(whole > 300 && long > 100, "seed \(seed): \(whole) whole, \(long) long")
    }
}
