import Capture
import SeededRandom
import Testing

@Suite("Broken captures")
struct CaptureCorruptionTests {
    private let scratch = Scratch()

    /// A small file with parts between its records that hold none.
    private func sample(_ format: CaptureBytes.Format, bigEndian: Bool) -> CaptureBytes {
        var file = CaptureBytes(format, bigEndian: bigEndian)
        file.append(PlainRecord(1_000_000, [1, 2, 3]))
        if format == .pcapng {
            file.appendNameResolution()
            file.appendNameResolution()
        }
        file.append(PlainRecord(2_000_000, [4, 5, 6, 7, 8, 9, 10]))
        if format == .pcapng { file.appendInterface(resolution: 6) }
        file.append(PlainRecord(3_000_000, [], originalCount: 60))
        if format == .pcapng { file.appendNameResolution() }
        return file
    }

    @Test(
        "cut at every octet: the whole records, then the offset of the broken one",
        arguments: CaptureBytes.Format.allCases, [false, true])
    func truncated(format: CaptureBytes.Format, bigEndian: Bool) {
        let file = sample(format, bigEndian: bigEndian)
        let all = Reading(scratch.file("whole", file.octets)).records
        #expect(all.count == 3)
        let ends = file.starts.dropFirst() + [file.octets.count]
        // A pcapng file's header is its section header and its first interface; without the second, the first is to
        // blame.
        let header = format == .pcapng ? file.starts[2] : file.recordStarts[0]
        for count in 0..<file.octets.count {
            let reading = Reading(scratch.file("in", Array(file.octets[..<count])))
            let recordEnds = file.recordStarts.map { start in ends.first { $0 > start } ?? 0 }
            let complete = recordEnds.count { $0 <= count }
            #expect(reading.records == Array(all.prefix(complete)), "\(count) octets")
            var broken = file.starts.contains(count) && count >= header ? nil : file.starts.last { $0 <= count }
            if format == .pcapng, count == file.starts[1] { broken = 0 }
            #expect(reading.corruptAt == broken.map { UInt64($0) }, "\(count) octets")
            #expect((reading.error == nil) == (broken == nil), "\(count) octets: \(String(describing: reading.error))")
        }
    }

    @Test("an error stays", arguments: CaptureBytes.Format.allCases)
    func errorsStay(format: CaptureBytes.Format) throws {
        let file = sample(format, bigEndian: false)
        let count = file.recordStarts[1] + 20
        var reader = try CaptureReader(path: scratch.file("in", Array(file.octets[..<count])))
        let first = try reader.next()?.octets.array
        #expect(first == [1, 2, 3])
        var errors: Set<CaptureError> = []
        for _ in 0..<3 {
            do throws(CaptureError) { _ = try reader.next() } catch { errors.insert(error) }
        }
        #expect(errors.count == 1)
    }

    @Test("an absurd length is refused where it stands", arguments: CaptureBytes.Format.allCases, [false, true])
    func absurdLength(format: CaptureBytes.Format, bigEndian: Bool) {
        for length: UInt32 in [.max, .max - 3, 0x7fff_fffc, 262_148] {
            var file = sample(format, bigEndian: bigEndian)
            let start = file.recordStarts[1]
            let field = start + (format == .pcapng ? 4 : 8)
            var number = CaptureBytes(format, bigEndian: bigEndian)
            number.append32(length)
            file.octets.replaceSubrange(field..<field + 4, with: number.octets.suffix(4))
            let reading = Reading(scratch.file("in", file.octets))
            #expect(reading.records.count == 1)
            #expect(reading.corruptAt == UInt64(start), "\(length): \(String(describing: reading.error))")
            #expect(reading.error?.exitCode == 65)
        }
    }

    @Test("pcapng blocks that are whole but make no sense", arguments: [false, true])
    func senselessBlocks(bigEndian: Bool) {
        var unknownInterface = sample(.pcapng, bigEndian: bigEndian)
        unknownInterface.appendEnhancedPacket(interface: 77, units: 1, [1], originalCount: 1)
        unknownInterface.append(PlainRecord(4_000_000, [1]))
        var otherLinkType = sample(.pcapng, bigEndian: bigEndian)
        otherLinkType.appendInterface(linkType: 101)
        otherLinkType.append(PlainRecord(4_000_000, [1]))
        for file in [unknownInterface, otherLinkType] {
            let reading = Reading(scratch.file("in", file.octets))
            #expect(reading.records.count == 3)
            #expect(reading.corruptAt == UInt64(file.starts[file.starts.count - 2]))
        }
    }

    @Test("what is no capture is corrupt at octet 0, with a hint")
    func garbage() {
        let gzip: [UInt8] = [0x1f, 0x8b, 8, 0] + [UInt8](repeating: 7, count: 100)
        let section = CaptureBytes(sectionBigEndian: true).octets
        for octets in [
            [], [0x0a], Array("\n\r\r\nhello, this is a text".utf8), gzip, [UInt8](repeating: 0, count: 9), section,
        ] {
            let reading = Reading(scratch.file("in", octets))
            #expect(reading.corruptAt == 0)
            #expect(reading.error.map { "\($0)" }?.contains("octet 0") == true)
            #expect(reading.error?.exitCode == 65)
        }
    }

    @Test("fuzzed files end, and end well", arguments: [1, 2, 3, 4] as [UInt64])
    func fuzz(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let samples = CaptureBytes.Format.allCases.flatMap { format in
            [false, true].map { sample(format, bigEndian: $0).octets }
        }
        for round in 0..<1500 {
            let mutated = mutate(samples[Int.random(in: 0..<samples.count, using: &random)], &random)
            let reading = Reading(scratch.file("in", mutated))
            // Each record takes at least a header of 16 octets (a simple packet block) of the file.
            let octets = reading.records.reduce(0) { $0 + $1.octets.count }
            let fits = reading.records.count <= mutated.count / 16 && octets <= mutated.count
            let inTime = reading.records.allSatisfy { $0.timestampNanoseconds <= 4_294_967_295_999_999_999 }
            let named =
                switch reading.error {
                case nil, .unsupportedLinkType: true
                case .corrupt(_, let offset?, let reason): offset <= mutated.count && !reason.isEmpty
                default: false
                }
            guard fits, inTime, named else {
                Issue.record("seed \(seed), round \(round): \(reading) of \(mutated)")
                return
            }
        }
    }

    /// One to six changes: an octet, a bit, a 32-bit number, a hole, a repeated piece, an end.
    private func mutate(_ octets: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
        var octets = octets
        for _ in 0..<Int.random(in: 1...6, using: &random) where octets.count > 4 {
            let place = Int.random(in: 0..<octets.count - 4, using: &random)
            switch Int.random(in: 0..<12, using: &random) {
            case 0: octets.removeSubrange(place...)
            case 1: octets.removeSubrange(place..<place + Int.random(in: 1...4, using: &random))
            case 2: octets.insert(contentsOf: octets[place...], at: Int.random(in: 0...place, using: &random))
            case 3..<6:
                let numbers: [UInt8] = [0, 1, 4, 0x7f, 0x80, 0xfc, 0xff]
                let fill = numbers.randomElement(using: &random) ?? 0
                octets.replaceSubrange(place..<place + 4, with: [UInt8](repeating: fill, count: 4))
            case 6..<9: octets[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            default: octets[place] = UInt8.random(in: 0...255, using: &random)
            }
        }
        return octets
    }
}
