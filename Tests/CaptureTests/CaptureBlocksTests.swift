import Testing

@testable import Capture

@Suite("pcapng files")
struct CaptureBlocksTests {
    private static let section = CaptureBlocks.section(program: "vpn-gw test")
    private static let wire = CaptureBlocks.interface(
        .ethernet, name: "wan", description: "frames on the wire", snapOctets: 2048)
    private static let clear = CaptureBlocks.interface(.rawIP, name: "wan-clear", description: "inside", snapOctets: 64)

    private static func packet(_ interface: Int, _ time: UInt64, _ count: Int, comment: String? = nil) -> [UInt8] {
        CaptureBlocks.packet(
            interface: interface, timestampNanoseconds: time, (0..<count).map { UInt8($0 & 0xff) },
            originalCount: count + 4, way: .inbound, comment: comment)
    }

    @Test("libpcap reads what was written: octets, lengths, nanoseconds", arguments: [0, 1, 2, 3, 4, 60, 1514])
    func readBack(count: Int) throws {
        let scratch = Scratch()
        let path = scratch.file("a.pcapng")
        var file = try PrivateFile(path: path)
        try file.write(Self.section + Self.wire)
        let time: UInt64 = 1_700_000_000_123_456_789
        try file.write(Self.packet(0, time, count) + Self.packet(0, time + 1, count, comment: "replayed"))
        _ = consume file
        var reader = try CaptureReader(path: path)
        #expect(reader.linkType == .ethernet)
        for step in 0..<2 as Range<UInt64> {
            let record = try #require(try reader.next())
            #expect(record.timestampNanoseconds == time + step)
            #expect(record.octets.array == (0..<count).map { UInt8($0 & 0xff) } && record.originalCount == count + 4)
        }
        #expect(try reader.next() == nil)
    }

    @Test("every block has its length at both ends, a multiple of four")
    func lengths() {
        let blocks = [
            Self.section, Self.wire, Self.clear, Self.packet(0, 1, 61, comment: "ü"),
            Self.packet(1, 2, 0, comment: String(repeating: "x", count: 70000)),
        ]
        for block in blocks {
            func number(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(block[offset + $1]) << (8 * $1) } }
            #expect(block.count % 4 == 0 && number(4) == block.count && number(block.count - 4) == block.count)
        }
    }

    @Test("a file that is there is emptied and made private, a directory refused")
    func privacy() throws {
        let scratch = Scratch()
        let path = scratch.file("b.pcapng", Array("what was here before".utf8))
        setPermissions(path, 0o644)
        var file = try PrivateFile(path: path)
        try file.write([1, 2])
        let count = file.count
        #expect(count == 2)
        _ = consume file
        #expect(permissions(path) == 0o600 && contents(path) == [1, 2])
        #expect(throws: CaptureError.self) { try PrivateFile(path: scratch.file("")).close() }
        #expect(throws: CaptureError.self) { try PrivateFile(path: scratch.file("no/such/c")).close() }
    }
}

extension PrivateFile {
    /// So that a closure has something to do with it.
    fileprivate consuming func close() {}
}
