import Capture
import Foundation
import Testing
import Wire

private let capinfos = ["/usr/bin/capinfos", "/usr/local/bin/capinfos"].first {
    FileManager.default.isExecutableFile(atPath: $0)
}

@Suite("Writing captures")
struct CaptureWriterTests {
    private let scratch = Scratch()
    private let records = [
        PlainRecord(1_700_000_000_123_456_789, [UInt8](repeating: 0xa5, count: 60)),
        PlainRecord(1_700_000_000_123_456_790, []),
        PlainRecord(1_700_000_001_000_000_000, [UInt8](repeating: 0x5a, count: CaptureWriter.snapOctets)),
        PlainRecord(1_700_000_002_999_999_999, [1, 2, 3], originalCount: 1514),
        PlainRecord(4_294_967_295_999_999_999, [4]),
    ]

    private func write(_ records: [PlainRecord], to path: String) throws(CaptureError) {
        var writer = try CaptureWriter(path: path)
        for record in records { try write(record, to: &writer) }
        try writer.close()
    }

    private func write(_ record: PlainRecord, to writer: inout CaptureWriter) throws(CaptureError) {
        var octets = record.octets
        let result: Result<Void, CaptureError> = octets.withPacketBytes { bytes in
            do throws(CaptureError) {
                return .success(
                    try writer.write(
                        bytes, timestampNanoseconds: record.timestampNanoseconds, originalCount: record.originalCount))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    @Test("what is written is what the format says, octet for octet")
    func format() throws {
        var expected = CaptureBytes(.pcapNanoseconds, snapOctets: 262_144)
        for record in records { expected.append(record) }
        try write(records, to: scratch.file("out"))
        #expect(contents(scratch.file("out")) == expected.octets)
    }

    @Test("what is written is read back, and the same calls make the same file")
    func roundTrip() throws {
        try write(records, to: scratch.file("out"))
        try write(records, to: scratch.file("again"))
        let reading = Reading(scratch.file("out"))
        #expect(reading.error == nil)
        #expect(reading.linkType == .ethernet)
        #expect(reading.records == records)
        #expect(contents(scratch.file("out")) == contents(scratch.file("again")))
    }

    @Test("a file without packets is a capture too")
    func empty() throws {
        try write([], to: scratch.file("out"))
        #expect(contents(scratch.file("out")) == CaptureBytes(.pcapNanoseconds, snapOctets: 262_144).octets)
    }

    @Test("a time beyond 32 bits of seconds is the last one that a pcap file has")
    func lateTimes() throws {
        try write([PlainRecord(.max, [1])], to: scratch.file("out"))
        #expect(Reading(scratch.file("out")).records == [PlainRecord(4_294_967_295_999_999_999, [1])])
    }

    @Test("mode 0600, for a new file and for one that was there", arguments: [nil, 0o644, 0o777, 0o400] as [mode_t?])
    func mode(before: mode_t?) throws {
        let path = scratch.file("out")
        if let before {
            // What it held is gone, even where that was more.
            _ = scratch.file("out", [UInt8](repeating: 1, count: 100_000))
            setPermissions(path, before)
            // Who may not write a file may not replace it; root may.
            if geteuid() != 0 && before & 0o200 == 0 { return }
        }
        let umaskBefore = umask(0)
        let result = Result { try write([PlainRecord(1, [1])], to: path) }
        umask(umaskBefore)
        try result.get()
        #expect(permissions(path) == 0o600)
        #expect(contents(path).count == 24 + 16 + 1)
    }

    @Test("a file is private from its first octet on")
    func privateFromTheStart() throws {
        let path = scratch.file("out", [1])
        var writer = try CaptureWriter(path: path)
        #expect(permissions(path) == 0o600)
        try write(records[0], to: &writer)
        try writer.close()
    }

    @Test(
        "somebody else's file that can't be made private keeps its content", .enabled(if: geteuid() == 0, "needs root"))
    func foreignFile() {
        let path = scratch.file("out", [1, 2, 3])
        setPermissions(path, 0o666)
        setPermissions(scratch.path, 0o755)
        let error = withoutPrivileges {
            #expect(throws: CaptureError.self) { try write(records, to: path) }
        }
        #expect(error == .noPermission(path: path))
        #expect(contents(path) == [1, 2, 3])
    }

    @Test("no permission, no directory, a directory: typed, with exit codes")
    func unwritable() {
        setPermissions(scratch.path, 0o555)
        let inReadOnly = scratch.file("out")
        let denied = withoutPrivileges { #expect(throws: CaptureError.self) { try write([], to: inReadOnly) } }
        #expect(denied == .noPermission(path: inReadOnly))
        #expect(denied?.exitCode == 77)
        setPermissions(scratch.path, 0o755)

        let nowhere = scratch.file("no/out")
        let error = #expect(throws: CaptureError.self) { try write([], to: nowhere) }
        #expect(error == .unwritable(path: nowhere, reason: "No such file or directory"))
        #expect(error?.exitCode == 73)
        #expect(throws: CaptureError.unwritable(path: scratch.path, reason: "Is a directory")) {
            try write([], to: scratch.path)
        }
    }

    // Without privileges, so that a writer gone wrong can't change the machine's own device.
    @Test("a full disk is an error: when closing at the latest, and it stays")
    func fullDisk() {
        let full = CaptureError.unwritable(path: "/dev/full", reason: "No space left on device")
        _ = withoutPrivileges {
            #expect(throws: full) { try write([PlainRecord(1, [1])], to: "/dev/full") }
        }
        let large = PlainRecord(1, [UInt8](repeating: 0, count: 200_000))
        var errors: [CaptureError] = []
        var closing: CaptureError?
        withoutPrivileges {
            do throws(CaptureError) {
                var writer = try CaptureWriter(path: "/dev/full")
                for _ in 0..<6 {
                    do throws(CaptureError) { try write(large, to: &writer) } catch { errors.append(error) }
                }
                try writer.close()
            } catch {
                closing = error
            }
        }
        #expect(errors.count >= 4 && errors.allSatisfy { $0 == full })
        #expect(closing == full)
    }

    @Test("what is no regular file keeps its mode")
    func devices() throws {
        // A named pipe of our own stands for /dev/null, which a failure of this test would take from everybody.
        let path = scratch.file("pipe")
        #expect(unsafe mkfifo(path, 0o600) == 0)
        setPermissions(path, 0o644)
        let descriptor = unsafe open(path, O_RDWR | O_NONBLOCK)
        defer { close(descriptor) }
        try write([records[0]], to: path)
        #expect(permissions(path) == 0o644)
        var octets = [UInt8](repeating: 0, count: 65536)
        #expect(unsafe read(descriptor, &octets, octets.count) == 24 + 16 + 60)
    }

    @Test("a writer that is let go of closes its file")
    func letGo() throws {
        let path = scratch.file("out")
        do {
            var writer = try CaptureWriter(path: path)
            try write(records[0], to: &writer)
        }
        #expect(Reading(path).records == [records[0]])
    }

    @Test("capinfos reads it", .enabled(if: capinfos != nil, "capinfos (wireshark-common) is not installed"))
    func judgedByCapinfos() throws {
        let path = scratch.file("out")
        try write(Array(records.prefix(4)), to: path)
        let process = Process(), output = Pipe()
        process.executableURL = URL(fileURLWithPath: try #require(capinfos))
        // A table without header: type, encapsulation, limit, packets, data octets, first and last time in seconds.
        process.arguments = ["-T", "-r", "-t", "-E", "-l", "-c", "-d", "-a", "-e", "-S", path]
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = try #require(try output.fileHandleForReading.readToEnd())
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let line = String(decoding: data, as: UTF8.self)
        for expected in ["nsecpcap", "ether", "262144", "1700000000.123456789", "1700000002.999999999"] {
            #expect(line.contains(expected), "\(expected) in \(line)")
        }
        #expect(line.split(separator: "\t").contains("4"), "\(line)")
    }
}
