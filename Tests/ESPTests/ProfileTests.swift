import IPsec
import SeededRandom
import Testing
import Wire

@testable import ESP

@Suite("Every profile")
struct ProfileTests {
    private static func families(_ profile: AssociationProfile, _ outer: IPFamily) -> [IPFamily] {
        profile.mode == .tunnel ? IPFamily.allCases : [outer]
    }

    @Test("out and in again, in bursts, over all pad lengths", arguments: IPFamily.allCases)
    func roundTrips(outer: IPFamily) throws {
        for (index, (profile, name)) in everyProfile().enumerated() {
            var random = SplitMix64(seed: UInt64(index)), rig = try ProfileRig(profile, outer: outer)
            var expected: UInt64 = 0, total = 0
            for inner in ProfileTests.families(profile, outer) {
                let least = inner == .v4 ? 20 : 40
                for first in [least, least + 16, 250, 1300] {
                    let packets = (first..<first + 16).map { packet(inner, octets: $0, using: &random) }
                    let sent = rig.protect(packets)
                    let opened = rig.open(sent.map(\.octets))
                    #expect(opened.map(\.verdict) == packets.map { .passed($0) }, "\(name) \(inner) in \(outer)")
                    #expect(opened.allSatisfy { $0.family == inner && $0.advancesWindow && !$0.movesPeer }, "\(name)")
                    #expect(opened.map(\.number) == (expected + 1...expected + 16).map { $0 }, "\(name)")
                    for (one, out) in zip(opened, sent) {
                        #expect(one.offset + one.verdict.octets.count <= out.octets.count)
                    }
                    expected += 16
                    total += packets.reduce(0) { $0 + $1.count }
                }
            }
            #expect(rig.state == .init(highest: expected, packets: expected, octets: UInt64(total)), "\(name)")
            #expect(rig.outbound.with { $0.octets.load(ordering: .relaxed) } == UInt64(total), "\(name)")
        }
    }

