import Capture
import Foundation
import Testing
import Wire

@Suite("Reading captures")
struct CaptureReaderTests {
    private let scratch = Scratch()
    private let records = [
        PlainRecord(1_700_000_000_123_456_000, [1, 2, 3, 4, 5]),
        PlainRecord(1_700_000_000_123_457_000, []),
        PlainRecord(1_600_000_000_000_000_000, [UInt8](repeating: 0xa5, count: 9000)),
        PlainRecord(4_294_967_295_999_999_000, [9], originalCount: 1514),
    ]

    @Test("each format in each byte order", arguments: CaptureBytes.Format.allCases, [false, true])
    func formats(format: CaptureBytes.Format, bigEndian: Bool) {
        var file = CaptureBytes(format, bigEndian: bigEndian)
        for record in records { file.append(record) }
        let reading = Reading(scratch.file("in", file.octets))
        #expect(reading.error == nil)
        #expect(reading.linkType == .ethernet)
        #expect(reading.records == records)
        #expect(reading.cut == [false, false, false, true])
    }

    @Test("nanoseconds are kept", arguments: [CaptureBytes.Format.pcapNanoseconds, .pcapng])
    func nanoseconds(format: CaptureBytes.Format) {
        var file = CaptureBytes(format)
        file.append(PlainRecord(1_700_000_000_123_456_789, [1]))
        #expect(
            Reading(scratch.file("in", file.octets)).records.map(\.timestampNanoseconds) == [1_700_000_000_123_456_789])
    }

    @Test(
        "pcapng resolutions, each interface its own", arguments: [false, true],
        [(nil, 1000), (6, 1000), (9, 1), (3, 1_000_000), (0, 1_000_000_000), (0x80 | 1, 500_000_000)]
            as [(UInt8?, UInt64)])
    func resolutions(bigEndian: Bool, resolution: (UInt8?, unitNanoseconds: UInt64)) {
        var file = CaptureBytes(sectionBigEndian: bigEndian)
        file.appendInterface(resolution: 9)
        file.appendInterface(resolution: resolution.0)
        file.appendEnhancedPacket(interface: 1, units: 7, [1, 2, 3], originalCount: 3)
        file.appendNameResolution()
        file.appendEnhancedPacket(interface: 0, units: 8, [4], originalCount: 4)
        let reading = Reading(scratch.file("in", file.octets))
        #expect(reading.error == nil)
        #expect(
            reading.records == [
                PlainRecord(7 * resolution.unitNanoseconds, [1, 2, 3]), PlainRecord(8, [4], originalCount: 4),
            ])
    }

    @Test("times that a pcap file can't carry move to the nearer end, fractions of more than a second count")
    func hostileTimes() {
        var file = CaptureBytes(sectionBigEndian: false)
        file.appendInterface(resolution: 0)
        file.appendEnhancedPacket(units: 1 << 32, [1], originalCount: 1)
        file.appendEnhancedPacket(units: .max, [1], originalCount: 1)
        file.appendEnhancedPacket(units: 1 << 62, [1], originalCount: 1)
        let times = Reading(scratch.file("in", file.octets)).records.map(\.timestampNanoseconds)
        #expect(times == [4_294_967_295_999_999_999, 0, 4_294_967_295_999_999_999])

        var classic = CaptureBytes(.pcapNanoseconds)
        classic.append(PlainRecord(5_000_000_000, [1]))
        classic.octets.replaceSubrange(28..<32, with: [0x00, 0x94, 0x35, 0x77])  // 2 000 000 000 nanoseconds
        #expect(Reading(scratch.file("in", classic.octets)).records.map(\.timestampNanoseconds) == [7_000_000_000])
    }

    @Test(
        "link types by their number in the file", arguments: CaptureBytes.Format.allCases,
        [(1, .ethernet), (12, .rawIP), (101, .rawIP), (228, .rawIP)] as [(UInt16, CaptureLinkType)])
    func linkTypes(format: CaptureBytes.Format, linkType: (UInt16, CaptureLinkType)) {
        var file = CaptureBytes(format, linkType: linkType.0)
        file.append(PlainRecord(0, [0x45, 0, 0, 20]))
        let reading = Reading(scratch.file("in", file.octets))
        #expect(reading.error == nil)
        #expect(reading.linkType == linkType.1)
        #expect(reading.records.map(\.octets) == [[0x45, 0, 0, 20]])
    }

    @Test("other link types are refused by name, or number", arguments: CaptureBytes.Format.allCases)
    func otherLinkTypes(format: CaptureBytes.Format) {
        for (number, name) in [(113, "LINUX_SLL"), (0, "NULL"), (9999, "9999")] as [(UInt16, String)] {
            let path = scratch.file("in", CaptureBytes(format, linkType: number).octets)
            let error = Reading(path).error
            #expect(error == .unsupportedLinkType(path: path, linkType: name))
            #expect(error?.exitCode == 65)
            #expect(error.map { "\($0)" }?.contains("Ethernet") == true)
        }
    }

    @Test("octets over the file's own snap length are cut, and said to be")
    func longerThanSnapLength() {
        var file = CaptureBytes(.pcapNanoseconds, snapOctets: 4)
        file.append(PlainRecord(1, [1, 2, 3, 4, 5, 6]))
        file.append(PlainRecord(2, [7]))
        let reading = Reading(scratch.file("in", file.octets))
        #expect(reading.records == [PlainRecord(1, [1, 2, 3, 4], originalCount: 6), PlainRecord(2, [7])])
        #expect(reading.cut == [true, false])
    }

    @Test("a file of a header alone has no records, and its end stays", arguments: CaptureBytes.Format.allCases)
    func headerAlone(format: CaptureBytes.Format) throws {
        var reader = try CaptureReader(path: scratch.file("in", CaptureBytes(format).octets))
        for _ in 0..<3 {
            let end = try reader.next() == nil
            #expect(end)
        }
    }

    @Test("a file longer than the buffers comes whole")
    func long() {
        var file = CaptureBytes(.pcapNanoseconds)
        let records = (0..<2000).map { PlainRecord(UInt64($0), [UInt8](repeating: UInt8($0 % 251), count: $0)) }
        for record in records { file.append(record) }
        #expect(Reading(scratch.file("in", file.octets)).records == records)
        let broken = Reading(scratch.file("in", file.octets.dropLast()))
        #expect(broken.records.count == 1999)
        #expect(broken.corruptAt == file.recordStarts.last.map { UInt64($0) })
    }

    @Test("a pipe is read too; where it broke is not known")
    func pipes() {
        var file = CaptureBytes(.pcapNanoseconds)
        for record in records { file.append(record) }
        #expect(readThroughPipe(file.octets).records == records)
        let broken = readThroughPipe(file.octets.dropLast())
        #expect(broken.records == records.dropLast())
        guard case .corrupt(_, nil, _) = broken.error else {
            Issue.record("\(String(describing: broken.error))")
            return
        }
    }

    private func readThroughPipe(_ octets: [UInt8]) -> Reading {
        let pipe = Pipe()
        // All fits in the pipe's buffer.
        pipe.fileHandleForWriting.write(Data(octets))
        pipe.fileHandleForWriting.closeFile()
        return Reading("/dev/fd/\(pipe.fileHandleForReading.fileDescriptor)")
    }

    @Test("absent, a directory, no permission: each its own error and exit code")
    func unreadable() {
        let absent = scratch.file("absent.pcap")
        #expect(Reading(absent).error == .absent(path: absent))
        #expect(Reading(absent).error?.exitCode == 66)
        let inFile = scratch.file("file", []) + "/x.pcap"
        #expect(Reading(inFile).error == .absent(path: inFile))

        #expect(Reading(scratch.path).error == .unreadable(path: scratch.path, reason: "Is a directory"))
        #expect(Reading(scratch.path).error?.exitCode == 66)

        let secret = scratch.file("secret", CaptureBytes(.pcapng).octets)
        setPermissions(secret, 0)
        setPermissions(scratch.path, 0o755)
        let error = withoutPrivileges { Reading(secret).error }
        #expect(error == .noPermission(path: secret))
        #expect(error?.exitCode == 77)
    }
}
