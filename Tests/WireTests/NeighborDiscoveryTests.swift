import SeededRandom
import Testing
import Wire

// RFC 4861. Packets made by scapy.
@Suite("Neighbour discovery")
struct NeighborDiscoveryTests {
    private static let solicitation = octets(
        """
        6000000000203aff fe800000000000000000000000000001 ff0200000000000000000001ff123456
        8700 3792 00000000 20010db80000000000000000ab123456 0101 020000000001
        """)
    private static let advertisement = octets(
        """
        6000000000203aff 20010db80000000000000000ab123456 fe800000000000000000000000000001
        8800 79df e0000000 20010db80000000000000000ab123456 0201 0200000000fe
        """)
    private static let duplicateSearch = octets(
        """
        6000000000183aff 00000000000000000000000000000000 ff0200000000000000000001ff123456
        8700 391e 00000000 20010db80000000000000000ab123456
        """)
    private static let target: UInt128 = 0x2001_0db8 << 96 | 0xab12_3456
    private static let linkLocal: UInt128 = 0xfe80 << 112 | 1

    private static func read(_ packet: [UInt8]) -> NeighborDiscovery? {
        var packet = packet
        return packet.withPacketBytes { bytes in
            IPv6Header(bytes).flatMap { $0.isWellFormed ? NeighborDiscovery($0, offset: 40) : nil }
        }
    }

    /// `packet` after `change`, its length and checksum made right: what is wrong with it is the change alone.
    private static func mended(_ packet: [UInt8], _ change: (inout [UInt8]) -> Void) -> [UInt8] {
        var packet = packet
        change(&packet)
        packet[4] = UInt8((packet.count - 40) >> 8)
        packet[5] = UInt8((packet.count - 40) & 0xff)
        packet[42] = 0
        packet[43] = 0
        let pseudo = packet[8..<40] + [0, 0, packet[4], packet[5], 0, 0, 0, 58]
        let checksum = ~naiveSum(pseudo + packet[40...])
        packet[42] = UInt8(checksum >> 8)
        packet[43] = UInt8(checksum & 0xff)
        return packet
    }

    @Test("fields of a solicitation")
    func solicitation() throws {
        let message = try #require(NeighborDiscoveryTests.read(NeighborDiscoveryTests.solicitation))
        #expect(message.isSolicitation && message.target == NeighborDiscoveryTests.target)
        #expect(message.source == NeighborDiscoveryTests.linkLocal)
        #expect(message.destination == NeighborDiscovery.solicitedNode(of: message.target))
        #expect(message.linkLayerAddress == MACAddress(rawValue: 0x0200_0000_0001))
        #expect(!message.isRouter && !message.isSolicited && !message.overrides)
    }

