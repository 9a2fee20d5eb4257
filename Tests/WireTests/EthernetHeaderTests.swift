import Testing
import Wire

@Suite("Ethernet")
struct EthernetHeaderTests {
    private static let frame = octets("020000000001 0200000000fe 0800 4500")

    @Test("fields of a frame")
    func parse() throws {
        var frame = EthernetHeaderTests.frame
        try frame.withPacketBytes { bytes in
            let header = try #require(EthernetHeader(bytes))
            #expect(header.destination == MACAddress(rawValue: 0x0200_0000_0001))
            #expect(header.source == MACAddress(rawValue: 0x0200_0000_00fe))
            #expect(header.etherType == EtherType.ipv4)
            #expect(header.payload.array == [0x45, 0x00])
        }
    }

    @Test("emit gives the same octets back and touches no payload")
    func emit() {
        let frame = emitted(16) {
            EthernetHeader($0)?.emit(
                destination: MACAddress(rawValue: 0x0200_0000_0001), source: MACAddress(rawValue: 0x0200_0000_00fe),
                etherType: EtherType.ipv4)
        }
        #expect(frame == EthernetHeaderTests.frame.dropLast(2) + [0xa5, 0xa5])
    }

    @Test("emit keeps every bit of both addresses")
    func emitBits() throws {
        for bit in 0..<48 {
            let address = MACAddress(rawValue: 1 << UInt64(bit)), other = MACAddress(rawValue: ~address.rawValue)
            var frame = emitted(14) { EthernetHeader($0)?.emit(destination: address, source: other, etherType: 0x0806) }
            try frame.withPacketBytes { bytes in
                let header = try #require(EthernetHeader(bytes))
                #expect(header.destination == address && header.source == other && header.etherType == EtherType.arp)
            }
        }
    }

    @Test("too short for a header", arguments: 0..<14)
    func short(count: Int) {
        var frame = [UInt8](repeating: 0, count: count)
        #expect(frame.withPacketBytes { EthernetHeader($0) == nil })
    }

    @Test("a header alone has an empty payload")
    func headerAlone() {
        var frame = [UInt8](repeating: 0, count: 14)
        #expect(frame.withPacketBytes { EthernetHeader($0)?.payload.count } == 0)
    }
}

@Suite("MAC addresses")
struct MACAddressTests {
    @Test(
        "text has two digits an octet",
        arguments: [
            (0x0200_0000_0001 as UInt64, "02:00:00:00:00:01"), (0, "00:00:00:00:00:00"),
            (0x0a0b_0c0d_0e0f, "0a:0b:0c:0d:0e:0f"), (0xffff_ffff_ffff, "ff:ff:ff:ff:ff:ff"),
            (0x1234_5678_9abc, "12:34:56:78:9a:bc"),
        ])
    func text(rawValue: UInt64, text: String) { #expect(MACAddress(rawValue: rawValue).description == text) }

    @Test("takes 48 bits, or six octets")
    func values() {
        #expect(MACAddress(rawValue: .max) == .broadcast)
        #expect(MACAddress(octets: octets("123456789abc"))?.rawValue == 0x1234_5678_9abc)
        #expect(MACAddress(octets: octets("123456789a")) == nil)
        #expect(MACAddress(octets: octets("123456789abcde")) == nil)
        #expect(MACAddress(octets: []) == nil)
    }
}
