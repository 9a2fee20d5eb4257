import SeededRandom
import Testing
import Wire

@testable import DataPlane

/// Reassembly as plainly as RFC 791 and RFC 5722 say it, without limits: which octets are there, and who wrote them.
private struct PlainReassembly {
    private struct Datagram {
        var parts: [(range: Range<Int>, payload: [UInt8], isLast: Bool)] = []
        var isSpoilt = false
    }

    private var datagrams: [UInt32: Datagram] = [:]
    private(set) var held = 0

    mutating func take(_ piece: Piece, _ range: Range<Int>, _ payload: [UInt8], more: Bool) -> FragmentBench.Outcome {
        // RFC 6946, and packets that are no fragments.
        if range.lowerBound == 0 && !more {
            let whole = piece.whole(range.count)
            return .whole(whole.dropLast(range.count) + payload, merged: 0)
        }
        var datagram = datagrams[piece.identification] ?? Datagram()
        defer { datagrams[piece.identification] = datagram }
        guard !datagram.isSpoilt else { return .refused }
        if datagram.parts.contains(where: { $0 == (range, payload, !more) }) { return .refused }
        let end = datagram.parts.first(where: \.isLast)?.range.upperBound
        let furthest = datagram.parts.map(\.range.upperBound).max() ?? 0
        let overlaps = datagram.parts.contains { $0.range.overlaps(range) }
        let endsHold = more ? range.upperBound <= end ?? .max : end == nil && range.upperBound >= furthest
        guard !overlaps, endsHold else {
            held -= datagram.parts.count
            datagram = Datagram(isSpoilt: true)
            return .refused
        }
        datagram.parts.append((range, payload, !more))
        held += 1
        datagram.parts.sort { $0.range.lowerBound < $1.range.lowerBound }
        var reached = 0
        for part in datagram.parts where part.range.lowerBound == reached { reached = part.range.upperBound }
        guard datagram.parts.contains(where: { $0.isLast && $0.range.upperBound == reached }) else { return .held }
        let merged = datagram.parts.count - 1
        let whole = piece.whole(reached)
        let header = whole.count - reached
        let octets = whole.prefix(header) + datagram.parts.flatMap(\.payload)
        held -= datagram.parts.count
        datagram = Datagram()
        return .whole([UInt8](octets), merged: merged)
    }
}

extension OnDPDK {
    @Suite("Reassembly beside a plain model")
    struct FragmentTablePropertyTests {
        init() throws { try TestEnvironment.start() }

        /// Parts of a few datagrams at a time, in any order, some twice, some changed, some that overlap, some missing.
        @Test("agrees with the model", arguments: seeds(1...8))
        func agrees(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let bench = try FragmentBench()
            defer { bench.end() }
            var wholes = 0, refusals = 0
            for round in 0..<60 {
                // Few enough that no limit is reached; each round begins after all of the last is over.
                var model = PlainReassembly()
                let now = UInt64(round + 1) * 10_000
                bench.expire(now: now)
                let family = random.pick([4, 6])
                var parts: [(piece: Piece, range: Range<Int>, payload: [UInt8], more: Bool)] = []
                for number in 0..<1 + random.below(3) {
                    var piece = Piece(family: family, identification: UInt32(round * 8 + number))
                    if random.once(in: 3) && family == 4 { piece.options = hex("94040000") }
                    parts += FragmentTablePropertyTests.parts(of: piece, &random)
                }
                parts.shuffle(using: &random)
                for (index, part) in parts.enumerated() {
                    let packet = part.piece.part(part.range, more: part.more, payload: part.payload)
                    let outcome = bench.take(packet, now: now + UInt64(index), behind: random.below(2) * 7)
                    let expected = model.take(part.piece, part.range, part.payload, more: part.more)
                    guard outcome == expected, bench.held == model.held else {
                        Issue.record("seed \(seed), round \(round), part \(index): \(outcome), not \(expected)")
                        return
                    }
                    if case .whole = outcome { wholes += 1 }
                    if outcome == .refused { refusals += 1 }
                }
                bench.checkBalance("seed \(seed), round \(round)")
            }
            #expect(wholes > 20 && refusals > 20, "seed \(seed): \(wholes) wholes, \(refusals) refusals")
        }

