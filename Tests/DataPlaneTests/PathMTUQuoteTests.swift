import IPsec
import SeededRandom
import Testing
import Wire

@testable import DataPlane

// RFC 1191, RFC 8201. Messages made by scapy.
@Suite("Path MTU quotes")
struct PathMTUQuoteTests {
    private static let quoted = "450005dc00074000403248b3c0000201c6336401"
    private static let esp = hex("0304e72d00000578" + quoted + "0000100100000055")
    private static let old = hex("0304eca500000000" + quoted + "0000100100000055")
    private static let natTraversal = hex(
        "0304e3db00000578 450000240007400040114e8cc0000201c6336401 1194ee4800100365 0000100100000055")
    private static let esp6 = hex(
        """
        6000000000383a40 20010db8000900000000000000000009 20010db8000000000000000000000001
        0200990c00000578 6000000005783240 20010db8000000000000000000000001 20010db8000000000000000000000002
        0000100100000055
        """)
    private static let ah6 = hex(
        """
        6000000000483a40 20010db8000900000000000000000009 20010db8000000000000000000000001
        020076db00000578 6000000005783340 20010db8000000000000000000000001 20010db8000000000000000000000002
        0000000000001001 00000055303030303030303030303030
        """)

    private static func read(_ message: [UInt8]) -> PathMTUQuote? {
        var message = message
        return message.withPacketBytes { PathMTUQuote(icmpv4: $0) }
    }

    private static func read6(_ packet: [UInt8]) -> PathMTUQuote? {
        var packet = packet
        return packet.withPacketBytes { bytes in
            guard let header = IPv6Header(bytes) else { return nil }
            return PathMTUQuote(
                icmpv6: bytes.dropFirst(40),
                pseudoHeader: header.pseudoHeader(upperProtocol: 58, length: bytes.count - 40))
        }
    }

    /// `message` after a change, with its checksum right.
    private static func mended(_ message: [UInt8], _ change: (inout [UInt8]) -> Void) -> [UInt8] {
        var message = message
        change(&message)
        guard message.count >= 4 else { return message }
        message.replaceSubrange(2..<4, with: [0, 0])
        message.replaceSubrange(2..<4, with: bigEndian(~onesComplementSum(message)))
        return message
    }

    private static func mended6(_ packet: [UInt8], _ change: (inout [UInt8]) -> Void) -> [UInt8] {
        var packet = packet
        change(&packet)
        packet.replaceSubrange(42..<44, with: [0, 0])
        let pseudo = packet[8..<40] + bigEndian(UInt32(packet.count - 40)) + [0, 0, 0, 58]
        packet.replaceSubrange(42..<44, with: bigEndian(~onesComplementSum([UInt8](pseudo + packet[40...]))))
        return packet
    }

    @Test("ESP over IPv4")
    func overIPv4() throws {
        let quote = try #require(PathMTUQuoteTests.read(PathMTUQuoteTests.esp))
        #expect(quote.source == IPAddress("192.0.2.1") && quote.destination == IPAddress("198.51.100.1"))
        #expect(quote.mtuOctets == 1400 && quote.protection == .esp)
        #expect(quote.spi == 0x1001 && quote.sequenceNumber == 0x55)
    }

    @Test("ESP in UDP")
    func inUDP() throws {
        let quote = try #require(PathMTUQuoteTests.read(PathMTUQuoteTests.natTraversal))
        #expect(quote.protection == .espInUDP(destinationPort: 61_000) && quote.mtuOctets == 1400)
        #expect(quote.spi == 0x1001 && quote.sequenceNumber == 0x55)
        let isIKE = PathMTUQuoteTests.mended(PathMTUQuoteTests.natTraversal) {
            $0.replaceSubrange(36..<40, with: [0, 0, 0, 0])
        }
        #expect(PathMTUQuoteTests.read(isIKE) == nil)
        let otherPort = PathMTUQuoteTests.mended(PathMTUQuoteTests.natTraversal) { $0[29] = 0x95 }
        #expect(PathMTUQuoteTests.read(otherPort) == nil)
    }

    @Test("ESP and AH over IPv6")
    func overIPv6() throws {
        let quote = try #require(PathMTUQuoteTests.read6(PathMTUQuoteTests.esp6))
        #expect(quote.source == IPAddress("2001:db8::1") && quote.destination == IPAddress("2001:db8::2"))
        #expect(quote.mtuOctets == 1400 && quote.protection == .esp && quote.spi == 0x1001)
        let other = try #require(PathMTUQuoteTests.read6(PathMTUQuoteTests.ah6))
        #expect(other.protection == .ah && other.spi == 0x1001 && other.sequenceNumber == 0x55)
    }

