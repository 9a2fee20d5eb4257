import IPsec
import SeededRandom
import Testing

@testable import ESP

/// Authentic packets of a sender that is not ours: what lies behind the payload, and what an SA does with it.
@Suite("Padding and trailer")
struct InboundTrailerTests {
    /// Opens `text`, sealed, as the first packet of an SA. It is authentic: the window has it, whatever the verdict.
    private static func receive(
        _ text: [UInt8], _ bench: inout Bench, _ gcm: borrowing DirectGCM, _ comment: Comment
    ) throws -> Verdict {
        let pair = try AssociationPair(seed: 1)
        let packet = pair.seal(text, sequence: 5, iv: 9, with: gcm)
        let verdict = bench.receive(packet, under: pair)
        let passed = verdict.octets.count
        let isPassed = if case .passed = verdict { true } else { false }
        #expect(pair.inboundState == .init(highest: 5, packets: isPassed ? 1 : 0, octets: UInt64(passed)), comment)
        #expect(bench.receive(packet, under: pair) == .dropped(.replayed), comment)
        return verdict
    }

    // RFC 4303 2.4: up to 255 octets of padding.
    @Test("padding of every length")
    func everyPadLength() throws {
        var random = SplitMix64(seed: 1), bench = try Bench()
        let gcm = try DirectGCM()
        for count in 0...255 {
            let inner = innerPacket(octets: 20 + (2 - count & 3) & 3, using: &random)
            let padding = (0..<count).map { UInt8($0 + 1) }
            let verdict = try InboundTrailerTests.receive(
                espText(payload: inner, padding: padding), &bench, gcm, "\(count) octets")
            #expect(verdict == .passed(inner), "\(count) octets")
        }
    }

    @Test("padding that is not 1, 2, 3, …", arguments: [3, 7, 255])
    func wrongPadding(count: Int) throws {
        var random = SplitMix64(seed: 2), bench = try Bench()
        let gcm = try DirectGCM(), inner = innerPacket(octets: 20 + (2 - count & 3) & 3, using: &random)
        for index in 0..<count {
            var padding = (0..<count).map { UInt8($0 + 1) }
            padding[index] &+= UInt8.random(in: 1...255, using: &random)
            let verdict = try InboundTrailerTests.receive(
                espText(payload: inner, padding: padding), &bench, gcm, "octet \(index)")
            #expect(verdict == .dropped(.badTrailer), "octet \(index)")
        }
        let zeros = espText(payload: inner, padding: .init(repeating: 0, count: count))
        #expect(try InboundTrailerTests.receive(zeros, &bench, gcm, "zeros") == .dropped(.badTrailer))
    }

    @Test("a pad length larger than the packet, and one that leaves nothing")
    func padLengths() throws {
        var bench = try Bench()
        let gcm = try DirectGCM()
        for octets in stride(from: 2, through: 254, by: 4) {
            // All padding as it should be, so that only the length decides.
            let padding = (0..<octets).map { UInt8($0 + 1) }
            let all = espText(payload: [], padding: padding)
            // RFC 4301 5.2: nothing is not an IPv4 packet.
            #expect(try InboundTrailerTests.receive(all, &bench, gcm, "\(octets)") == .dropped(.badTrailer))
            for length in [octets + 1, octets + 2, octets + 3, 255] where length <= 255 {
                let more = espText(payload: [], padding: padding, padLength: UInt8(length))
                let verdict = try InboundTrailerTests.receive(more, &bench, gcm, "\(length) of \(octets)")
                #expect(verdict == .dropped(.badTrailer), "\(length) of \(octets)")
            }
        }
    }

    // RFC 4303 2.6 and 3.4.4.1: discarded without prejudice, and without a trace but in the window.
    @Test("dummy packets", arguments: [0, 4, 20, 1200])
    func dummies(octets: Int) throws {
        var random = SplitMix64(seed: 3), bench = try Bench()
        let gcm = try DirectGCM()
        let text = espText(payload: random.octets(octets), nextHeader: 59)
        #expect(try InboundTrailerTests.receive(text, &bench, gcm, "dummy") == .dropped(.dummy))
    }

    @Test("next headers that a tunnel does not carry")
    func nextHeaders() throws {
        var random = SplitMix64(seed: 4), bench = try Bench()
        let gcm = try DirectGCM(), inner = innerPacket(octets: 28, using: &random)
        for nextHeader in 0...UInt8.max {
            let expected: Verdict =
                switch nextHeader {
                case 4: .passed(inner)
                case 59: .dropped(.dummy)
                default: .dropped(.badTrailer)
                }
            let text = espText(payload: inner, nextHeader: nextHeader)
            #expect(try InboundTrailerTests.receive(text, &bench, gcm, "\(nextHeader)") == expected, "\(nextHeader)")
        }
    }

    // RFC 4303 2.7: the inner packet's own length tells where it ends; that is for its reader.
    @Test("traffic flow confidentiality padding stays with the inner packet", arguments: [1, 4, 100, 1400])
    func flowConfidentiality(count: Int) throws {
        var random = SplitMix64(seed: 5), bench = try Bench()
        let gcm = try DirectGCM()
        let payload = innerPacket(octets: 40, using: &random) + [UInt8](repeating: 0, count: count)
        let verdict = try InboundTrailerTests.receive(espText(payload: payload), &bench, gcm, "\(count) octets")
        #expect(verdict == .passed(payload))
    }
}
