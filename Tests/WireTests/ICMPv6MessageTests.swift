import SeededRandom
import Testing
import Wire

// RFC 4443. Packets made by scapy.
@Suite("ICMP for IPv6")
struct ICMPv6MessageTests {
    static let addresses = "20010db8000100000000000000000001 20010db8000200000000000000000002"
    private static let request = octets("60000000000b3a40" + addresses + "8000 4daa 1234 0001 616263")
    private static let reply = octets(
        """
        60000000000b3a40 20010db8000200000000000000000002 20010db8000100000000000000000001
        8100 4caa 1234 0001 616263
        """)

    private static func pseudoHeader(_ packet: PacketBytes) -> UInt64 {
        IPv6Header(packet)?.pseudoHeader(upperProtocol: IPProtocol.icmpv6, length: packet.count - 40) ?? 0
    }

    @Test("fields of an echo request, and its reply")
    func echo() throws {
        var packet = ICMPv6MessageTests.request
        try packet.withPacketBytes { bytes in
            let message = try #require(ICMPv6Message(bytes.dropFirst(40)))
            #expect(message.type == ICMPv6Message.Kind.echoRequest && message.code == 0)
            #expect(message.data.array == octets("616263"))
            let pseudoHeader = ICMPv6MessageTests.pseudoHeader(bytes)
            #expect(message.isIntact(pseudoHeader: pseudoHeader))
            message.becomeEchoReply(pseudoHeader: pseudoHeader)
        }
        #expect(packet.dropFirst(40) == ICMPv6MessageTests.reply.dropFirst(40))
    }

    @Test("a change of any bit of message or addresses breaks the checksum")
    func damage() {
        for bit in 8 * 8..<ICMPv6MessageTests.request.count * 8 {
            var packet = ICMPv6MessageTests.request
            packet[bit / 8] ^= 1 << UInt8(bit % 8)
            let intact = packet.withPacketBytes { bytes in
                ICMPv6Message(bytes.dropFirst(40))?.isIntact(pseudoHeader: ICMPv6MessageTests.pseudoHeader(bytes))
            }
            #expect(intact == false, "bit \(bit)")
        }
    }

    // RFC 4443 3.2
    @Test("a packet too big has its MTU in the second word, and a checksum over its quote")
    func packetTooBig() throws {
        let quote =
            octets("6000000000083b40 20010db8000200000000000000000002 20010db8000900000000000000000009")
            + octets("3132333435363738")
        var packet =
            octets("6000000000383a40" + ICMPv6MessageTests.addresses) + [UInt8](repeating: 0xa5, count: 8) + quote
        try packet.withPacketBytes { bytes in
            let message = try #require(ICMPv6Message(bytes.dropFirst(40)))
            message.emitError(
                type: ICMPv6Message.Kind.packetTooBig, code: 0, mtu: 1418,
                pseudoHeader: ICMPv6MessageTests.pseudoHeader(bytes))
            #expect(message.mtu == 1418 && message.data.array == quote)
        }
        #expect(packet[40..<48] == octets("0200 d4e5 0000058a")[...])
    }

    // RFC 4443 2.1, 2.4
    @Test("errors are known from the rest, and stay within the smallest MTU")
    func errors() {
        #expect((0...UInt8.max).filter(ICMPv6Message.Kind.isError) == Array(0..<128))
        #expect(40 + 8 + ICMPv6Message.quoteLimitOctets == 1280)
    }

    @Test("too short", arguments: 0..<8)
    func short(count: Int) {
        var message = [UInt8](repeating: 0, count: count)
        #expect(message.withPacketBytes { ICMPv6Message($0) == nil })
    }
}
