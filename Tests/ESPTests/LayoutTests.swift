import Testing

@testable import ESP

@Suite("Layout of what is hot")
struct LayoutTests {
    @Test("an SA is two cache lines and one for rare moments, a job one and a half")
    func sizes() {
        #expect(MemoryLayout<OutboundSecurityAssociation>.size <= 192)
        #expect(MemoryLayout<InboundSecurityAssociation>.size <= 192)
        #expect(MemoryLayout<CryptoJob>.size <= 96)
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
