import CIPsecMB
import Testing

@testable import ESP

@Suite("Layout of what is hot")
struct LayoutTests {
    @Test("an SA is five or six cache lines, of which plain packets need two; a packet is one, a job two")
    func sizes() {
        #expect(MemoryLayout<OutboundSecurityAssociation>.size <= 384)
        #expect(MemoryLayout<InboundSecurityAssociation>.size <= 320)
        #expect(MemoryLayout<InboundPacket>.size <= 64 && MemoryLayout<OutboundPacket>.size <= 64)
        #expect(MemoryLayout<CryptoJob>.size <= 128)
    }

    @Test("the parts of a job lie where their addresses are taken")
    func job() {
        #expect(MemoryLayout<CryptoJob>.offset(of: \.computedICV) == 0)
        #expect(MemoryLayout<CryptoJob>.offset(of: \.nonce) == 16)
        #expect(MemoryLayout<CryptoJob>.offset(of: \.extendedData) == 64)
        // As C has them.
        let (key, text) = unsafe (MemoryLayout<CryptoJob>.offset(of: \.key), MemoryLayout<CryptoJob>.offset(of: \.text))
        let keyInC = unsafe MemoryLayout<cipsecmb_esp>.offset(of: \.key)
        let textInC = unsafe MemoryLayout<cipsecmb_esp>.offset(of: \.text)
        let lengthInC = unsafe MemoryLayout<cipsecmb_esp>.offset(of: \.length)
        #expect(key == keyInC && text == textInC && MemoryLayout<CryptoJob>.offset(of: \.length) == lengthInC)
        let stride = unsafe MemoryLayout<cipsecmb_esp>.stride
        #expect(MemoryLayout<CryptoJob>.stride == stride)
        // Jobs follow each other: then each begins a line.
        #expect(MemoryLayout<CryptoJob>.stride == 128)
    }

    @Test("what a plain packet needs of an SA is in its first two cache lines")
    func hotHalves() throws {
        let pair = try AssociationPair(seed: 1)
        let (outbound, inbound) = unsafe (
            UInt(bitPattern: pair.outbound.pointer), UInt(bitPattern: pair.inbound.pointer)
        )
        // The last of the first line, and the first behind the second.
        let last = unsafe withUnsafePointer(to: &pair.outbound.pointer.pointee.identification) { UInt(bitPattern: $0) }
        #expect(last - outbound < 64)
        let behind = unsafe withUnsafePointer(to: &pair.inbound.pointer.pointee.failuresInRow) { UInt(bitPattern: $0) }
        #expect(behind - inbound == 192)
    }

    @Test("an SA starts a cache line")
    func alignment() throws {
        let pairs = try (0..<8).map { try AssociationPair(seed: $0) }
        for pair in pairs {
            #expect(unsafe UInt(bitPattern: pair.outbound.pointer) % 64 == 0)
            #expect(unsafe UInt(bitPattern: pair.inbound.pointer) % 64 == 0)
        }
    }
}
