import SeededRandom
import Testing
import Wire

@Suite("Random octets")
struct FuzzTests {
    /// Reads, and rewrites where the owner of a packet would, all that a view offers.
    private static func touch(_ bytes: PacketBytes) {
        if let header = EthernetHeader(bytes) {
            _ = (header.destination.description, header.source, header.etherType, header.payload.count)
        }
        if let packet = ARPPacket(bytes) {
            _ = (
                packet.isIPv4OverEthernet, packet.operation, packet.senderMAC, packet.senderAddress,
                packet.targetAddress
            )
        }
        if let packet = ESPHeader(bytes) {
            _ = (packet.spi, packet.sequenceNumber, packet.ivWord)
            _ = packet.bytes.dropFirst(ESPHeader.headerOctets + ESPHeader.ivOctets).prefix(packet.ciphertextOctets)
        }
        if let message = ICMPv4Message(bytes) {
            _ = (message.type, message.code)
            if message.isIntact { message.becomeEchoReply() }
        }
        if let header = IPv4Header(bytes) {
            _ = (header.version, header.typeOfService, header.identification, header.ipProtocol, header.source)
            _ = (header.isFragment, header.isLaterFragment, header.dontFragment, header.destination)
            if header.isWellFormed {
                // What a reader may take for granted.
                let payload = bytes.prefix(header.totalLength).dropFirst(header.headerLength)
                #expect(header.version == 4 && payload.count + header.headerLength <= bytes.count)
                if header.timeToLive > 0 { header.decrementTimeToLive() }
                header.setECN(3)
                #expect(header.isWellFormed)
            }
        }
    }

    @Test("no view traps", arguments: [1 as UInt64, 2, 3, 4])
    func noViewTraps(seed: UInt64) {
        var random = SplitMix64(seed: seed), wellFormed = 0
        for _ in 0..<5000 {
            var packet = random.octets(Int.random(in: 0...96, using: &random))
            if packet.count >= 20, Bool.random(using: &random) {
                // Most of the way to a packet, so that what lies behind the first checks is reached: version, lengths
                // that may hold, options of small numbers, and a right checksum.
                packet[0] = 0x40 | UInt8.random(in: 5...10, using: &random)
                packet[2] = 0
                packet[3] = UInt8.random(in: 0...100, using: &random)
                for offset in 20..<min(40, packet.count) { packet[offset] &= 7 }
                packet[10] = 0
                packet[11] = 0
                let checksum = ~naiveSum(packet.prefix(Int(packet[0] & 15) * 4))
                packet[10] = UInt8(checksum >> 8)
                packet[11] = UInt8(checksum & 0xff)
            }
            packet.withPacketBytes { bytes in
                wellFormed += IPv4Header(bytes)?.isWellFormed == true ? 1 : 0
                FuzzTests.touch(bytes)
            }
        }
        #expect(wellFormed > 100, "seed \(seed): the generator no longer reaches what it is for")
    }
}
