import SeededRandom
import Testing
import Wire

@testable import DataPlane

// RFC 791 3.2, RFC 8200 4.5
@Suite("Cutting packets")
struct FragmenterTests {
    /// All fragments, each from a buffer that was 0xa5 and keeps that behind it.
    private static func cut(_ packet: [UInt8], mtu: Int, identification: UInt32 = 0) -> [[UInt8]]? {
        var packet = packet
        return packet.withPacketBytes { bytes in
            guard let fragmenter = Fragmenter(bytes, mtuOctets: mtu, identification: identification) else { return nil }
            return (0..<fragmenter.count).map { index in
                var buffer = [UInt8](repeating: 0xa5, count: mtu + 2)
                let length = buffer.withPacketBytes { fragmenter.write(index, into: $0) }
                let plan = fragmenter.plan(index)
                #expect(length == plan.header + plan.payload && buffer[length...].allSatisfy { $0 == 0xa5 })
                return [UInt8](buffer.prefix(length))
            }
        }
    }

    /// A header and what follows it.
    private static func packet(_ header: String, _ range: Range<UInt8>) -> [UInt8] { hex(header) + [UInt8](range) }

    @Test("IPv4 as scapy cuts it")
    func ipv4() throws {
        let addresses = "0a0001010a000202 94040000", udp = "000100020064c9d4"
        let whole = FragmenterTests.packet("4600007c12340000 4011bc36" + addresses + udp, 0..<92)
        let cut = try #require(FragmenterTests.cut(whole, mtu: 64))
        let first = FragmenterTests.packet("4600004012342000 40119c72" + addresses + udp, 0..<32)
        let second = FragmenterTests.packet("4600004012342005 40119c6d" + addresses, 32..<72)
        let third = FragmenterTests.packet("4600002c1234000a 4011bc7c" + addresses, 72..<92)
        #expect(cut == [first, second, third])
    }

    @Test("IPv6 as scapy cuts it")
    func ipv6() throws {
        let addresses = "20010db8000100000000000000000001 20010db8000200000000000000000002"
        let options = "00050200000100", udp = "00010002006c07ce"
        let whole = FragmenterTests.packet("6000000000740040" + addresses + "11" + options + udp, 0..<100)
        let cut = try #require(FragmenterTests.cut(whole, mtu: 110, identification: 0x0102_0304))
        let cutHeader = addresses + "2c" + options
        let first = FragmenterTests.packet("6000000000400040" + cutHeader + "1100000101020304" + udp, 0..<40)
        let second = FragmenterTests.packet("6000000000400040" + cutHeader + "1100003101020304", 40..<88)
        let third = FragmenterTests.packet("60000000001c0040" + cutHeader + "1100006001020304", 88..<100)
        #expect(cut == [first, second, third])
    }

    // RFC 791 3.1
    @Test("only options that say so go into later fragments")
    func options() throws {
        // No-operation, record route (not copied), router alert (copied), a stream identifier (copied), end.
        let options = hex("01 0707 04 00000000 94040000 88040102 00000000")
        let packet = Packet.IPv4(
            identification: 7, source: 0x0a00_0101, destination: 0x0a00_0202, options: options,
            payload: [UInt8](repeating: 9, count: 100))
        let cut = try #require(FragmenterTests.cut(packet.octets, mtu: 100))
        var first = packet, second = packet
        first.fragment = 0x2000
        first.payload = [UInt8](repeating: 9, count: 56)
        second.fragment = 7
        second.options = hex("94040000 88040102")
        second.payload = [UInt8](repeating: 9, count: 44)
        #expect(cut == [first.octets, second.octets])
        // Three octets of copied options are padded to four with ends.
        var odd = packet
        odd.options = hex("83 03 04 01")
        second.options = hex("83 03 04 00")
        second.fragment = 9
        second.payload = [UInt8](repeating: 9, count: 28)
        #expect(try #require(FragmenterTests.cut(odd.octets, mtu: 100)).last == second.octets)
    }

