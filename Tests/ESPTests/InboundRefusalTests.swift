import IPsec
import SeededRandom
import Testing

@testable import ESP

/// What an inbound SA refuses, for which reason, and that nothing of the SA changed unless the packet was authentic.
@Suite("Inbound refusals")
struct InboundRefusalTests {
    // RFC 4303 3.4.3 and 3.4.4.1
    @Test("every single flipped bit", arguments: [190, 128] as [UInt32])
    func bitFlips(target: UInt32) throws {
        var random = SplitMix64(seed: UInt64(target)), bench = try Bench()
        let pair = try AssociationPair(seed: UInt64(target))
        let packets = bench.espPackets(200, of: pair, using: &random)
        // The window is 64 wide: its left edge is 137 or 117, both sides of the target are partly taken.
        let highest = target == 190 ? 200 : 180
        let taken: Set<UInt32> = [UInt32(highest), target + 1, target ^ 8, target ^ 16]
        for number in taken.sorted() {
            #expect(bench.receive(packets[Int(number) - 1], under: pair) != .dropped(.integrityFailed))
        }
        let state = pair.inboundState, packet = packets[Int(target) - 1]
        #expect(state.highest == UInt64(highest))
        var seen: Set<DropReason> = []
        for bit in 0..<packet.count * 8 {
            var damaged = packet
            damaged[bit / 8] ^= 0x80 >> UInt8(bit % 8)
            let number = damaged[4..<8].reduce(0) { $0 << 8 | Int($1) }
            let reason: DropReason =
                if number == 0 {
                    .malformed
                } else if number <= highest - 64 {
                    .late
                } else if taken.contains(UInt32(number)) {
                    .replayed
                } else {
                    .integrityFailed
                }
            seen.insert(reason)
            #expect(bench.receive(damaged, under: pair) == .dropped(reason), "bit \(bit)")
        }
        #expect(pair.inboundState == state)
        // One target has a flip that leads below the window, the other one that leads to 0.
        #expect(seen == [target == 190 ? .late : .malformed, .replayed, .integrityFailed])
        #expect(bench.receive(packet, under: pair).octets.count == 40)
    }

    @Test("every length but its own")
    func truncation() throws {
        var random = SplitMix64(seed: 2), bench = try Bench()
        let pair = try AssociationPair(seed: 2)
        let packet = bench.espPackets(1, of: pair, using: &random)[0]
        #expect(packet.count == 76)
        for count in 0...100 where count != packet.count {
            let cut = [UInt8](packet.prefix(count)) + random.octets(max(0, count - packet.count))
            let reason: DropReason = count < 36 || count % 4 != 0 ? .malformed : .integrityFailed
            #expect(bench.receive(cut, under: pair) == .dropped(reason), "\(count) octets")
        }
        #expect(pair.inboundState == .init())
        #expect(bench.receive(packet, under: pair).octets.count == 40)
    }

    // RFC 4303 2.2: the first packet has number 1.
    @Test("sequence number 0, however authentic")
    func sequenceZero() throws {
        var random = SplitMix64(seed: 3), bench = try Bench()
        let pair = try AssociationPair(seed: 3), gcm = try DirectGCM()
        let text = espText(payload: innerPacket(octets: 40, using: &random))
        #expect(bench.receive(pair.seal(text, sequence: 0, with: gcm), under: pair) == .dropped(.malformed))
        #expect(pair.inboundState == .init())
    }

    // RFC 4303 2.4: next header ends a word.
    @Test("ciphertext that is not aligned, however authentic", arguments: [1, 2, 3, 5])
    func unaligned(excess: Int) throws {
        var random = SplitMix64(seed: 4), bench = try Bench()
        let pair = try AssociationPair(seed: 4), gcm = try DirectGCM()
        let text = espText(payload: innerPacket(octets: 22 + excess, using: &random), padding: [])
        #expect(bench.receive(pair.seal(text, sequence: 1, with: gcm), under: pair) == .dropped(.malformed))
        #expect(pair.inboundState == .init())
    }