    @Test("fields of an advertisement")
    func advertisement() throws {
        let message = try #require(NeighborDiscoveryTests.read(NeighborDiscoveryTests.advertisement))
        #expect(!message.isSolicitation && message.target == NeighborDiscoveryTests.target)
        #expect(message.source == message.target && message.destination == NeighborDiscoveryTests.linkLocal)
        #expect(message.linkLayerAddress == MACAddress(rawValue: 0x0200_0000_00fe))
        #expect(message.isRouter && message.isSolicited && message.overrides)
        for (flags, router, solicited, overrides) in [
            (0x80 as UInt8, true, false, false), (0x40, false, true, false), (0x20, false, false, true),
            (0x1f, false, false, false),
        ] {
            let other = try #require(
                NeighborDiscoveryTests.read(
                    NeighborDiscoveryTests.mended(NeighborDiscoveryTests.advertisement) { $0[44] = flags }))
            #expect(other.isRouter == router && other.isSolicited == solicited && other.overrides == overrides)
        }
    }

    // RFC 4862 5.4
    @Test("somebody who looks for a duplicate has no address")
    func duplicateSearch() throws {
        let message = try #require(NeighborDiscoveryTests.read(NeighborDiscoveryTests.duplicateSearch))
        #expect(message.isSolicitation && message.source == 0 && message.linkLayerAddress == nil)
    }

    @Test("emit gives scapy's octets and nothing beyond")
    func emit() {
        let asked = emitted(74) {
            NeighborDiscovery.emitSolicitation(
                $0, source: NeighborDiscoveryTests.linkLocal, mac: MACAddress(rawValue: 0x0200_0000_0001),
                target: NeighborDiscoveryTests.target)
        }
        #expect(asked == NeighborDiscoveryTests.solicitation + [0xa5, 0xa5])
        let answered = emitted(74) {
            NeighborDiscovery.emitAdvertisement(
                $0, target: NeighborDiscoveryTests.target, mac: MACAddress(rawValue: 0x0200_0000_00fe),
                destination: NeighborDiscoveryTests.linkLocal, isSolicited: true)
        }
        #expect(answered == NeighborDiscoveryTests.advertisement + [0xa5, 0xa5])
        #expect(NeighborDiscovery.packetOctets == 72)
    }

    @Test("what is emitted is valid, to one neighbour and to all")
    func emittedIsValid() throws {
        let probe = emitted(72) {
            NeighborDiscovery.emitSolicitation(
                $0, source: 1, mac: MACAddress(rawValue: 2), target: 3 << 64 | 4, destination: 3 << 64 | 4)
        }
        #expect(try #require(NeighborDiscoveryTests.read(probe)).destination == 3 << 64 | 4)
        let toAll = emitted(72) {
            NeighborDiscovery.emitAdvertisement(
                $0, target: 1, mac: MACAddress(rawValue: 2), destination: NeighborDiscovery.allNodes,
                isSolicited: false, overrides: false)
        }
        let message = try #require(NeighborDiscoveryTests.read(toAll))
        #expect(message.isRouter && !message.isSolicited && !message.overrides)
        #expect(toAll[24..<40] == octets("ff020000000000000000000000000001")[...])
    }

    // RFC 4861 7.1.1, 7.1.2
    @Test("what section 7.1 says to discard")
    func discarded() {
        let solicitation = NeighborDiscoveryTests.solicitation, advertisement = NeighborDiscoveryTests.advertisement
        let search = NeighborDiscoveryTests.duplicateSearch
        let cases: [(String, [UInt8], (inout [UInt8]) -> Void)] = [
            ("hop limit", solicitation, { $0[7] = 254 }), ("hop limit", advertisement, { $0[7] = 64 }),
            ("code", solicitation, { $0[41] = 1 }), ("code", advertisement, { $0[41] = 1 }),
            ("type", solicitation, { $0[40] = 134 }),
            ("length", solicitation, { $0.removeLast(9) }), ("length", search, { $0.removeLast() }),
            ("target", solicitation, { $0[48] = 0xff }), ("target", advertisement, { $0[48] = 0xff }),
            ("option of no length", solicitation, { $0[65] = 0 }), ("option too long", solicitation, { $0[65] = 2 }),
            ("option cut", solicitation, { $0 += [14, 1, 0] }),
            ("other option of no length", advertisement, { $0 += [14, 0, 0, 0, 0, 0, 0, 0] }),
            (
                "address too long", solicitation,
                {
                    $0[65] = 2; $0 += [UInt8](repeating: 0, count: 8)
                }
            ),
            ("search names its sender", search, { $0 += [1, 1, 2, 0, 0, 0, 0, 1] }),
            ("search goes to one", search, { $0.replaceSubrange(24..<40, with: $0[48..<64]) }),
            ("search goes to another group", search, { $0[39] ^= 1 }),
            ("solicited to a group", advertisement, { $0[24] = 0xff }),
            ("source is a group", advertisement, { $0[8] = 0xff }),
        ]
        for (what, packet, change) in cases {
            #expect(NeighborDiscoveryTests.read(packet) != nil)
            #expect(NeighborDiscoveryTests.read(NeighborDiscoveryTests.mended(packet, change)) == nil, "\(what)")
        }
    }

    @Test("other options are passed over, before and behind; the first address counts")
    func otherOptions() throws {
        let packet = NeighborDiscoveryTests.mended(NeighborDiscoveryTests.solicitation) { packet in
            packet.insert(contentsOf: [14, 2] + [UInt8](repeating: 7, count: 14), at: 64)
            packet += [2, 1, 9, 9, 9, 9, 9, 9] + [1, 1, 8, 8, 8, 8, 8, 8]
        }
        let message = try #require(NeighborDiscoveryTests.read(packet))
        #expect(message.linkLayerAddress == MACAddress(rawValue: 0x0200_0000_0001))
    }

    @Test("a change of any bit is noticed")
    func damage() {
        for packet in [NeighborDiscoveryTests.solicitation, NeighborDiscoveryTests.advertisement] {
            for bit in 7 * 8..<packet.count * 8 {
                var damaged = packet
                damaged[bit / 8] ^= 1 << UInt8(bit % 8)
                #expect(NeighborDiscoveryTests.read(damaged) == nil, "bit \(bit)")
            }
        }
    }

    // RFC 4291 2.7.1, RFC 2464 7
    @Test("groups of an address")
    func groups() {
        let address: UInt128 = 0x4037 << 112 | 0x0001_0800_200e_8c6c
        let group = NeighborDiscovery.solicitedNode(of: address)
        let expected: UInt128 = 0xff02 << 112 | 0x01_ff0e_8c6c
        #expect(group == expected)
        #expect(NeighborDiscovery.groupMAC(of: group).description == "33:33:ff:0e:8c:6c")
        #expect(NeighborDiscovery.groupMAC(of: NeighborDiscovery.allNodes).description == "33:33:00:00:00:01")
        #expect(NeighborDiscovery.isMulticast(group) && !NeighborDiscovery.isMulticast(address))
    }
}