    @Test("a fragment's fragments, flags kept")
    func ofFragment() throws {
        var packet = Packet.IPv4(
            identification: 0xbeef, fragment: 0x6000 | 10, source: 1, destination: 2,
            payload: [UInt8](repeating: 3, count: 104))
        let cut = try #require(FragmenterTests.cut(packet.octets, mtu: 76))
        #expect(cut.map { Packet.uint16($0, at: 6) } == [0x600a, 0x6011])
        packet.fragment = 10
        let last = try #require(FragmenterTests.cut(packet.octets, mtu: 76))
        #expect(last.map { Packet.uint16($0, at: 6) } == [0x200a, 0x0011])
        #expect(last.allSatisfy { Packet.uint16($0, at: 4) == 0xbeef })
    }

    @Test("what can't be cut")
    func refused() {
        let packet = Packet.IPv4(source: 1, destination: 2, payload: [UInt8](repeating: 0, count: 100))
        #expect(
            FragmenterTests.cut(packet.octets, mtu: 120) == nil && FragmenterTests.cut(packet.octets, mtu: 119) != nil)
        #expect(
            FragmenterTests.cut(packet.octets, mtu: 27) == nil && FragmenterTests.cut(packet.octets, mtu: 28) != nil)
        #expect(FragmenterTests.cut([], mtu: 100) == nil && FragmenterTests.cut([0x45], mtu: 0) == nil)
        var other = packet
        // A part that is not the last and no multiple of eight; and one that ends beyond 65535.
        other.fragment = 0x2000
        #expect(FragmenterTests.cut(other.octets, mtu: 68) == nil)
        other.fragment = 0x1fff
        #expect(FragmenterTests.cut(other.octets, mtu: 68) == nil)
        var broken = packet.octets
        broken[10] ^= 1
        #expect(FragmenterTests.cut(broken, mtu: 68) == nil)
        // An IPv6 packet that is a fragment already is another's to cut.
        let header: [UInt8] = [0x60, 0, 0, 0, 0, 108, 44, 64] + [UInt8](repeating: 1, count: 32)
        let fragment = header + [17, 0, 0, 1, 0, 0, 0, 1] + [UInt8](repeating: 0, count: 100)
        #expect(FragmenterTests.cut(fragment, mtu: 100) == nil)
    }

    @Test("the largest packet at the smallest MTU")
    func largest() throws {
        let packet = Packet.IPv4(
            identification: 1, source: 1, destination: 2,
            payload: (0..<65_515).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) })
        let cut = try #require(FragmenterTests.cut(packet.octets, mtu: 68))
        #expect(cut.count == 1365 && cut.allSatisfy { $0.count <= 68 })
        #expect(cut.flatMap { $0.dropFirst(20) } == packet.payload)
    }

    /// Judged by RFC 791's own rules, not by the code's.
    @Test("fragments keep the rules", arguments: seeds(1...6))
    func rules(seed: UInt64) {
        var random = SplitMix64(seed: seed), cuts = 0
        for step in 0..<300 {
            var options: [UInt8] = []
            while options.count < random.below(40) {
                let kind = random.pick([1, 1, 7, 0x82, 0x94, 0x44] as [UInt8])
                let length = kind == 1 ? 1 : 2 + random.below(8)
                guard options.count + length <= 40 else { break }
                options += kind == 1 ? [1] : [kind, UInt8(length)] + random.octets(length - 2)
            }
            options += [UInt8](repeating: 0, count: -options.count & 3)
            var packet = Packet.IPv4(
                typeOfService: UInt8(random.below(256)), identification: UInt16(random.below(65_536)),
                timeToLive: UInt8(random.below(256)), source: UInt32(random.below(1 << 32)), destination: 5,
                options: options)
            let isLast = random.once(in: 2), base = random.once(in: 2) ? 0 : random.below(1000)
            packet.fragment = UInt16(base) | (isLast ? 0 : 0x2000) | (random.once(in: 3) ? 0x4000 : 0)
            packet.payload = random.octets(isLast ? 9 + random.below(3000) : 8 * (2 + random.below(300)))
            let size = packet.octets.count, header = 20 + options.count
            let mtu = random.once(in: 3) ? 68 : header + 8 + random.below(size - header - 8)
            guard mtu < size else { continue }
            guard let cut = FragmenterTests.cut(packet.octets + random.octets(random.below(20)), mtu: mtu) else {
                Issue.record("seed \(seed), step \(step): \(size) octets at \(mtu) refused")
                return
            }
            cuts += 1
            var offset = base * 8, payload: [UInt8] = []
            for (index, fragment) in cut.enumerated() {
                let length = Int(fragment[0] & 15) * 4, field = Int(Packet.uint16(fragment, at: 6))
                let isEnd = index == cut.count - 1
                let place = (field & 0x1fff) * 8 == offset && (field & 0x2000 != 0) == !(isEnd && isLast)
                let size = fragment.count <= mtu && Int(Packet.uint16(fragment, at: 2)) == fragment.count
                let isFull = isEnd || (fragment.count - length) % 8 == 0 && fragment.count + 8 > mtu
                let isIntact = onesComplementSum(fragment.prefix(length)) == 0xffff
                let whole = packet.octets
                var hasRest = field & 0x4000 == Int(packet.fragment & 0x4000) && fragment[1] == whole[1]
                for place in [4, 5, 8, 9] + Array(12..<20) { hasRest = hasRest && fragment[place] == whole[place] }
                let holds = place && size && isFull && isIntact && hasRest
                let kept = index == 0 ? options : FragmenterTests.copied(options)
                guard holds, [UInt8](fragment[20..<length]) == kept else {
                    Issue.record("seed \(seed), step \(step), mtu \(mtu): fragment \(index) is \(fragment)")
                    return
                }
                payload += fragment[length...]
                offset += fragment.count - length
            }
            #expect(payload == packet.payload, "seed \(seed), step \(step)")
        }
        #expect(cuts > 100)
    }

    private static func copied(_ options: [UInt8]) -> [UInt8] {
        var rest = options[...], kept: [UInt8] = []
        while let kind = rest.first, kind != 0 {
            let length = kind == 1 ? 1 : Int(rest[rest.startIndex + 1])
            if kind >= 128 { kept += rest.prefix(length) }
            rest = rest.dropFirst(length)
        }
        return kept + [UInt8](repeating: 0, count: -kept.count & 3)
    }

    @Test("random octets never trap", arguments: seeds(7...10))
    func randomOctets(seed: UInt64) {
        var random = SplitMix64(seed: seed), cuts = 0
        for _ in 0..<4000 {
            var packet = random.octets(random.below(300))
            if packet.count >= 48 {
                packet[0] = random.pick([0x45, 0x46, 0x4f, 0x60] as [UInt8])
                packet.replaceSubrange(2..<4, with: bigEndian(UInt16(packet.count - random.below(9))))
                if packet[0] == 0x60 {
                    packet.replaceSubrange(4..<6, with: bigEndian(UInt16(packet.count - 40)))
                    packet[6] = random.pick([0, 43, 44, 60, 50] as [UInt8])
                    packet[41] = 0
                } else {
                    packet.replaceSubrange(10..<12, with: [0, 0])
                    let sum = onesComplementSum(packet.prefix(Int(packet[0] & 15) * 4))
                    packet.replaceSubrange(10..<12, with: bigEndian(~sum))
                }
            }
            cuts += FragmenterTests.cut(packet, mtu: random.below(200)) != nil ? 1 : 0
        }
        #expect(cuts > 50, "seed \(seed): \(cuts)")
    }
}