    @Test("the largest inner packet is what the overhead says", arguments: IPFamily.allCases)
    func innerMTU(outer: IPFamily) throws {
        for (index, (profile, name)) in everyProfile().enumerated() {
            var random = SplitMix64(seed: UInt64(index)), rig = try ProfileRig(profile, outer: outer)
            for link in 1280..<1296 {
                let largest = profile.innerMTUOctets(linkMTU: link, outer: outer)
                for inner in ProfileTests.families(profile, outer) {
                    let sent = rig.protect([largest, largest + 1].map { packet(inner, octets: $0, using: &random) })
                    #expect(sent[0].octets.count <= link && sent[1].octets.count > link, "\(name) in \(outer), \(link)")
                    #expect(
                        sent[0].octets.count > link - (profile.algorithm.securityProtocol == .esp ? 4 : 1), "\(name)")
                    for (octets, sent) in zip([largest, largest + 1], sent) {
                        #expect(profile.outerOctets(innerOctets: octets, outer: outer) == sent.octets.count, "\(name)")
                    }
                }
            }
            #expect(profile.innerMTUOctets(linkMTU: 40, outer: outer) >= 0)
        }
    }

    @Test("the four that everybody knows")
    func knownMTUs() {
        var profile = AssociationProfile()
        #expect(profile.innerMTUOctets(linkMTU: 1500, outer: .v4) == 1446)
        #expect(profile.innerMTUOctets(linkMTU: 1500, outer: .v6) == 1426)
        profile.natTraversal = true
        #expect(profile.innerMTUOctets(linkMTU: 1500, outer: .v4) == 1438)
        #expect(profile.innerMTUOctets(linkMTU: 1500, outer: .v6) == 1418)
        #expect(profile.innerMTUOctets(linkMTU: 10, outer: .v6) == 0)
    }

    @Test("no octet outside of the packet is written, and room that is short is noticed", arguments: IPFamily.allCases)
    func room(outer: IPFamily) throws {
        for (index, (profile, name)) in everyProfile().enumerated() {
            var random = SplitMix64(seed: UInt64(index))
            var rig = try ProfileRig(profile, outer: outer)
            let inner = packet(outer, octets: 77, using: &random)
            let sent = rig.protect(inner).octets, head = rig.outboundBurst[0].offset
            let needed = OutboundBurst.maximumHeadOctets - head
            #expect(needed <= OutboundBurst.maximumHeadOctets && sent.count - needed - 77 <= OutboundBurst.tailOctets)
            for (before, behind) in [(needed, 0), (needed - 1, 0), (0, 0), (needed, -1)] {
                let room = before - needed + sent.count + behind
                guard room >= before + 77 else { continue }
                var octets = [UInt8](repeating: 0xa5, count: before) + inner
                octets += [UInt8](repeating: 0x5a, count: room - octets.count) + [0x77]
                let original = octets
                octets.withPacketBytes { bytes in
                    rig.outboundBurst.removeAll()
                    rig.outboundBurst.append(
                        buffer: bytes.prefix(room), offset: before, length: 77, association: rig.outbound, tag: 0)
                    let last = rig.outbound.with { $0.sequenceNumber.load(ordering: .relaxed) }
                    rig.outboundBurst.prepare()
                    rig.crypto.submit(rig.outboundBurst)
                    rig.outboundBurst.finish()
                    let fits = before == needed && behind == 0
                    #expect(rig.outboundBurst[0].failure == (fits ? nil : .noBuffers), "\(name), \(before), \(behind)")
                    let now = rig.outbound.with { $0.sequenceNumber.load(ordering: .relaxed) }
                    #expect(now == last + (fits ? 1 : 0), "\(name)")
                    if !fits { #expect(bytes.octets == original, "\(name), \(before), \(behind)") }
                }
                #expect(octets.last == 0x77)
            }
        }
    }

    // RFC 4303 2.7
    @Test(
        "traffic flow confidentiality pads what is shorter, and only in tunnel mode",
        arguments: [0, 60, 61, 62, 63, 700])
    func flowConfidentiality(octets: Int) throws {
        var random = SplitMix64(seed: 1), profile = AssociationProfile()
        profile.tfcPaddingOctets = octets
        var rig = try ProfileRig(profile)
        for length in [20, 59, 60, 61, 63, 64, 699, 701] {
            let inner = innerPacket(octets: length, using: &random), sent = rig.protect(inner)
            let whole = max(length, octets)
            #expect(sent.octets.count == 20 + 16 + (whole + 2 + 3) / 4 * 4 + 16, "\(length)")
            #expect(rig.open(sent.octets) == .passed(inner + [UInt8](repeating: 0, count: whole - length)))
        }
        profile.mode = .transport
        rig = try ProfileRig(profile)
        let inner = innerPacket(octets: 40, using: &random)
        #expect(rig.open(rig.protect(inner).octets) == .passed(inner))
    }

    // RFC 4303 3.1.1, RFC 4302 3.1.1
    @Test("transport mode refuses fragments, AH what it can't predict; no number is lost to them")
    func refusedInTransport() throws {
        var random = SplitMix64(seed: 1)
        for (profile, name) in everyProfile() where profile.mode == .transport {
            let isAH = profile.algorithm.securityProtocol == .ah
            var rig = try ProfileRig(profile)
            for fragment: UInt16 in [0x2000, 0x0001, 0x3fff] {
                let inner = innerPacket(octets: 60, fragment: fragment, using: &random)
                #expect(rig.protect(inner) == .dropped(.reassemblyFailed), "\(name)")
            }
            var routed = innerPacket(octets: 60, using: &random)
            (routed[0], routed[20], routed[21]) = (0x47, 131, 8)
            #expect((rig.protect(routed) == .dropped(.malformed)) == isAH, "\(name)")

            let fragment = ProfileTests.extended(44, [253, 0, 0, 1] + random.octets(4), using: &random)
            #expect(rig.protect(fragment) == .dropped(.reassemblyFailed), "\(name)")
            let routing = ProfileTests.extended(43, [253, 0, 4, 0, 0, 0, 0, 0], using: &random)
            #expect((rig.protect(routing) == .dropped(.malformed)) == isAH, "\(name)")
            let cut = ProfileTests.extended(60, [253, 200, 1, 4, 0, 0, 0, 0], using: &random)
            #expect(rig.protect(cut) == .dropped(.malformed), "\(name)")
            let packets = rig.outbound.with { $0.packets }
            #expect(packets == (isAH ? 0 : 2), "\(name)")
        }
    }

    /// An IPv6 packet with one extension header of eight octets.
    private static func extended(_ kind: UInt8, _ header: [UInt8], using random: inout SplitMix64) -> [UInt8] {
        var packet = innerPacketV6(octets: 60, using: &random)
        packet[6] = kind
        packet[5] += 8
        packet.insert(contentsOf: header, at: 40)
        return packet
    }

    @Test("AH in fragments is not opened")
    func authenticatedFragments() throws {
        var random = SplitMix64(seed: 1), profile = AssociationProfile()
        profile.algorithm = try #require(Algorithm(name: "ah-hmac-sha2-256-128"))
        var rig = try ProfileRig(profile)
        var packet = rig.protect(innerPacket(octets: 60, using: &random)).octets
        packet[6] = 0x20
        #expect(rig.open(packet) == .dropped(.reassemblyFailed))
        packet[6] = 0x40
        #expect(rig.open(packet).octets.count == 60)
    }

    // RFC 4302 2.6: many align to eight octets in IPv4 too.
    @Test("an AH of another length than its algorithm makes", arguments: IPFamily.allCases)
    func authenticationHeaderLengths(outer: IPFamily) throws {
        for name in ["ah-hmac-sha2-256-128", "ah-aes-128-gmac"] {
            var random = SplitMix64(seed: 1), profile = AssociationProfile()
            profile.algorithm = try #require(Algorithm(name: name))
            var rig = try ProfileRig(profile, outer: outer)
            let packet = rig.protect(innerPacket(octets: 60, using: &random)).octets, start = rig.start(of: packet)
            for length in UInt8.min...UInt8.max {
                var changed = packet
                changed[start + 1] = length
                let octets = (Int(length) + 2) * 4
                let isPossible =
                    octets == profile.authenticationHeaderOctets(outer: .v6)
                    || octets == profile.authenticationHeaderOctets(outer: .v4)
                        && (outer == .v4 || name.hasSuffix("gmac"))
                if length != packet[start + 1] {
                    let verdict = rig.open(changed)
                    #expect(verdict == .dropped(isPossible ? .integrityFailed : .malformed), "\(name), \(length)")
                }
            }
            #expect(rig.open(packet).octets.count == 60)
        }
    }

    // RFC 4301 5.2
    @Test("an inner packet of another version than the next header says", arguments: IPFamily.allCases)
    func innerFamily(inner: IPFamily) throws {
        for (profile, name) in everyProfile() where profile.mode == .tunnel {
            var random = SplitMix64(seed: 1), rig = try ProfileRig(profile)
            for version in UInt8(0)...15 {
                var octets = packet(inner, octets: 60, using: &random)
                // What is not version 6 goes out as IPv4.
                octets[0] = version << 4 | octets[0] & 15
                guard version == 6 || octets[0] & 15 >= 5 else { continue }
                let verdict = rig.open(rig.protect(octets).octets)
                #expect(
                    verdict == (version == 4 || version == 6 ? .passed(octets) : .dropped(.badTrailer)),
                    "\(name), version \(version)")
            }
        }
    }

    @Test(
        "packets that are ahead of the ceiling are passed on whole, whatever the profile", arguments: IPFamily.allCases)
    func ahead(outer: IPFamily) throws {
        for (index, (profile, name)) in everyProfile().enumerated() {
            var random = SplitMix64(seed: UInt64(index))
            let base: UInt64 = profile.extendedSequenceNumbers ? 7 << 32 : 100
            var rig = try ProfileRig(profile, outer: outer, behind: base)
            rig.goOn(with: base + 1)
            rig.inbound.with { $0.setCeiling(base, notice: base) }
            let packets = (60..<64).map { packet(outer, octets: $0, using: &random) }
            let sent = rig.protect(packets).map(\.octets)
            #expect(rig.open(sent).allSatisfy { $0.verdict == .dropped(.ahead) }, "\(name)")
            #expect(rig.inbound.with { $0.wanted.load(ordering: .relaxed) } == base + 4, "\(name)")
            rig.inbound.with { $0.setCeiling(base + 100, notice: base + 100) }
            let passed = rig.passOpened()
            #expect(passed.map(\.verdict) == packets.map { .passed($0) }, "\(name)")
            #expect(passed.map(\.number) == (base + 1...base + 4).map { $0 }, "\(name)")
        }
    }

    @Test("nothing that comes in traps", arguments: 1...4 as ClosedRange<UInt64>)
    func hostile(seed: UInt64) throws {
        for (profile, _) in everyProfile() {
            var random = SplitMix64(seed: seed)
            for outer in IPFamily.allCases {
                var rig = try ProfileRig(profile, outer: outer)
                for _ in 0..<20 {
                    let packets = (0..<16).map { _ in
                        let octets = random.octets(Int.random(in: 0...200, using: &random))
                        return octets.isEmpty
                            ? octets : [UInt8.random(in: 0...1, using: &random) == 0 ? 0x45 : 0x60] + octets.dropFirst()
                    }
                    #expect(rig.open(packets).allSatisfy { $0.verdict.octets.isEmpty }, "seed \(seed)")
                    for start in [0, 20, 40] {
                        let opened = rig.open(packets.filter { $0.count >= start }, start: start)
                        #expect(opened.allSatisfy { $0.verdict.octets.isEmpty }, "seed \(seed)")
                    }
                }
            }
        }
    }
}
