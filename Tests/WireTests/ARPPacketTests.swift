import Testing
import Wire

// RFC 826
@Suite("ARP")
struct ARPPacketTests {
    private static let reply = octets("0001 0800 06 04 0002 020304050607 c0000201 0a0b0c0d0e0f c00002fe")

    @Test("fields of a reply")
    func parse() throws {
        var packet = ARPPacketTests.reply
        try packet.withPacketBytes { bytes in
            let reply = try #require(ARPPacket(bytes))
            #expect(reply.isIPv4OverEthernet)
            #expect(reply.operation == ARPPacket.Operation.reply)
            #expect(reply.senderMAC == MACAddress(rawValue: 0x0203_0405_0607))
            #expect(reply.senderAddress == 0xc000_0201)
            #expect(reply.targetAddress == 0xc000_02fe)
        }
    }

    @Test("emit gives the same octets back and nothing beyond")
    func emit() {
        let packet = emitted(30) {
            ARPPacket($0)?.emit(
                operation: ARPPacket.Operation.reply, senderMAC: MACAddress(rawValue: 0x0203_0405_0607),
                senderAddress: 0xc000_0201, targetMAC: MACAddress(rawValue: 0x0a0b_0c0d_0e0f),
                targetAddress: 0xc000_02fe)
        }
        #expect(packet == ARPPacketTests.reply + [0xa5, 0xa5])
    }

    @Test("a change in any octet of hardware, protocol and lengths is not ours to read", arguments: 0..<6)
    func otherHardware(offset: Int) throws {
        for bit in 0..<8 {
            var packet = ARPPacketTests.reply
            packet[offset] ^= 1 << UInt8(bit)
            #expect(packet.withPacketBytes { ARPPacket($0)?.isIPv4OverEthernet } == false)
        }
    }

    @Test("too short", arguments: [0, 1, 27])
    func short(count: Int) {
        var packet = [UInt8](ARPPacketTests.reply.prefix(count))
        #expect(packet.withPacketBytes { ARPPacket($0) == nil })
    }
}