        private static func parts(
            of piece: Piece, _ random: inout SplitMix64
        ) -> [(piece: Piece, range: Range<Int>, payload: [UInt8], more: Bool)] {
            let total = 9 + random.below(1500)
            var parts: [(piece: Piece, range: Range<Int>, payload: [UInt8], more: Bool)] = []
            var start = 0
            while start < total {
                let end = min(total, start + 8 * (1 + random.below(40)))
                parts.append((piece, start..<end, piece.payload(start..<end), end < total))
                start = end
            }
            let trouble = random.below(6)
            if trouble == 0 { parts.remove(at: random.below(parts.count)) }
            if trouble < 3, let twice = parts.randomElement(using: &random) { parts.append(twice) }
            if trouble == 3, var changed = parts.randomElement(using: &random) {
                changed.payload[random.below(changed.payload.count)] ^= 1
                parts.append(changed)
            }
            if trouble == 4 {
                let start = 8 * random.below(total / 8), end = start + 8 * (1 + random.below(20))
                parts.append((piece, start..<end, piece.payload(start..<end), random.once(in: 4) == false))
            }
            return parts
        }

        @Test("what is cut is put together again", arguments: seeds(9...14))
        func cutAndJoined(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let bench = try FragmentBench()
            defer { bench.end() }
            for step in 0..<200 {
                var piece = Piece(family: random.pick([4, 6]), identification: UInt32(step) + 1)
                if piece.family == 4 && random.once(in: 2) { piece.options = hex("07070400000000 01 94040000") }
                piece.mark = UInt8(random.below(4))
                var packet = piece.whole(64 + random.below(1800))
                let header = piece.family == 4 ? 20 + piece.options.count : 48
                let least = max(header + 8, packet.count / 28 + header + 8)
                guard least < packet.count else { continue }
                let mtu = least + random.below(packet.count - least)
                var fragments = packet.withPacketBytes { bytes -> [[UInt8]] in
                    guard let cut = Fragmenter(bytes, mtuOctets: mtu, identification: piece.identification) else {
                        return []
                    }
                    return (0..<cut.count).map { index in
                        var buffer = [UInt8](repeating: 0xa5, count: mtu)
                        let length = buffer.withPacketBytes { cut.write(index, into: $0) }
                        return [UInt8](buffer.prefix(length))
                    }
                }
                guard fragments.count > 1 else {
                    Issue.record("seed \(seed), step \(step): \(packet.count) octets were not cut at \(mtu)")
                    return
                }
                fragments.shuffle(using: &random)
                for fragment in fragments.dropLast() { #expect(bench.take(fragment) == .held) }
                let outcome = bench.take(fragments[fragments.count - 1])
                guard outcome == .whole(packet, merged: fragments.count - 1) else {
                    Issue.record("seed \(seed), step \(step): \(outcome) of \(packet)")
                    return
                }
            }
            #expect(bench.held == 0 && bench.lost == 0)
        }

        @Test("random octets and random fragments never trap, leak or go beyond the limits", arguments: seeds(15...18))
        func randomOctets(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let bench = try FragmentBench()
            defer { bench.end() }
            var wholes = 0, most = 0
            for step in 0..<20_000 {
                let start = 8 * random.below(6)
                let piece = Piece(
                    family: random.pick([4, 6]), identification: UInt32(random.below(40)),
                    source: UInt32(random.below(30)), mark: UInt8(random.below(4)))
                var packet = piece.part(start..<start + 8 * random.below(3), more: !random.once(in: 4))
                if random.once(in: 8) { packet[random.below(packet.count)] = UInt8(random.below(256)) }
                if random.once(in: 16) { packet = random.octets(random.below(80)) }
                if case .whole = bench.take(packet, now: UInt64(step) / 4) { wholes += 1 }
                most = max(most, bench.held)
                if step % 1000 == 0 {
                    bench.expire(now: UInt64(step) / 4)
                    bench.checkBalance("seed \(seed), step \(step)")
                }
            }
            #expect(wholes > 100 && most > 100 && most <= FragmentTable.bufferLimit, "seed \(seed): \(wholes), \(most)")
        }
    }
}
