import IPsec
import SeededRandom
import Testing

@testable import ESP

/// An inbound SA as RFC 4303 section 3.4 tells it, with a dictionary of what was sent to it and a set of what it
/// accepted.
private struct PlainReceiver {
    let window: UInt64
    /// All authentic packets by their numbers.
    var sent: [UInt64: (esp: [UInt8], inner: [UInt8])] = [:]
    private var accepted: Set<UInt64> = []
    private(set) var state = AssociationPair.InboundState()

    init(window: Int) { self.window = UInt64(window) }

    private static func number(_ esp: [UInt8]) -> UInt64 { esp[4..<8].reduce(0) { $0 << 8 | UInt64($1) } }

    private func refusal(_ number: UInt64) -> DropReason? {
        if number + window <= state.highest { return .late }
        return accepted.contains(number) ? .replayed : nil
    }

    /// What is found before decrypting. Every packet of a burst comes here before any of them goes to `open`.
    func look(_ esp: [UInt8]) -> DropReason? {
        guard esp.count >= 36, esp.count % 4 == 0, PlainReceiver.number(esp) > 0 else { return .malformed }
        return refusal(PlainReceiver.number(esp))
    }

    /// What is found then: authentic is what was sent, octet by octet.
    mutating func open(_ esp: [UInt8]) -> Verdict {
        let number = PlainReceiver.number(esp)
        guard let original = sent[number], original.esp == esp else { return .dropped(.integrityFailed) }
        if let reason = refusal(number) { return .dropped(reason) }
        accepted.insert(number)
        state.highest = max(state.highest, number)
        state.packets += 1
        state.octets += UInt64(original.inner.count)
        return .passed(original.inner)
    }
}

/// A network between several SA pairs that loses, reorders, duplicates, damages, cuts, lengthens and misdirects.
private struct HostileNetwork: ~Copyable {
    typealias Packet = (esp: [UInt8], receiver: Int)

    let pairs: [AssociationPair]
    var receivers: [PlainReceiver]
    var random: SplitMix64
    var bench: Bench
    var inFlight: [Packet] = []
    var seen: Set<DropReason> = []
    var passed = 0

    init(seed: UInt64) throws {
        let windows = [64, 64, 128], bench = try Bench()
        let pairs = try windows.enumerated().map { index, window in
            try AssociationPair(seed: seed << 8 | UInt64(index), replayWindow: window)
        }
        self.pairs = pairs
        receivers = windows.map { PlainReceiver(window: $0) }
        random = SplitMix64(seed: seed)
        self.bench = bench
    }

