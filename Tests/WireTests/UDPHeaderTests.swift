import SeededRandom
import Testing
import Wire

// RFC 768, RFC 8200 8.1
@Suite("UDP")
struct UDPHeaderTests {
    /// Both made by scapy.
    static let overIPv4 = octets(
        "4500 0021 0000 0000 40 11 63ca 0a000101 0a000202 04d2 0035 000d ba03 6162636465")

    @Test("fields of a datagram")
    func parse() throws {
        var datagram = [UInt8](UDPHeaderTests.overIPv4.dropFirst(20))
        try datagram.withPacketBytes { bytes in
            let header = try #require(UDPHeader(bytes))
            #expect(header.sourcePort == 1234 && header.destinationPort == 53)
            #expect(header.length == 13 && header.checksum == 0xba03 && header.isWellFormed)
        }
    }

    @Test("emit gives known octets back and nothing beyond")
    func emit() {
        let header = emitted(10) {
            UDPHeader($0)?.emit(sourcePort: 1234, destinationPort: 53, length: 13, checksum: 0xba03)
        }
        #expect(header == octets("04d2 0035 000d ba03 a5a5"))
    }

    @Test("checksums over both pseudo headers are those that scapy makes")
    func checksums() throws {
        var packet = UDPHeaderTests.overIPv4
        try packet.withPacketBytes { bytes in
            let pseudo = try #require(IPv4Header(bytes)).pseudoHeader(length: 13)
            let header = try #require(UDPHeader(bytes.dropFirst(20)))
            #expect(header.isIntact(pseudoHeader: pseudo, allowsNone: false))
            header.fillChecksum(pseudoHeader: pseudo)
        }
        #expect(packet == UDPHeaderTests.overIPv4)
        packet = IPv6HeaderTests.packet
        try packet.withPacketBytes { bytes in
            let pseudo = try #require(IPv6Header(bytes)).pseudoHeader(upperProtocol: IPProtocol.udp, length: 11)
            let header = try #require(UDPHeader(bytes.dropFirst(40)))
            #expect(header.isIntact(pseudoHeader: pseudo, allowsNone: false))
            header.fillChecksum(pseudoHeader: pseudo)
        }
        #expect(packet == IPv6HeaderTests.packet)
    }

    @Test("a change of any bit that the checksum covers is noticed; padding is not covered")
    func damage() {
        let packet = IPv6HeaderTests.packet + [1, 2, 3]
        for bit in 0..<packet.count * 8 {
            // Of the IPv6 header, addresses count.
            guard bit >= 8 * 8 else { continue }
            var damaged = packet
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            let intact = damaged.withPacketBytes { bytes -> Bool? in
                guard let header = UDPHeader(bytes.dropFirst(40)), header.isWellFormed else { return false }
                return (IPv6Header(bytes)?.pseudoHeader(upperProtocol: 17, length: header.length)).map {
                    header.isIntact(pseudoHeader: $0, allowsNone: true)
                }
            }
            #expect(intact == (bit >= 51 * 8), "bit \(bit)")
        }
    }

    // RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    @Test("zero means none, and is never made")
    func zero() {
        // 17 + 10 of the pseudo header, 10 of the length, and the payload makes up the rest to all ones.
        var datagram = octets("0000 0000 000a 0000") + [0xff, UInt8(0xff - 17 - 10 - 10)]
        datagram.withPacketBytes { bytes in
            let pseudo = InternetChecksum.pseudoHeader(
                source: 0 as UInt128, destination: 0, upperProtocol: 17, length: 10)
            let header = UDPHeader(bytes)
            #expect(header?.isIntact(pseudoHeader: pseudo, allowsNone: true) == true)
            #expect(header?.isIntact(pseudoHeader: pseudo, allowsNone: false) == false)
            header?.fillChecksum(pseudoHeader: pseudo)
            #expect(header?.checksum == 0xffff)
            #expect(header?.isIntact(pseudoHeader: pseudo, allowsNone: false) == true)
        }
    }

    @Test("lengths")
    func lengths() {
        for length in 0...40 {
            for count in 0...40 {
                var datagram = [UInt8](repeating: 0, count: count)
                if count > 5 { datagram[5] = UInt8(length) }
                let holds = datagram.withPacketBytes { UDPHeader($0)?.isWellFormed }
                #expect(holds == (count < 8 ? nil : length >= 8 && length <= count))
            }
        }
    }
}

@Suite("Pseudo headers")
struct PseudoHeaderTests {
    @Test("sum like the octets that the RFCs draw", arguments: [1 as UInt64, 2])
    func drawn(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for step in 0..<1000 {
            let source = UInt128(random.next()) << 64 | UInt128(random.next())
            let destination = UInt128(random.next()) << 64 | UInt128(random.next())
            let ipProtocol = UInt8.random(in: 0...255, using: &random),
                length = Int.random(in: 0...65_535, using: &random)
            var message = random.octets(step % 70)
            func big(_ value: some FixedWidthInteger) -> [UInt8] {
                (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (value.bitWidth - 8 - 8 * $0)) }
            }
            // RFC 8200 8.1; RFC 9293 3.1.
            let drawn6 = big(source) + big(destination) + big(UInt32(length)) + [0, 0, 0, ipProtocol]
            let source4 = UInt32(truncatingIfNeeded: source), destination4 = UInt32(truncatingIfNeeded: destination)
            let drawn4 = big(source4) + big(destination4) + [0, ipProtocol] + big(UInt16(length))
            let (sum6, sum4) = message.withPacketBytes { bytes in
                (
                    InternetChecksum.sum(
                        bytes,
                        pseudoHeader: InternetChecksum.pseudoHeader(
                            source: source, destination: destination, upperProtocol: ipProtocol, length: length)),
                    InternetChecksum.sum(
                        bytes,
                        pseudoHeader: InternetChecksum.pseudoHeader(
                            source: source4, destination: destination4, ipProtocol: ipProtocol, length: length))
                )
            }
            #expect(UInt16(bigEndian: sum6) == naiveSum(drawn6 + message), "seed \(seed), step \(step)")
            #expect(UInt16(bigEndian: sum4) == naiveSum(drawn4 + message), "seed \(seed), step \(step)")
        }
    }
}
