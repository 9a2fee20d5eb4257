import Foundation

/// Writes what a test feeds to a port into a pcap file before the worker sees it: it is there even after a trap, and
/// goes when the test passes.
final class InputRecord {
    let path: String
    private let handle: FileHandle

    init(_ name: String) throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("vpn-gw-test-\(name).pcap").path
        _ = FileManager.default.createFile(atPath: path, contents: nil)
        handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        // Nanosecond pcap in network order, Ethernet.
        let head: [UInt32] = [0xa1b2_3c4d, 0x0002_0004, 0, 0, 65535, 1]
        handle.write(Data(head.flatMap { bigEndian($0) }))
    }

    func append(_ frames: [[UInt8]], nanoseconds: UInt64) {
        var octets: [UInt8] = []
        for frame in frames {
            let length = UInt32(frame.count)
            octets += bigEndian(UInt32(truncatingIfNeeded: nanoseconds / 1_000_000_000))
            octets += bigEndian(UInt32(nanoseconds % 1_000_000_000)) + bigEndian(length) + bigEndian(length) + frame
        }
        handle.write(Data(octets))
    }

    func close(keeping: Bool) {
        try? handle.close()
        if !keeping { try? FileManager.default.removeItem(atPath: path) }
    }
}