    private mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }

    /// One event. Gives back a burst whose verdicts were not those of the plain receivers, and both verdicts.
    mutating func step() -> (burst: [Packet], expected: [Verdict], found: [Verdict])? {
        if inFlight.isEmpty {
            send()
            return nil
        }
        let index = below(inFlight.count)
        switch below(16) {
        case 0..<5: send()
        case 5: inFlight.insert(inFlight[index], at: below(inFlight.count + 1))
        case 6, 7: inFlight.insert(inFlight.remove(at: index), at: below(inFlight.count + 1))
        case 8: inFlight.remove(at: index)
        case 9: flipBit(of: index, within: inFlight[index].esp.count)
        case 10: flipBit(of: index, within: min(16, inFlight[index].esp.count))
        case 11:
            inFlight[index].esp.removeLast(min(inFlight[index].esp.count, below(2) == 0 ? 4 : 1 + below(80)))
        case 12:
            inFlight[index].esp += random.octets(1 + below(8))
        case 13: inFlight[index].receiver = below(pairs.count)
        default: return deliver()
        }
        return nil
    }

    private mutating func flipBit(of index: Int, within octets: Int) {
        guard octets > 0 else { return }
        inFlight[index].esp[below(octets)] ^= 1 << UInt8(below(8))
    }

    /// A few packets of one SA; now and then so many are lost at once that the window leaves behind what is in flight.
    private mutating func send() {
        let receiver = below(pairs.count), lost = below(8) == 0 ? below(100) : 0
        for index in 0..<lost + 1 + below(6) {
            let inner = innerPacket(octets: 20 + below(60), using: &random)
            let esp = [UInt8](bench.send([inner], under: pairs[receiver])[0].octets.dropFirst(20))
            let number = esp[4..<8].reduce(0) { $0 << 8 | UInt64($1) }
            receivers[receiver].sent[number] = (esp, inner)
            if index >= lost { inFlight.append((esp, receiver)) }
        }
    }

    /// A burst of the oldest packets in flight; some of them stay there, to come again much later.
    private mutating func deliver() -> (burst: [Packet], expected: [Verdict], found: [Verdict])? {
        let count = min(inFlight.count, 1 + below(Bench.capacity)), burst = [Packet](inFlight.prefix(count))
        inFlight.removeFirst(count)
        for packet in burst where below(10) == 0 { inFlight.append(packet) }

        let looks = burst.map { receivers[$0.receiver].look($0.esp) }
        let expected = zip(burst, looks).map { packet, refused in
            refused.map { .dropped($0) } ?? receivers[packet.receiver].open(packet.esp)
        }
        let found = bench.receive(burst.map { ($0.esp, pairs[$0.receiver]) })
        for case .dropped(let reason) in found { seen.insert(reason) }
        passed += found.count { if case .passed = $0 { true } else { false } }
        return found == expected ? nil : (burst, expected, found)
    }
}

@Suite("Verdicts against a plain model")
struct VerdictPropertyTests {
    @Test("whatever a network does to packets of several SAs", arguments: 1...24 as ClosedRange<UInt64>)
    func hostileNetwork(seed: UInt64) throws {
        var network = try HostileNetwork(seed: seed)
        for step in 0..<1500 {
            if let failed = network.step() {
                let capture = try VerdictPropertyTests.capture(
                    failed.burst.map(\.esp), name: "verdicts-\(seed)-\(step)")
                let index = zip(failed.expected, failed.found).prefix { $0 == $1 }.count
                Issue.record(
                    """
                    seed \(seed), step \(step): packet \(index) of the burst in \(capture) should have been \
                    \(failed.expected[index]) and was \(failed.found[index])
                    """)
                return
            }
            for (pair, receiver) in zip(network.pairs, network.receivers) where pair.inboundState != receiver.state {
                Issue.record(
                    "seed \(seed), step \(step): SA \(pair.spi) is \(pair.inboundState), not \(receiver.state)")
                return
            }
        }
        // Otherwise the network is not hostile enough to show anything.
        #expect(
            network.seen == [.malformed, .late, .replayed, .integrityFailed] && network.passed > 100, "seed \(seed)")
    }

    /// A capture file of ESP packets behind outer headers.
    private static func capture(_ packets: [[UInt8]], name: String) throws -> String {
        let outer = packets.map { esp in
            minimalIPv4Header(
                typeOfService: 0, totalLength: 20 + esp.count, identification: 0, fragment: 0, timeToLive: 64,
                ipProtocol: 50, source: AssociationPair.local, destination: AssociationPair.remote) + esp
        }
        return try writeCapture(outer, name: name)
    }

    @Test("a failed case leaves a capture file")
    func captureFile() throws {
        let packets: [[UInt8]] = [[1, 2, 3], []]
        let path = try VerdictPropertyTests.capture(packets, name: "verdicts-capture-file-test")
        defer { removeFile(path) }
        let file = try readFile(path)
        #expect(file.count == 24 + 16 + 23 + 16 + 20)
        #expect([UInt8](file.prefix(6)) == [0xd4, 0xc3, 0xb2, 0xa1, 2, 0] && file[20] == 101)
        #expect([UInt8](file[32..<42]) == [23, 0, 0, 0, 23, 0, 0, 0, 0x45, 0] && [UInt8](file[60..<63]) == [1, 2, 3])
    }
}
