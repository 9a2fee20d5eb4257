import Capture
import SeededRandom
import Testing

@Suite("Merging captures")
struct CaptureMergeTests {
    private let scratch = Scratch()

    /// A delivered packet: its first octets say which file and position it comes from.
    private struct Delivered: Equatable, CustomStringConvertible {
        var port: Int
        var timestampNanoseconds: UInt64
        var octets: [UInt8]
        var description: String { "\(timestampNanoseconds)@\(port):\(octets)" }
    }

    /// Writes a file of records at `times`, broken after them if `broken`.
    private func input(_ index: Int, port: Int, times: [UInt64], broken: Bool = false) -> CaptureMerge.Input {
        var file = CaptureBytes(.pcapNanoseconds)
        for (position, time) in times.enumerated() { file.append(PlainRecord(time, [UInt8(index), UInt8(position)])) }
        if broken { file.octets += [1, 2, 3] }
        return CaptureMerge.Input(port: port, path: scratch.file("in-\(index)", file.octets))
    }

    /// All that the merge gives and its error; `peek` says how often to look ahead before each record.
    private func merge(
        _ inputs: [CaptureMerge.Input], peek: () -> Int = { 1 }
    ) -> (delivered: [Delivered], error: CaptureError?, wrongPeeks: Int) {
        var delivered: [Delivered] = []
        var wrongPeeks = 0
        do throws(CaptureError) {
            var merge = try CaptureMerge(inputs)
            while true {
                let peeked = (0..<peek()).map { _ in merge.peekPort() }
                do throws(CaptureError) {
                    let next = try merge.next()
                    wrongPeeks += peeked.count { $0 != next?.port }
                    guard let next else { break }
                    delivered.append(
                        Delivered(
                            port: next.port, timestampNanoseconds: next.record.timestampNanoseconds,
                            octets: next.record.octets.array))
                } catch {
                    wrongPeeks += peeked.count { $0 != nil }
                    // It stays.
                    let port = merge.peekPort()
                    #expect(port == nil)
                    let again = #expect(throws: CaptureError.self) { _ = try merge.next() }
                    #expect(again == error)
                    throw error
                }
            }
            let afterEnd = try merge.next() == nil
            #expect(afterEnd)
        } catch {
            return (delivered, error, wrongPeeks)
        }
        return (delivered, nil, wrongPeeks)
    }

    @Test("by timestamp, then by the order of the files, then by position")
    func order() {
        let merged = merge([
            input(0, port: 7, times: [10, 20, 20, 40]), input(1, port: 3, times: [5, 20, 30]),
            input(2, port: 7, times: []),
        ])
        #expect(merged.error == nil)
        #expect(merged.delivered.map(\.octets) == [[1, 0], [0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [0, 3]])
        #expect(merged.delivered.map(\.port) == [3, 7, 7, 7, 3, 3, 7])
        #expect(merged.delivered.map(\.timestampNanoseconds) == [5, 10, 20, 20, 20, 30, 40])
        #expect(merged.wrongPeeks == 0)
    }

    @Test("time never goes back, and a file's order is kept")
    func goingBack() {
        let merged = merge([input(0, port: 0, times: [10, 5, 7, 20]), input(1, port: 1, times: [8, 12, 6, 13])])
        #expect(
            merged.delivered.map(\.octets) == [[1, 0], [0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [1, 3], [0, 3]])
        #expect(merged.delivered.map(\.timestampNanoseconds) == [8, 10, 10, 10, 12, 12, 13, 20])
    }

    @Test("no inputs, and a file that can't be opened")
    func ends() {
        #expect(merge([]).delivered.isEmpty)
        let absent = CaptureMerge.Input(port: 1, path: scratch.file("absent"))
        #expect(merge([input(0, port: 0, times: [1]), absent]).error == .absent(path: absent.path))
    }

    @Test("a broken file stops the merge where its next packet is unknown, what came before is delivered")
    func broken() {
        let inputs = [input(0, port: 0, times: [1, 2, 3, 9]), input(1, port: 1, times: [2, 3], broken: true)]
        let merged = merge(inputs)
        #expect(merged.delivered.map(\.octets) == [[0, 0], [0, 1], [1, 0], [0, 2], [1, 1]])
        guard case .corrupt(let path, let offset, _) = merged.error else {
            Issue.record("\(String(describing: merged.error))")
            return
        }
        #expect(path == inputs[1].path)
        #expect(offset == UInt64(24 + 2 * 18))
        #expect(merged.wrongPeeks == 0)
    }

    /// Every record of every file with its file's clock, sorted; an error is a record that ends the list.
    private func model(_ files: [(port: Int, times: [UInt64], broken: Bool)]) -> (delivered: [Delivered], broken: Int?)
    {
        struct Item {
            var key: (time: Int64, file: Int, position: Int)
            var delivered: Delivered?
        }
        var items: [Item] = []
        for (index, file) in files.enumerated() {
            var clock: Int64 = -1  // a file that is broken from the start stops everything
            for (position, time) in file.times.enumerated() {
                clock = max(clock, Int64(time))
                let delivered = Delivered(
                    port: file.port, timestampNanoseconds: UInt64(clock), octets: [UInt8(index), UInt8(position)])
                items.append(Item(key: (clock, index, position), delivered: delivered))
            }
            if file.broken { items.append(Item(key: (clock, index, file.times.count), delivered: nil)) }
        }
        items.sort { $0.key < $1.key }
        let end = items.firstIndex { $0.delivered == nil }
        return (items[..<(end ?? items.count)].compactMap(\.delivered), end.map { items[$0].key.file })
    }

    @Test("agrees with sorting", arguments: [1, 2, 3, 4, 5] as [UInt64])
    func agreesWithSorting(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for round in 0..<60 {
            let files = (0..<Int.random(in: 1...12, using: &random)).map { _ in
                let range = [2, 20, 200].randomElement(using: &random) ?? 2
                var times = (0..<Int.random(in: 0...30, using: &random)).map { _ in
                    UInt64.random(in: 0...UInt64(range), using: &random)
                }
                if Int.random(in: 0..<4, using: &random) != 0 { times.sort() }
                let broken = Int.random(in: 0..<20, using: &random) == 0
                return (port: Int.random(in: 0..<4, using: &random), times: times, broken: broken)
            }
            let expected = model(files)
            let inputs = files.enumerated().map { input($0, port: $1.port, times: $1.times, broken: $1.broken) }
            let merged = merge(inputs) { Int.random(in: 0...2, using: &random) }
            let brokenPath: String? =
                if case .corrupt(let path, _, _) = merged.error { path } else { nil }
            guard merged.delivered == expected.delivered, brokenPath == expected.broken.map({ inputs[$0].path }),
                merged.wrongPeeks == 0
            else {
                Issue.record("seed \(seed), round \(round): \(files) gave \(merged), expected \(expected)")
                return
            }
        }
    }
}
