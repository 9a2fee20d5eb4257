import ESP
import Testing

@testable import DataPlane

@Suite("Layout of what is hot")
struct DataPlaneLayoutTests {
    @Test("what a packet touches is as small as its comment says")
    func sizes() {
        #expect(MemoryLayout<Neighbor>.stride <= 64)
        #expect(MemoryLayout<PacketSlot>.stride <= 40)
        #expect(MemoryLayout<OutboundPacket>.stride <= 64)
        #expect(MemoryLayout<InboundPacket>.stride <= 64)
        #expect(MemoryLayout<RouteEntry>.stride <= 8)
        #expect(MemoryLayout<TunnelEntry>.stride <= 32)
        #expect(MemoryLayout<AddressBlock>.stride <= 8)
        #expect(MemoryLayout<SADSlot>.stride <= 16)
        #expect(MemoryLayout<ReceivedESP>.stride <= 24)
        #expect(MemoryLayout<HeldPacket>.stride <= 16)
        #expect(MemoryLayout<Mbuf>.stride == 8)
    }

    @Test("arrays of a worker start a cache line")
    func alignment() {
        let array = FixedArray<UInt32>(repeating: 7, count: 3), empty = FixedArray<UInt8>([])
        #expect(unsafe UInt(bitPattern: array.unsafePointer(at: 0)) % 64 == 0)
        #expect(array.count == 3 && array[2] == 7 && empty.count == 0)
    }
}
