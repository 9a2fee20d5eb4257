import IPsec
import SeededRandom
import Testing
import Wire

@testable import ESP

@Suite("Outbound bursts")
struct OutboundBurstTests {
    /// The outer header, SPI, sequence number and IV of a packet of `pair`, octet by octet.
    private static func expectedHead(
        _ pair: AssociationPair, inner: [UInt8], total: Int, number: UInt64, identification: UInt16
    ) -> [UInt8] {
        // RFC 4301 5.1.2.1: DS field and DF copied, TTL our own. RFC 6040 3.2: ECN copied.
        minimalIPv4Header(
            typeOfService: inner[1], totalLength: total, identification: identification,
            fragment: UInt16(inner[6] & 0x40) << 8, timeToLive: 64, ipProtocol: 50, source: AssociationPair.local,
            destination: AssociationPair.remote)
            + bigEndian(pair.spi.rawValue) + bigEndian(UInt32(number)) + bigEndian(number)
    }

    // RFC 4303 3.3, RFC 4106 3 to 5
    @Test("every octet of packets of every length, and none beside them")
    func everyOctet() throws {
        let seed: UInt64 = 11, before = 41
        var random = SplitMix64(seed: seed), burst = OutboundBurst(capacity: 1, attention: AttentionMap()),
            number: UInt64 = 0
        let pair = try AssociationPair(seed: seed), gcm = try DirectGCM(), pool = BufferPool(count: 1)
        var bench = try Bench()
        for length in 20...1500 {
            number += 1
            let inner = innerPacket(
                octets: length, typeOfService: UInt8(truncatingIfNeeded: random.next()),
                fragment: UInt16(truncatingIfNeeded: random.next()), using: &random)
            let buffer = pool.filled(0, with: inner, at: before)
            burst.removeAll()
            burst.append(buffer: buffer, offset: before, length: length, association: pair.outbound, tag: 0)
            burst.prepare()

            let text = espText(payload: inner), total = 36 + text.count + 16, start = before - 36
            let head = OutboundBurstTests.expectedHead(
                pair, inner: inner, total: total, number: number, identification: UInt16(number - 1))
            #expect(burst[0].failure == nil && burst[0].offset == start && burst[0].length == total, "length \(length)")
            // What the padding store leaves where the ICV will come is the only octet without a meaning.
            #expect(
                [UInt8](buffer.octets[..<(before + text.count)].dropFirst(start)) == head + text, "length \(length)")

            bench.crypto.submit(burst)
            #expect(bench.crypto.collect() == 1)
            let sealed = gcm.seal(
                key: pair.aesKey, nonce: pair.salt + bigEndian(number), aad: [UInt8](head[20..<28]), text: text)
            let untouched = [UInt8](repeating: 0xa5, count: BufferPool.octets)
            let expected: [UInt8] =
                untouched[..<start] + head + sealed.text + sealed.icv + untouched[(start + total)...]
            #expect(buffer.octets == expected, "length \(length)")
        }
        #expect(pair.outboundState.packets == number && pair.outboundState.octets == (20...1500).reduce(0, +))
    }

    @Test("padding and trailer are written in time for the room they have", arguments: 20...27)
    func exactRoom(length: Int) throws {
        var random = SplitMix64(seed: UInt64(length))
        let pair = try AssociationPair(seed: 1), inner = innerPacket(octets: length, using: &random)
        let total = 36 + espText(payload: inner).count + 16
        for (before, behind) in [(36, 0), (35, 0), (0, 0), (36, -1), (36, -16), (36, length + 36 - total)] {
            let room = before - 36 + total + behind, state = pair.outboundState
            var octets = [UInt8](repeating: 0xa5, count: before) + inner
            octets += [UInt8](repeating: 0xa5, count: room - octets.count) + [0x77]
            let original = octets
            octets.withPacketBytes { bytes in
                var burst = OutboundBurst(capacity: 1, attention: AttentionMap())
                burst.append(
                    buffer: bytes.prefix(room), offset: before, length: length, association: pair.outbound, tag: 0)
                burst.prepare()
                let fits = before == 36 && behind == 0
                #expect(burst[0].failure == (fits ? nil : .noBuffers), "\(before), \(behind)")
                #expect(burst.jobs.count == (fits ? 1 : 0))
                if !fits {
                    #expect(burst[0].offset == before && burst[0].length == length)
                    #expect(bytes.octets == original)
                    // No number, no IV and no count for what was not sent.
                    #expect(pair.outboundState == state)
                }
            }
            #expect(octets.last == 0x77)
        }
        #expect(36 + length + OutboundBurst.tailOctets >= total && OutboundBurst.headOctets == 36)
    }

    @Test("no outer packet is longer than IPv4 allows")
    func longest() throws {
        let pair = try AssociationPair(seed: 2)
        // 36 octets of headers, 2 of trailer and 16 of ICV: 65 478 + 54 is 65 532, and the next length needs 3 of
        // padding.
        for (length, failure) in [(65_478, nil as DropReason?), (65_479, .noBuffers), (65_482, .noBuffers)] {
            var octets = [UInt8](repeating: 0x45, count: 36 + length + OutboundBurst.tailOctets)
            octets.withPacketBytes { bytes in
                var burst = OutboundBurst(capacity: 1, attention: AttentionMap())
                burst.append(buffer: bytes, offset: 36, length: length, association: pair.outbound, tag: 0)
                burst.prepare()
                #expect(burst[0].failure == failure, "length \(length)")
            }
        }
        #expect(pair.outboundState.sequence == 1)
    }

    @Test("identification wraps, and the checksum holds all the way")
    func identification() throws {
        var random = SplitMix64(seed: 3), bench = try Bench()
        let pair = try AssociationPair(seed: 3)
        pair.outbound.with { $0.identification = 0xfff0 }
        let inner = (0..<32).map { _ in innerPacket(octets: 20, using: &random) }
        for (index, verdict) in bench.send(inner, under: pair).enumerated() {
            let outer = verdict.octets
            #expect([UInt8](outer[4..<6]) == bigEndian(UInt16(0xfff0) &+ UInt16(index)))
            #expect(onesComplementSum([UInt8](outer.prefix(20))) == 0xffff)
        }
    }
}
