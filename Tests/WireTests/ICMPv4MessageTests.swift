import SeededRandom
import Testing
import Wire

// RFC 792
@Suite("ICMP for IPv4")
struct ICMPv4MessageTests {
    /// An echo request as ping sends it, its checksum worked out by hand: 0800 + 1234 + 0001 + 6162 + 6300 = de97.
    private static let request = octets("08 00 2168 1234 0001 616263")

    @Test("fields of an echo request")
    func parse() throws {
        var message = ICMPv4MessageTests.request
        try message.withPacketBytes { bytes in
            let request = try #require(ICMPv4Message(bytes))
            #expect(request.type == ICMPv4Message.Kind.echoRequest && request.code == 0)
            #expect(request.isIntact)
        }
    }

    @Test("a change of any bit breaks the checksum")
    func damage() throws {
        for bit in 0..<ICMPv4MessageTests.request.count * 8 {
            var message = ICMPv4MessageTests.request
            message[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(message.withPacketBytes { ICMPv4Message($0)?.isIntact } == false, "bit \(bit)")
        }
    }

    @Test("an echo reply differs in type and checksum only")
    func echoReply() {
        var message = ICMPv4MessageTests.request
        message.withPacketBytes { ICMPv4Message($0)?.becomeEchoReply() }
        #expect(message == octets("00 00 2968 1234 0001 616263"))
    }

    @Test("every echo reply is intact when its request was", arguments: [1 as UInt64, 2])
    func echoReplies(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for count in 8...200 {
            var message = octets("08 00 0000") + random.octets(count - 4)
            let checksum = ~naiveSum(message)
            message[2] = UInt8(checksum >> 8)
            message[3] = UInt8(checksum & 0xff)
            message.withPacketBytes { ICMPv4Message($0)?.becomeEchoReply() }
            #expect(message[0] == 0 && naiveSum(message) == 0xffff, "seed \(seed), count \(count)")
        }
    }

    // RFC 1071 1: the ones' complement of a sum of nothing but zeros is all ones, and zero would not verify.
    @Test("an echo reply of zeros alone is intact", arguments: [8, 9, 64])
    func echoReplyOfZeros(count: Int) {
        var message = octets("08 00 f7ff") + [UInt8](repeating: 0, count: count - 4)
        message.withPacketBytes { bytes in
            let echo = ICMPv4Message(bytes)
            #expect(echo?.isIntact == true)
            echo?.becomeEchoReply()
            #expect(echo?.isIntact == true)
        }
        #expect(message == octets("00 00 ffff") + [UInt8](repeating: 0, count: count - 4))
    }

    // RFC 1191 4
    @Test("an error has its MTU in the low half of the second word, and a checksum over its quote")
    func fragmentationNeeded() {
        let quote = octets("4500 0014 0000 4000 40 fd 0000 0a000101 0a000202")
        let message = emitted(28) { bytes in
            for (index, octet) in quote.enumerated() { bytes.store(octet, at: 8 + index) }
            ICMPv4Message(bytes)?.emitError(
                type: ICMPv4Message.Kind.destinationUnreachable, code: ICMPv4Message.fragmentationNeeded,
                nextHopMTU: 1438)
        }
        #expect([UInt8](message[0..<2]) == [3, 4])
        #expect([UInt8](message[4...]) == octets("0000 059e") + quote)
        #expect(naiveSum(message) == 0xffff)
    }

    @Test("an error without an MTU has zeros there")
    func timeExceeded() {
        let message = emitted(8) { ICMPv4Message($0)?.emitError(type: ICMPv4Message.Kind.timeExceeded, code: 0) }
        #expect(message == octets("0b 00 f4ff 00000000"))
    }

    // RFC 1122 3.2.2
    @Test("errors are known from the rest")
    func errors() {
        let errors = (0...UInt8.max).filter(ICMPv4Message.Kind.isError)
        #expect(errors == [3, 4, 5, 11, 12])
    }

    @Test("too short", arguments: 0..<8)
    func short(count: Int) {
        var message = [UInt8](repeating: 0, count: count)
        #expect(message.withPacketBytes { ICMPv4Message($0) == nil })
    }
}
