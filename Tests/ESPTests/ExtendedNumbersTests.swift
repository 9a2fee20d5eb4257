import IPsec
import SeededRandom
import Testing

@testable import ESP

/// RFC 4303 appendix A2.2 as it is written there.
private func inferred(_ low: UInt32, top: UInt64, window: UInt64) -> UInt64 {
    let (topLow, topHigh) = (UInt32(truncatingIfNeeded: top), UInt32(top >> 32)), width = UInt32(window)
    let high: UInt32
    if topLow >= width - 1 {
        high = low >= topLow &- width &+ 1 ? topHigh : topHigh &+ 1
    } else if low >= topLow &- width &+ 1 {
        // There is nothing below the first half.
        high = topHigh == 0 ? 0 : topHigh - 1
    } else {
        high = topHigh
    }
    return UInt64(high) << 32 | UInt64(low)
}

@Suite("Extended sequence numbers")
struct ExtendedNumbersTests {
    private static func profile(_ name: String = "aes-128-gcm-16") throws -> AssociationProfile {
        var profile = AssociationProfile()
        profile.algorithm = try #require(Algorithm(name: name))
        profile.extendedSequenceNumbers = true
        return profile
    }

    // RFC 4303 A2
    @Test("the high half that appendix A2 infers", arguments: [64, 128, 1024, 8192])
    func inference(window: Int) throws {
        var random = SplitMix64(seed: UInt64(window))
        let width = UInt64(window), edge: UInt64 = 1 << 32
        var tops: [UInt64] = []
        for half in [0, 1, 2, 77, 0xffff_fffe, 0xffff_ffff] as [UInt64] {
            for near in [0, 1, 2, width - 2, width - 1, width, width + 1, edge / 2, edge - width, edge - 2, edge - 1] {
                tops.append(half * edge + near)
            }
            tops.append(half * edge + UInt64.random(in: 0..<edge, using: &random))
        }
        let key = try ExtendedNumbersTests.anyKey()
        for top in tops {
            let association = InboundSecurityAssociation(
                key: key, profile: try ExtendedNumbersTests.profile(), local: IPAddress(v4: 1),
                remote: IPAddress(v4: 2),
                replayWindow: window, owner: 0, id: 0, behind: top)
            let left = UInt32(truncatingIfNeeded: top &- (width - 1)), low = UInt32(truncatingIfNeeded: top)
            var lows = [0, 1, left, left &- 1, left &+ 1, low, low &+ 1, low &- 1, .max, .max - 1, 1 << 31]
            lows += (0..<50).map { _ in UInt32.random(in: 0 ... .max, using: &random) }
            for low in lows {
                #expect(
                    association.number(of: low) == inferred(low, top: top, window: width),
                    "\(low) below \(top), \(window)")
            }
        }
    }

    private static func anyKey() throws -> ExpandedKey {
        let octets = [UInt8](repeating: 1, count: 20)
        guard let material = unsafe octets.withUnsafeBytes({ unsafe KeyMaterial($0, for: .aes128GCM16) }),
            let key = KeyArena()?.expand(material)
        else { throw NoCrypto() }
        return key
    }

    /// Authentic packets with these numbers, which go up.
    private static func packets(
        _ numbers: [UInt64], _ profile: AssociationProfile, outer: IPFamily = .v4
    ) throws -> [UInt64: [UInt8]] {
        var rig = try ProfileRig(profile, outer: outer), random = SplitMix64(seed: 1), made: [UInt64: [UInt8]] = [:]
        for number in numbers {
            // An IV of its own for each, and the same one each time.
            rig.goOn(with: number)
            made[number] = rig.protect(packet(outer, octets: 40, using: &random)).octets
        }
        return made
    }

    // RFC 4303 3.4.3, 3.3.3, appendix A
    @Test(
        "packets around each multiple of 2^32, against a set of accepted numbers", arguments: [64, 128],
        1...6 as ClosedRange<UInt64>)
    func model(window: Int, seed: UInt64) throws {
        let edge: UInt64 = 1 << 32, width = UInt64(window)
        for name in ["aes-128-gcm-16", "aes-256-gmac", "ah-hmac-sha2-256-128", "ah-aes-128-gmac"] {
            var random = SplitMix64(seed: seed)
            let profile = try ExtendedNumbersTests.profile(name)
            let middle = edge * [1, 2, 0xffff_fffe][Int(seed % 3)]
            // In order around the edge, and jumps across one: no further than 2^32 above the window's left edge.
            var numbers = (middle - 3 * width / 2..<middle + 3 * width / 2).map { $0 }
            numbers += [middle + edge / 2, middle + edge - 1, middle + edge, middle + (2 * edge - width)]
            let packets = try ExtendedNumbersTests.packets(numbers, profile)
            var rig = try ProfileRig(profile, window: window, behind: middle - 4 * width)
            var accepted: Set<UInt64> = [], top = middle - 4 * width, position = 0
            for step in 0..<3 * numbers.count + 60 {
                // Near where the sender is, now and then far behind, and at last all jumps.
                let pick = position + Int.random(in: -2 * window...5, using: &random)
                if step % 3 == 0 || step > 3 * numbers.count + 40 { position = min(position + 1, numbers.count - 1) }
                let number = numbers[min(max(0, pick), numbers.count - 1)]
                let meant = inferred(UInt32(truncatingIfNeeded: number), top: top, window: width)
                let expected: DropReason? =
                    if meant == 0 {
                        .malformed
                    } else if top >= width, meant <= top - width {
                        .late
                    } else if accepted.contains(meant) {
                        .replayed
                    } else if meant != number {
                        .integrityFailed
                    } else {
                        nil
                    }
                let found = rig.open([packets[number] ?? []])[0]
                let isRight = expected.map { found.verdict == .dropped($0) } ?? (found.number == number)
                #expect(isRight, "\(name), seed \(seed), step \(step): \(number) above \(top) was \(found.verdict)")
                guard isRight else { return }
                if expected == nil {
                    #expect(found.advancesWindow == (number > top))
                    accepted.insert(number)
                    top = max(top, number)
                }
            }
            #expect(rig.state.highest == top && top > middle)
        }
    }

    // RFC 4303 2.2.1: a low half of 0 is a number like others, but the very first.
    @Test("number 0")
    func zero() throws {
        let profile = try ExtendedNumbersTests.profile()
        var rig = try ProfileRig(profile, behind: (1 << 32) - 1)
        rig.goOn(with: 1 << 32)
        var random = SplitMix64(seed: 1)
        let packet = rig.protect(innerPacket(octets: 40, using: &random)).octets
        #expect([UInt8](packet[24..<28]) == [0, 0, 0, 0])
        #expect(rig.open([packet])[0].number == 1 << 32)
        var fresh = try ProfileRig(profile)
        #expect(fresh.open(packet) == .dropped(.malformed) && fresh.state == .init())
    }

    // RFC 4303 3.3.3
    @Test("the last number of each kind, and none behind it")
    func lastNumber() throws {
        var random = SplitMix64(seed: 1)
        for isExtended in [false, true] {
            var profile = AssociationProfile()
            profile.extendedSequenceNumbers = isExtended
            let last = profile.lastSequenceNumber
            #expect(last == (isExtended ? UInt64.max : 0xffff_ffff))
            var rig = try ProfileRig(profile, behind: last - 10)
            rig.goOn(with: last - 1, vector: 5)
            let inner = (0..<4).map { _ in innerPacket(octets: 40, using: &random) }
            let sent = rig.protect(inner)
            #expect(sent[2...] == [.dropped(.sequenceExhausted), .dropped(.sequenceExhausted)])
            let opened = rig.open(sent[..<2].map(\.octets))
            #expect(opened.map(\.number) == [last - 1, last])
            // Nothing follows it for the receiver either.
            #expect(rig.open(sent[1].octets) == .dropped(.replayed))
            #expect(rig.inbound.with { $0.number(of: 3) } == (isExtended ? 3 : 3))
            #expect(rig.inbound.with { $0.window.check($0.number(of: 3)) } == .late)
        }
    }

    // RFC 4303 A3
    @Test(
        "a sender that went on without us is found again", arguments: 1...9 as ClosedRange<UInt64>,
        ["aes-128-gcm-16", "aes-128-gmac", "chacha20-poly1305", "ah-hmac-sha2-256-128", "ah-aes-128-gmac"])
    func resynchronization(halves: UInt64, name: String) throws {
        let profile = try ExtendedNumbersTests.profile(name), behind: UInt64 = 5 << 32 | 1000
        var rig = try ProfileRig(profile, behind: behind), random = SplitMix64(seed: halves)
        rig.goOn(with: behind + halves << 32 + 1)
        var passed: [Int] = [], expected: [UInt64] = [], found: [UInt64] = []
        let state = rig.state
        for index in 1...700 {
            let inner = innerPacket(octets: 40 + index % 4, using: &random)
            let opened = rig.open([rig.protect(inner).octets])[0]
            if case .passed(let octets) = opened.verdict {
                #expect(octets == inner)
                passed.append(index)
                found.append(opened.number)
                expected.append(behind + halves << 32 + UInt64(index))
            } else {
                #expect(opened.verdict == .dropped(.integrityFailed) && rig.state == state)
            }
        }
        let (times, attempts) = rig.inbound.with {
            ($0.resynchronizations.load(ordering: .relaxed), $0.resynchronizationAttempts.load(ordering: .relaxed))
        }
        guard halves <= 8 else {
            #expect(passed.isEmpty && times == 0 && attempts == 10)
            return
        }
        // 64 that fail, and then one in 64 is tried with one more high half.
        #expect(passed == Array(64 * Int(halves) + 1...700) && found == expected, "\(name)")
        #expect(times == 1 && attempts == halves)
    }

    @Test("forged packets cost one more verification in 64, in bursts too, and nothing of the SA")
    func forgeries() throws {
        let profile = try ExtendedNumbersTests.profile()
        var rig = try ProfileRig(profile), random = SplitMix64(seed: 1)
        let good = rig.protect((0..<4).map { _ in innerPacket(octets: 40, using: &random) }).map(\.octets)
        var forged = good[0]
        forged[40] ^= 1
        for _ in 0..<64 {
            let opened = rig.open((0..<32).map { _ in forged })
            #expect(opened.allSatisfy { $0.verdict == .dropped(.integrityFailed) })
        }
        // 2048 packets, of which the first 64 only counted.
        #expect(rig.inbound.with { $0.resynchronizationAttempts.load(ordering: .relaxed) } == 31)
        #expect(rig.state == .init())
        // The good one is a candidate or not: it is accepted under the number that it has.
        let opened = rig.open([forged, good[0], forged, good[1]])
        #expect(opened.map(\.number) == [0, 1, 0, 2])
        #expect(rig.inbound.with { $0.resynchronizations.load(ordering: .relaxed) } == 0)
    }

    @Test("without extended numbers nothing is tried")
    func notExtended() throws {
        var rig = try ProfileRig(
            {
                var profile = AssociationProfile()
                profile.mode = .transport
                return profile
            }())
        var random = SplitMix64(seed: 1)
        var forged = rig.protect(innerPacket(octets: 40, using: &random)).octets
        forged[40] ^= 1
        for _ in 0..<300 { #expect(rig.open(forged) == .dropped(.integrityFailed)) }
        #expect(rig.inbound.with { $0.resynchronizationAttempts.load(ordering: .relaxed) } == 0)
    }
}
