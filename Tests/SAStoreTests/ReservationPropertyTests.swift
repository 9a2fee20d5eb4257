import IPsec
import SeededRandom
import Testing

@testable import SAStore

/// What the store promises, with nothing clever: the highest number reserved for each counter.
private struct PlainStore {
    var vectors: [KeyFingerprint: UInt64] = [:]
    var sequences: [SAIdentity: UInt64] = [:]

    mutating func grant(_ request: ReservationRequest) -> ClosedRange<UInt64>? {
        switch request {
        case .sequenceNumbers(let count, let sa, _):
            let end = sequences[sa, default: 0]
            if end == 0xffff_ffff { return nil }
            let last = count > 0xffff_ffff - end ? 0xffff_ffff : end + count
            sequences[sa] = last
            return end + 1...last
        case .initializationVectors(let count, let fingerprint, let floor):
            let first = max(vectors[fingerprint, default: 0] + 1, floor)
            vectors[fingerprint] = first + count - 1
            return first...first + count - 1
        }
    }
}

@Suite("No number is granted twice")
struct ReservationPropertyTests {
    @Test(
        "random requests, restarts and clock jumps agree with a plain model",
        arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func agreesWithPlainModel(seed: UInt64) throws {
        let directory = try TemporaryDirectory()
        var random = SplitMix64(seed: seed)
        var store: StateStore? = try StateStore(directory: directory.state)
        var plain = PlainStore()
        var granted: [String: [ClosedRange<UInt64>]] = [:]
        var clock: Int64 = 1_700_000_000
        for step in 0..<250 {
            switch UInt64.random(in: 0..<20, using: &random) {
            case 0:
                store = nil
                store = try StateStore(directory: directory.state)
            case 1: clock += Int64.random(in: -400_000_000...100_000_000, using: &random)
            default:
                let floor = Bool.random(using: &random) ? InitializationVectorFloor.at(clock) : 0
                let requests = (0..<Int.random(in: 1...6, using: &random)).map { _ in request(floor: floor, &random) }
                let expected = requests.map { plain.grant($0) }
                let blocks = try #require(try store?.reserve(requests))
                guard blocks == expected else {
                    Issue.record("seed \(seed), step \(step): \(requests): \(blocks), expected \(expected)")
                    return
                }
                for (request, block) in zip(requests, blocks) {
                    if let block { granted[counter(of: request), default: []].append(block) }
                }
            }
        }
        // Apart from any model: no two blocks of a counter share a number.
        #expect(granted.count > 12)
        for (counter, blocks) in granted {
            let sorted = blocks.sorted { $0.lowerBound < $1.lowerBound }
            for (block, next) in zip(sorted, sorted.dropFirst()) where block.upperBound >= next.lowerBound {
                Issue.record("seed \(seed): \(counter) got \(block) and \(next)")
            }
        }
    }

    /// Few keys and SPIs, so that they meet often; one block in eight goes far towards the end of the sequence numbers.
    private func request(floor: UInt64, _ random: inout SplitMix64) -> ReservationRequest {
        let key = Int.random(in: 0..<4, using: &random)
        let far = Int.random(in: 0..<8, using: &random) == 0
        let count = UInt64.random(in: 1...(far ? 1 << 31 : 1 << 12), using: &random)
        return Bool.random(using: &random)
            ? .sequenceNumbers(count: count, sa: identity(key, UInt32.random(in: 0x1000...0x1003, using: &random)))
            : .initializationVectors(count: count, fingerprint: fingerprint(key), floor: floor)
    }

    private func counter(of request: ReservationRequest) -> String {
        switch request {
        case .sequenceNumbers(_, let sa, _): "\(sa.fingerprint) \(sa.spi)"
        case .initializationVectors(_, let fingerprint, _): fingerprint.description
        }
    }
}
