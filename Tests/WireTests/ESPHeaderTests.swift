import Testing
import Wire

// RFC 4303 2, RFC 4106 3
@Suite("ESP")
struct ESPHeaderTests {
    @Test("fields of a packet")
    func parse() throws {
        var packet = octets("00001001 00000002 0102030405060708") + [UInt8](repeating: 0xc1, count: 24)
        try packet.withPacketBytes { bytes in
            let header = try #require(ESPHeader(bytes))
            #expect(header.spi == 0x1001)
            #expect(header.sequenceNumber == 2)
            #expect(header.ivWord == UInt64(bigEndian: 0x0102_0304_0506_0708))
            #expect(header.ciphertextOctets == 8)
        }
    }

    @Test("a packet has 36 octets at least, and ends on a multiple of 4", arguments: 0...80)
    func lengths(count: Int) {
        var packet = [UInt8](repeating: 0xff, count: count)
        let text = packet.withPacketBytes { ESPHeader($0)?.ciphertextOctets }
        #expect(text == (count >= 36 && count % 4 == 0 ? count - 32 : nil))
        if let text { #expect(text >= ESPHeader.alignmentOctets && text % ESPHeader.alignmentOctets == 0) }
    }

    // RFC 4303 2.4: payload, padding, pad length and next header end on a multiple of 4 octets.
    @Test("as little padding as aligns the trailer")
    func padding() {
        for length in 0...9000 {
            let padding = ESPHeader.paddingOctets(payload: length)
            #expect((0...3).contains(padding) && (length + padding + 2) % 4 == 0, "length \(length)")
        }
    }
}
