import SeededRandom
import Testing
import Wire

// RFC 8200 3
@Suite("IPv6")
struct IPv6HeaderTests {
    /// UDP from scapy: traffic class 0xb9, flow label 0x12345.
    static let packet = octets(
        """
        6b912345 000b 11 40 20010db8000100000000000000000001 20010db8000200000000000000000002
        1194 1194 000b bcd5 616263
        """)

    @Test("fields of a header")
    func parse() throws {
        var packet = IPv6HeaderTests.packet
        try packet.withPacketBytes { bytes in
            let header = try #require(IPv6Header(bytes))
            #expect(header.version == 6 && header.trafficClass == 0xb9 && header.flowLabel == 0x12345)
            #expect(header.payloadLength == 11 && header.totalLength == 51)
            #expect(header.nextHeader == IPProtocol.udp && header.hopLimit == 64)
            #expect(header.sourceHigh == 0x2001_0db8_0001_0000 && header.sourceLow == 1)
            #expect(header.destinationHigh == 0x2001_0db8_0002_0000 && header.destinationLow == 2)
            #expect(header.source == 0x2001_0db8_0001_0000_0000_0000_0000_0001)
            #expect(header.destination == 0x2001_0db8_0002_0000_0000_0000_0000_0002)
            #expect(header.isWellFormed)
        }
    }

    @Test("emit gives known octets back and nothing beyond")
    func emit() {
        let packet = emitted(42) {
            IPv6Header($0)?.emit(
                trafficClass: 0xb9, flowLabel: 0xfff1_2345, payloadLength: 11, nextHeader: IPProtocol.udp,
                hopLimit: 64,
                source: 0x2001_0db8_0001_0000_0000_0000_0000_0001,
                destination: 0x2001_0db8_0002_0000_0000_0000_0000_0002)
        }
        #expect(packet == IPv6HeaderTests.packet.prefix(40) + [0xa5, 0xa5])
    }

    @Test("payload length against the window, and the version")
    func wellFormed() {
        for length in 0...20 {
            for count in 40...60 {
                for version in 0...15 as ClosedRange<UInt8> {
                    var packet = [UInt8](repeating: 0, count: count)
                    packet[0] = version << 4
                    packet[5] = UInt8(length)
                    let holds = packet.withPacketBytes { IPv6Header($0)?.isWellFormed }
                    #expect(holds == (version == 6 && 40 + length <= count))
                }
            }
        }
        var longest = [UInt8](repeating: 0, count: 65_575)
        longest.replaceSubrange(0..<6, with: octets("60000000ffff"))
        #expect(longest.withPacketBytes { IPv6Header($0)?.isWellFormed } == true)
        longest.removeLast()
        #expect(longest.withPacketBytes { IPv6Header($0)?.isWellFormed } == false)
    }

    @Test("too short", arguments: 0..<40)
    func short(count: Int) {
        var packet = [UInt8](repeating: 0x60, count: count)
        #expect(packet.withPacketBytes { IPv6Header($0) == nil })
    }

    @Test("hop limit and ECN change their bits and no other")
    func changes() {
        for ecn in 0...255 as ClosedRange<UInt8> {
            var packet = IPv6HeaderTests.packet
            packet.withPacketBytes { bytes in
                IPv6Header(bytes)?.decrementHopLimit()
                IPv6Header(bytes)?.setECN(ecn)
                #expect(IPv6Header(bytes)?.trafficClass == 0xb8 | ecn & 3)
            }
            var expected = IPv6HeaderTests.packet
            expected[7] = 63
            expected[1] = 0x81 | (ecn & 3) << 4
            #expect(packet == expected)
        }
    }
}
