import Foundation

/// Writes IPv4 packets as a capture file (pcap, raw IP) to the temporary directory and gives its path back: what a
/// failed case leaves to look at.
func writeCapture(_ packets: [[UInt8]], name: String) throws -> String {
    func little(_ number: UInt32) -> [UInt8] { bigEndian(number).reversed() }
    // Magic, version 2.4, time zone, accuracy, snapshot length, LINKTYPE_RAW.
    var file = little(0xa1b2_c3d4) + [2, 0, 4, 0] + little(0) + little(0) + little(65_535) + little(101)
    for (index, packet) in packets.enumerated() {
        file += little(0) + little(UInt32(index)) + little(UInt32(packet.count)) + little(UInt32(packet.count)) + packet
    }
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("\(name).pcap")
    try Data(file).write(to: url)
    return url.path
}

/// The octets of a file.
func readFile(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

/// Removes a file, if it is there.
func removeFile(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