    @Test("another key, and the same key with another salt")
    func wrongKeys() throws {
        var random = SplitMix64(seed: 5), bench = try Bench()
        let pair = try AssociationPair(seed: 5, spi: 0x1001)
        let packets = bench.espPackets(20, of: pair, using: &random)
        for bit in 0..<128 + 32 {
            var key = pair.aesKey, salt = pair.salt
            if bit < 128 { key[bit / 8] ^= 1 << UInt8(bit % 8) } else { salt[bit / 8 - 16] ^= 1 << UInt8(bit % 8) }
            let other = try AssociationPair(seed: 5, spi: 0x1001, aesKey: key, salt: salt)
            #expect(bench.receive(packets[bit % 20], under: other) == .dropped(.integrityFailed), "bit \(bit)")
            #expect(other.inboundState == .init())
        }
    }

    // RFC 4303 3.4.3: of two copies that both pass the first check, one is marked.
    @Test("copies, in one burst and across bursts")
    func replays() throws {
        var random = SplitMix64(seed: 6), bench = try Bench()
        let pair = try AssociationPair(seed: 6)
        let packets = bench.espPackets(4, of: pair, using: &random).map { (esp: $0, pair: pair) }
        var damaged = packets[1]
        damaged.esp[20] ^= 1
        // A damaged copy before the good one takes nothing from it; one after it is damaged still.
        let first = bench.receive([packets[0], damaged, packets[0], packets[1], damaged, packets[1], packets[0]])
        let passed = first.map { $0.octets.count == 40 }
        #expect(passed == [true, false, false, true, false, false, false])
        let reasons = first.map { if case .dropped(let reason) = $0 { reason } else { nil as DropReason? } }
        #expect(reasons == [nil, .integrityFailed, .replayed, nil, .integrityFailed, .replayed, .replayed])

        let second = bench.receive([packets[2], packets[0], damaged, packets[3], packets[1]])
        #expect(
            second[1] == .dropped(.replayed) && second[2] == .dropped(.replayed) && second[4] == .dropped(.replayed))
        #expect(second[0].octets.count == 40 && second[3].octets.count == 40)
        #expect(pair.inboundState == .init(highest: 4, packets: 4, octets: 160))
    }

    @Test("packets below the window, and one that a burst moves the window beyond", arguments: [64, 128])
    func late(size: Int) throws {
        var random = SplitMix64(seed: 7), bench = try Bench()
        let pair = try AssociationPair(seed: 7, replayWindow: size)
        let packets = bench.espPackets(size + 10, of: pair, using: &random).map { (esp: $0, pair: pair) }
        let last = packets.count - 1
        // Both pass the first check, because nothing is marked before the crypto stage; then the window moves.
        let burst = bench.receive([packets[last], packets[last - size], packets[last - size + 1]])
        #expect(burst[0].octets.count == 40 && burst[1] == .dropped(.late) && burst[2].octets.count == 40)
        for index in 0...last - size {
            #expect(bench.receive(packets[index].esp, under: pair) == .dropped(.late))
        }
        #expect(pair.inboundState == .init(highest: UInt64(last + 1), packets: 2, octets: 80))
    }

    @Test("an SA that is over stays over, whatever ceiling it is given then")
    func over() throws {
        var random = SplitMix64(seed: 8), bench = try Bench()
        let pair = try AssociationPair(seed: 8)
        let packets = bench.espPackets(3, of: pair, using: &random)
        #expect(bench.receive(packets[0], under: pair).octets.count == 40)
        pair.inbound.with { $0.expire() }
        #expect(bench.receive(packets[1], under: pair) == .dropped(.lifetimeExpired))
        pair.inbound.with { $0.setCeiling(1000, notice: 500) }
        #expect(bench.receive(packets[2], under: pair) == .dropped(.lifetimeExpired))
        #expect(pair.inboundState == .init(highest: 1, packets: 1, octets: 40))
    }
}