    // RFC 1191 7.1
    @Test(
        "an MTU of 0 means the next plateau",
        arguments: [
            (1500, 1492), (1492, 1006), (65_535, 32_000), (69, 68), (577, 508), (9000, 8166), (68, nil), (0, nil),
        ] as [(Int, Int?)])
    func plateaus(length: Int, mtu: Int?) {
        let message = PathMTUQuoteTests.mended(PathMTUQuoteTests.old) {
            $0.replaceSubrange(10..<12, with: bigEndian(UInt16(length)))
        }
        #expect(PathMTUQuoteTests.read(message)?.mtuOctets == mtu)
    }

    @Test("MTUs that no link has")
    func smallest() {
        for mtu in [1, 67, 68, 1279, 1280, 65_535] {
            let message = PathMTUQuoteTests.mended(PathMTUQuoteTests.esp) {
                $0.replaceSubrange(6..<8, with: bigEndian(UInt16(mtu)))
            }
            #expect(PathMTUQuoteTests.read(message)?.mtuOctets == (mtu < 68 ? nil : mtu))
            let other = PathMTUQuoteTests.mended6(PathMTUQuoteTests.esp6) {
                $0.replaceSubrange(44..<48, with: bigEndian(UInt32(mtu)))
            }
            #expect(PathMTUQuoteTests.read6(other)?.mtuOctets == (mtu < 1280 ? nil : mtu))
        }
        let huge = PathMTUQuoteTests.mended6(PathMTUQuoteTests.esp6) { $0[44] = 0xff }
        #expect(PathMTUQuoteTests.read6(huge)?.mtuOctets == 65_535)
    }

    @Test("cut anywhere before the sequence number's end, it is not believed")
    func cut() {
        for message in [PathMTUQuoteTests.esp, PathMTUQuoteTests.natTraversal] {
            for count in 0..<message.count {
                let short = PathMTUQuoteTests.mended(message) { $0.removeLast($0.count - count) }
                #expect(PathMTUQuoteTests.read(short) == nil, "\(count)")
            }
            #expect(PathMTUQuoteTests.read(PathMTUQuoteTests.mended(message) { $0 += [1, 2, 3] }) != nil)
        }
        for packet in [PathMTUQuoteTests.esp6, [UInt8](PathMTUQuoteTests.ah6.dropLast(12))] {
            for count in 48..<packet.count {
                let short = PathMTUQuoteTests.mended6(packet) { $0.removeLast($0.count - count) }
                #expect(PathMTUQuoteTests.read6(short) == nil, "\(count)")
            }
        }
    }

    @Test("other messages and other quotes")
    func others() {
        let changes: [(String, (inout [UInt8]) -> Void)] = [
            ("type", { $0[0] = 11 }), ("code", { $0[1] = 3 }), ("version", { $0[8] = 0x65 }),
            ("header length", { $0[8] = 0x44 }), ("header beyond the quote", { $0[8] = 0x4f }),
            ("later fragment", { $0[15] = 1 }), ("TCP", { $0[17] = 6 }), ("SPI", { $0[30] = 0 }),
        ]
        for (what, change) in changes {
            #expect(PathMTUQuoteTests.read(PathMTUQuoteTests.mended(PathMTUQuoteTests.esp, change)) == nil, "\(what)")
        }
        // A first fragment shows all that is wanted.
        #expect(PathMTUQuoteTests.read(PathMTUQuoteTests.mended(PathMTUQuoteTests.esp) { $0[14] = 0x20 }) != nil)
    }

    @Test("a change of any bit is noticed")
    func damage() {
        for bit in 0..<PathMTUQuoteTests.esp.count * 8 {
            var message = PathMTUQuoteTests.esp
            message[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(PathMTUQuoteTests.read(message) == nil, "bit \(bit)")
        }
    }

    @Test("random octets never trap", arguments: seeds(1...4))
    func randomOctets(seed: UInt64) {
        var random = SplitMix64(seed: seed), believed = 0
        for _ in 0..<5000 {
            var message = PathMTUQuoteTests.natTraversal + random.octets(random.below(40))
            for _ in 0..<random.below(6) { message[random.below(message.count)] = UInt8(random.below(256)) }
            message.removeLast(random.below(20))
            believed += PathMTUQuoteTests.read(PathMTUQuoteTests.mended(message) { _ in }) != nil ? 1 : 0
            var packet = random.pick([PathMTUQuoteTests.esp6, PathMTUQuoteTests.ah6]) + random.octets(random.below(40))
            for _ in 0..<random.below(6) { packet[40 + random.below(packet.count - 40)] = UInt8(random.below(64)) }
            believed += PathMTUQuoteTests.read6(PathMTUQuoteTests.mended6(packet) { _ in }) != nil ? 1 : 0
        }
        #expect(believed > 200, "seed \(seed): \(believed)")
    }
}
