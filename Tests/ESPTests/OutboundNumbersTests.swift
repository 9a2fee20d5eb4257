import IPsec
import SeededRandom
import Testing

@testable import ESP

/// Which sequence numbers and IVs an outbound SA uses, and when it stops.
@Suite("Sequence numbers and IVs")
struct OutboundNumbersTests {
    private static let last = UInt64(UInt32.max)

    /// Sends `count` small packets in bursts; gives the numbers of those that went out and why the others did not.
    private static func send(
        _ count: Int, under pair: AssociationPair, _ bench: inout Bench
    ) -> (sequences: [UInt64], vectors: [UInt64], failures: [DropReason]) {
        var random = SplitMix64(seed: 1)
        var sequences: [UInt64] = [], vectors: [UInt64] = [], failures: [DropReason] = []
        var left = count
        while left > 0 {
            let burst = min(left, Bench.capacity)
            left -= burst
            let inner = (0..<burst).map { _ in innerPacket(octets: 24, using: &random) }
            for verdict in bench.send(inner, under: pair) {
                switch verdict {
                case .dropped(let reason): failures.append(reason)
                case .passed(let octets):
                    sequences.append(octets[24..<28].reduce(0) { $0 << 8 | UInt64($1) })
                    vectors.append(octets[28..<36].reduce(0) { $0 << 8 | UInt64($1) })
                }
            }
        }
        return (sequences, vectors, failures)
    }

    @Test("nothing goes out before anything is granted")
    func nothingGranted() throws {
        let pair = try AssociationPair(seed: 1, granted: 0)
        var bench = try Bench()
        let sent = OutboundNumbersTests.send(3, under: pair, &bench)
        #expect(
            sent.sequences.isEmpty && sent.failures == [.sequenceExhausted, .sequenceExhausted, .sequenceExhausted])
        #expect(pair.outboundState == .init())
    }

    // RFC 4303 2.2 and 3.3.3: from 1, one more for each packet.
    @Test("exactly what is granted goes out, and more goes on from there")
    func ceilings() throws {
        let pair = try AssociationPair(seed: 2, granted: 0)
        var bench = try Bench()
        for (granted, first) in [(5, 1), (6, 6), (70, 7), (71, 71)] as [(UInt64, UInt64)] {
            pair.outbound.with { $0.grant(sequence: granted, initializationVector: granted) }
            let sent = OutboundNumbersTests.send(80, under: pair, &bench)
            #expect(sent.sequences == [UInt64](first...granted) && sent.vectors == sent.sequences)
            #expect(sent.failures == .init(repeating: .sequenceExhausted, count: 80 - sent.sequences.count))
            #expect(
                pair.outboundState
                    == .init(
                        sequence: granted, vector: granted, packets: granted, octets: 24 * granted,
                        identification: UInt16(granted)))
        }
    }

    @Test("either of the two runs out alone")
    func separately() throws {
        for (sequence, vector) in [(3, 100), (100, 3), (0, 100), (100, 0)] as [(UInt64, UInt64)] {
            let pair = try AssociationPair(seed: 3, granted: 0)
            var bench = try Bench()
            pair.outbound.with { $0.grant(sequence: sequence, initializationVector: vector) }
            let sent = OutboundNumbersTests.send(10, under: pair, &bench)
            #expect(
                sent.sequences.count == Int(min(sequence, vector)) && sent.failures.count == 10 - sent.sequences.count)
            pair.outbound.with { $0.grant(sequence: 100, initializationVector: 100) }
            #expect(OutboundNumbersTests.send(1, under: pair, &bench).sequences == [min(sequence, vector) + 1])
        }
    }

    @Test("a resumed SA follows what was used, its IV ahead of its sequence number")
    func resumed() throws {
        let pair = try AssociationPair(seed: 4, granted: 0)
        var bench = try Bench()
        pair.outbound.with { association in
            association.resume(behindSequence: 1000, behindInitializationVector: 1 << 50)
        }
        #expect(OutboundNumbersTests.send(2, under: pair, &bench).failures.count == 2)
        pair.outbound.with { $0.grant(sequence: 1002, initializationVector: 1 << 50 + 10) }
        let sent = OutboundNumbersTests.send(3, under: pair, &bench)
        #expect(sent.sequences == [1001, 1002] && sent.vectors == [1 << 50 + 1, 1 << 50 + 2])
    }

    // RFC 4303 3.3.3: the counter must not cycle.
    @Test("2^32 - 1 goes out and nothing after it")
    func lastSequence() throws {
        let pair = try AssociationPair(seed: 5, granted: 0)
        var bench = try Bench()
        pair.outbound.with { association in
            association.resume(
                behindSequence: OutboundNumbersTests.last - 3, behindInitializationVector: OutboundNumbersTests.last - 3
            )
            association.grant(sequence: OutboundNumbersTests.last, initializationVector: .max)
        }
        let sent = OutboundNumbersTests.send(40, under: pair, &bench)
        let expected = [UInt64](OutboundNumbersTests.last - 2...OutboundNumbersTests.last)
        #expect(sent.sequences == expected && sent.vectors == expected)
        #expect(sent.failures == .init(repeating: .sequenceExhausted, count: 37))
        #expect(pair.outboundState.sequence == OutboundNumbersTests.last)
    }

    // RFC 4106 3.1: an IV must not come back under one key.
    @Test("the last IV goes out and nothing after it")
    func lastVector() throws {
        let pair = try AssociationPair(seed: 6, granted: 0)
        var bench = try Bench()
        pair.outbound.with { association in
            association.resume(behindSequence: 0, behindInitializationVector: .max - 2)
            association.grant(sequence: 100, initializationVector: .max)
        }
        let sent = OutboundNumbersTests.send(5, under: pair, &bench)
        #expect(sent.vectors == [.max - 1, .max] && sent.sequences == [1, 2])
        #expect(sent.failures == .init(repeating: .sequenceExhausted, count: 3))
        #expect(pair.outboundState.vector == .max)
    }
}
