import IPsec
import SeededRandom
import Testing

@testable import ESP

@Suite("Out and in again")
struct RoundTripTests {
    @Test("packets of every length")
    func everyLength() throws {
        var random = SplitMix64(seed: 1), bench = try Bench()
        let pair = try AssociationPair(seed: 1)
        var octets: UInt64 = 0
        for first in stride(from: 20, through: 1500, by: Bench.capacity) {
            let inner = (first...min(1500, first + Bench.capacity - 1)).map { innerPacket(octets: $0, using: &random) }
            let sent = bench.send(inner, under: pair)
            let received = bench.receive(sent.map { ([UInt8]($0.octets.dropFirst(20)), pair) })
            #expect(received == inner.map { .passed($0) }, "from length \(first)")
            octets += UInt64(inner.reduce(0) { $0 + $1.count })
        }
        #expect(pair.inboundState == .init(highest: 1481, packets: 1481, octets: octets))
        #expect(pair.outboundState.packets == 1481 && pair.outboundState.octets == octets)
    }

    @Test("full bursts of several SAs, with packets that fail between the good ones", arguments: [1 as UInt64, 2, 3])
    func mixedBursts(seed: UInt64) throws {
        var random = SplitMix64(seed: seed), bench = try Bench()
        let pairs = try (0..<4).map { try AssociationPair(seed: seed << 8 | $0) }
        let exhausted = try AssociationPair(seed: seed << 8 | 9, granted: 0)
        for round in 0..<20 {
            let items = (0..<Bench.capacity).map { _ -> (inner: [UInt8], pair: AssociationPair, headRoom: Int) in
                let inner = innerPacket(octets: Int.random(in: 20...300, using: &random), using: &random)
                let choice = Int.random(in: 0..<8, using: &random)
                let pair = choice == 0 ? exhausted : pairs[Int.random(in: 0..<4, using: &random)]
                return (inner, pair, choice == 1 ? 35 : OutboundBurst.headOctets)
            }
            let sent = bench.send(items)
            var expected: [Verdict] = [], arriving: [(esp: [UInt8], pair: AssociationPair)] = []
            for (item, verdict) in zip(items, sent) {
                let failure: DropReason? =
                    item.headRoom < 36 ? .noBuffers : item.pair === exhausted ? .sequenceExhausted : nil
                guard failure == nil, case .passed(let outer) = verdict else {
                    #expect(verdict == failure.map { .dropped($0) }, "seed \(seed), round \(round)")
                    continue
                }
                var esp = [UInt8](outer.dropFirst(20))
                switch Int.random(in: 0..<6, using: &random) {
                case 0:
                    esp[esp.count - 1] ^= 0x80
                    expected.append(.dropped(.integrityFailed))
                case 1:
                    esp.removeLast(1)
                    expected.append(.dropped(.malformed))
                default: expected.append(.passed(item.inner))
                }
                arriving.append((esp, item.pair))
            }
            #expect(bench.receive(arriving) == expected, "seed \(seed), round \(round)")
        }
        #expect(exhausted.outboundState == .init() && exhausted.inboundState == .init())
    }
}
