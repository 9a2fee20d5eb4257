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
        touchTransport(bytes)
        touchIPv6(bytes)
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

    private static func touchTransport(_ bytes: PacketBytes) {
        if let header = UDPHeader(bytes) {
            _ = (header.sourcePort, header.destinationPort, header.checksum)
            if header.isWellFormed {
                _ = header.isIntact(pseudoHeader: .max >> 8, allowsNone: true)
                header.fillChecksum(pseudoHeader: .max >> 8)
                #expect(header.isIntact(pseudoHeader: .max >> 8, allowsNone: false))
            }
        }
        if let header = TCPHeader(bytes) {
            _ = (header.sourcePort, header.destinationPort, header.headerLength)
            header.clampMaximumSegmentSize(to: 100)
            #expect(!header.clampMaximumSegmentSize(to: 100))
        }
        if let message = ICMPv6Message(bytes) {
            _ = (message.type, message.code, message.mtu, message.data.count, message.isIntact(pseudoHeader: 7))
            message.becomeEchoReply(pseudoHeader: 7)
            #expect(message.isIntact(pseudoHeader: 7))
        }
        if let tag = VLANTag(frame: bytes) {
            let rest = VLANTag.remove(from: bytes)
            #expect(rest.count == bytes.count - 4)
            tag.insert(into: bytes)
            #expect(VLANTag(frame: bytes) == tag)
        }
    }

    private static func touchIPv6(_ bytes: PacketBytes) {
        guard let header = IPv6Header(bytes) else { return }
        _ = (header.version, header.trafficClass, header.flowLabel, header.source, header.destination)
        guard header.isWellFormed, let upper = header.walk() else { return }
        // What a reader may take for granted.
        let payload = bytes.prefix(header.totalLength).dropFirst(upper.offset)
        #expect(payload.count + upper.offset <= bytes.count && upper.insertionOffset <= upper.offset)
        #expect(bytes.uint8(at: upper.nextHeaderOffset) == upper.upperProtocol)
        _ = NeighborDiscovery(header, offset: upper.offset)
        touchTransport(payload)
        header.decrementHopLimit()
        header.setECN(2)
        #expect(header.isWellFormed)
    }

    @Test("no IPv6 view traps, neighbour discovery included", arguments: [5 as UInt64, 6, 7, 8])
    func noIPv6ViewTraps(seed: UInt64) {
        var random = SplitMix64(seed: seed), walked = 0, valid = 0
        for _ in 0..<5000 {
            var packet = random.octets(
                40 + 8 * Int.random(in: 0...10, using: &random) + Int.random(in: 0...7, using: &random))
            packet[0] = 0x60
            packet[4] = 0
            packet[5] = UInt8(clamping: packet.count - 40 - Int.random(in: 0...8, using: &random))
            packet[6] = ([0, 43, 44, 60, 58, 17, 6] as [UInt8]).randomElement(using: &random) ?? 0
            packet[7] = 255
            for offset in stride(from: 40, to: packet.count - 4, by: 8) {
                packet[offset] = ([43, 44, 60, 58, 135, 136, 1, 2] as [UInt8]).randomElement(using: &random) ?? 0
                packet[offset + 1] = UInt8.random(in: 0...2, using: &random)
            }
            if packet.count >= 64, Bool.random(using: &random) {
                // All of a neighbour's message but its options.
                packet[5] = UInt8(packet.count - 40)
                packet[6] = 58
                packet[40] = UInt8.random(in: 135...136, using: &random)
                packet[41] = 0
                packet[8] = 0xfe
                packet[24] = 0xfe
                packet[48] = 0x20
                packet[42] = 0
                packet[43] = 0
                let checksum = ~naiveSum(packet[8..<40] + [0, packet[5], 0, 58] + packet[40...])
                packet[42] = UInt8(checksum >> 8)
                packet[43] = UInt8(checksum & 0xff)
            }
            packet.withPacketBytes { bytes in
                let upper = IPv6Header(bytes).flatMap { $0.isWellFormed ? $0.walk() : nil }
                walked += upper != nil ? 1 : 0
                valid += IPv6Header(bytes).flatMap { NeighborDiscovery($0, offset: 40) } != nil ? 1 : 0
                FuzzTests.touch(bytes)
            }
        }
        #expect(walked > 1000 && valid > 40, "seed \(seed): \(walked) walked, \(valid) valid")
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
