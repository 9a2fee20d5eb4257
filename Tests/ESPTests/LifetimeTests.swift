import IPsec
import SeededRandom
import Testing

@testable import ESP

/// Both directions of an SA pair as the tests of limits drive them: packets of 24 octets, one by one.
private struct LimitRig: ~Copyable {
    static let octets = 24
    let pair: AssociationPair
    /// Makes what `pair` receives.
    let sender: AssociationPair
    var bench: Bench
    private var random = SplitMix64(seed: 1)

    init() throws {
        let (pair, sender) = (try AssociationPair(seed: 1), try AssociationPair(seed: 1)), bench = try Bench()
        self.pair = pair
        self.sender = sender
        self.bench = bench
    }

    /// One packet; nil when it passed. And whether the SA's bit was raised.
    mutating func step(_ direction: Direction) -> (refusal: DropReason?, isRaised: Bool) {
        let inner = innerPacket(octets: LimitRig.octets, using: &random)
        let verdict: Verdict
        switch direction {
        case .outbound: verdict = bench.send([inner], under: pair)[0]
        case .inbound:
            let esp = [UInt8](bench.send([inner], under: sender)[0].octets.dropFirst(20))
            verdict = bench.receive(esp, under: pair)
        }
        let raised = bench.raised()
        #expect(raised.isEmpty || raised == [direction == .outbound ? 7 : 65])
        if case .dropped(let reason) = verdict { return (reason, !raised.isEmpty) }
        return (nil, !raised.isEmpty)
    }

    func limit(_ direction: Direction, _ allowance: Allowance) {
        switch direction {
        case .outbound: pair.outbound.with { $0.limit(allowance) }
        case .inbound: pair.inbound.with { $0.limit(allowance) }
        }
    }

    func isExpired(_ direction: Direction) -> (soft: Bool, hard: Bool) {
        switch direction {
        case .outbound: pair.outbound.with { ($0.isSoftExpired, $0.isHardExpired) }
        case .inbound: pair.inbound.with { ($0.isSoftExpired, $0.isHardExpired) }
        }
    }
}

enum Direction: CaseIterable, Sendable { case outbound, inbound }

/// RFC 4301 section 4.4.2.1.
@Suite("Lifetimes in packets and octets")
struct LifetimeTests {
    @Test("the soft limit raises the bit once and stops nothing", arguments: Direction.allCases, [true, false])
    func soft(_ direction: Direction, byPackets: Bool) throws {
        var rig = try LimitRig(), allowance = Allowance()
        // 5 packets have 120 octets, 4 have 96.
        if byPackets { allowance.softPackets = 5 } else { allowance.softOctets = 97 }
        rig.limit(direction, allowance)
        var raisedAt: [Int] = []
        for number in 1...40 {
            let (refusal, isRaised) = rig.step(direction)
            #expect(refusal == nil)
            if isRaised { raisedAt.append(number) }
            #expect(rig.isExpired(direction) == (number > 5, false))
        }
        // The worker looks before it takes a packet: with the sixth it knows of five.
        #expect(raisedAt == [6])
    }

    @Test("the hard limit in packets stops exactly there", arguments: Direction.allCases, [0, 1, 2, 31, 32, 33])
    func hardPackets(_ direction: Direction, count: Int) throws {
        var rig = try LimitRig(), allowance = Allowance()
        allowance.hardPackets = UInt64(count)
        rig.limit(direction, allowance)
        let refusals = (0..<count + 5).map { _ in rig.step(direction).refusal }
        #expect(refusals == Array(repeating: nil, count: count) + Array(repeating: .lifetimeExpired, count: 5))
        #expect(rig.isExpired(direction) == (false, true))
    }

