import SeededRandom
import Testing
import Wire

// IEEE 802.1Q 9.6
@Suite("VLAN tags")
struct VLANTagTests {
    /// Made by scapy: VLAN 1234, priority 5.
    private static let tagged = octets(
        "020000000001 0200000000fe 8100 a4d2 0800 45000014000100004000 6ad60102030405060708")
    private static let plain = octets("020000000001 0200000000fe 0800 45000014000100004000 6ad60102030405060708")

    @Test("read, take out, put in")
    func roundTrip() throws {
        var frame = VLANTagTests.tagged
        try frame.withPacketBytes { bytes in
            let tag = try #require(VLANTag(frame: bytes))
            #expect(tag.vlan == 1234 && tag.priority == 5)
            #expect(tag == VLANTag(vlan: 1234, priority: 5))
            let plain = VLANTag.remove(from: bytes)
            #expect(plain.array == VLANTagTests.plain)
            #expect(VLANTag(frame: plain) == nil)
        }
        frame = [0xa5, 0xa5, 0xa5, 0xa5] + VLANTagTests.plain
        frame.withPacketBytes { VLANTag(vlan: 1234, priority: 5).insert(into: $0) }
        #expect(frame == VLANTagTests.tagged)
    }

    @Test("fields keep to their bits")
    func fields() {
        for vlan in 0...4095 as ClosedRange<UInt16> {
            for priority in 0...7 as ClosedRange<UInt8> {
                let tag = VLANTag(vlan: vlan, priority: priority)
                #expect(tag.vlan == vlan && tag.priority == priority)
                #expect(VLANTag(rawValue: tag.rawValue | 0x1000).vlan == vlan)
            }
        }
        #expect(VLANTag(vlan: 0xffff, priority: 8).rawValue == 0x0fff)
    }

    @Test("too short for a tag and the type behind it", arguments: 0..<18)
    func short(count: Int) {
        var frame = [UInt8](VLANTagTests.tagged.prefix(count))
        #expect(frame.withPacketBytes { VLANTag(frame: $0) == nil })
    }
}