    @Test(
        "the hard limit in octets stops at the first packet after they were reached", arguments: Direction.allCases,
        [(1, 1), (23, 1), (24, 1), (25, 2), (48, 2), (49, 3), (240, 10)] as [(UInt64, Int)])
    func hardOctets(_ direction: Direction, limit: (octets: UInt64, packets: Int)) throws {
        var rig = try LimitRig(), allowance = Allowance()
        allowance.hardOctets = limit.octets
        rig.limit(direction, allowance)
        let refusals = (0..<limit.packets + 3).map { _ in rig.step(direction).refusal }
        #expect(
            refusals == Array(repeating: nil, count: limit.packets) + Array(repeating: .lifetimeExpired, count: 3))
    }

    @Test("soft and then hard raise the bit once each", arguments: Direction.allCases)
    func both(_ direction: Direction) throws {
        var rig = try LimitRig(), allowance = Allowance()
        (allowance.softPackets, allowance.hardPackets) = (3, 6)
        rig.limit(direction, allowance)
        let raised = (1...20).filter { _ in rig.step(direction).isRaised }
        #expect(raised == [4, 7])
        #expect(rig.isExpired(direction) == (true, true))
    }

    @Test("a limit that is changed counts from the next packet on, either way", arguments: Direction.allCases)
    func changed(_ direction: Direction) throws {
        var rig = try LimitRig(), allowance = Allowance()
        allowance.hardPackets = 4
        rig.limit(direction, allowance)
        for _ in 0..<4 { #expect(rig.step(direction).refusal == nil) }
        #expect(rig.step(direction).refusal == .lifetimeExpired)
        // More: it begins anew, and nobody has to send a packet for it to be known.
        allowance.hardPackets = 6
        rig.limit(direction, allowance)
        #expect(!rig.isExpired(direction).hard)
        for _ in 0..<2 { #expect(rig.step(direction).refusal == nil) }
        #expect(rig.step(direction).refusal == .lifetimeExpired)
        // None, and then less than was used.
        rig.limit(direction, Allowance())
        for _ in 0..<50 { #expect(rig.step(direction).refusal == nil) }
        allowance.hardPackets = 7
        rig.limit(direction, allowance)
        #expect(rig.isExpired(direction).hard)
        #expect(rig.step(direction).refusal == .lifetimeExpired)
    }

    @Test("a limit that had been used up before this run is known before the first packet")
    func usedUp() throws {
        var allowance = Allowance()
        (allowance.softPackets, allowance.hardOctets) = (0, 0)
        let material = try #require(
            KeyMaterial(hexadecimal: "0x" + String(repeating: "07", count: 20), for: .aes128GCM16))
        let key = try #require(KeyArena()?.expand(material))
        let address = IPAddress(v4: 1)
        let inbound = InboundSecurityAssociation(
            key: key, local: address, remote: address, replayWindow: 64, owner: 0, id: 1, allowance: allowance)
        #expect(inbound.isSoftExpired && inbound.isHardExpired)
        let outbound = OutboundSecurityAssociation(
            key: key, spi: SPI(rawValue: 256), local: address, remote: address, id: 1)
        outbound.limit(allowance)
        #expect(outbound.isSoftExpired && outbound.isHardExpired)
    }

    @Test("numbers behind the notice raise the bit, and not before")
    func notice() throws {
        var rig = try LimitRig()
        let pair = try AssociationPair(seed: 9, granted: 0)
        var random = SplitMix64(seed: 2)
        pair.outbound.with { $0.grant(sequence: 20, initializationVector: 20, notice: 10) }
        var raisedAt: [Int] = []
        for number in 1...22 {
            let verdict = rig.bench.send([innerPacket(octets: 24, using: &random)], under: pair)[0]
            if !rig.bench.raised().isEmpty { raisedAt.append(number) }
            #expect((verdict == .dropped(.sequenceExhausted)) == (number > 20))
        }
        // With the eleventh it has used ten; and then whoever finds nothing says so each time.
        #expect(raisedAt == [11, 21, 22])
        pair.outbound.with { $0.grant(sequence: 40, initializationVector: 40, notice: 30) }
        raisedAt = []
        for number in 21...40 {
            _ = rig.bench.send([innerPacket(octets: 24, using: &random)], under: pair)
            if !rig.bench.raised().isEmpty { raisedAt.append(number) }
        }
        #expect(raisedAt == [31])
    }
}
