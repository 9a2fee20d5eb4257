// Capture files made by hand, octet for octet, so that no writer is its own judge.
// pcap: draft-ietf-opsawg-pcap; pcapng: draft-ietf-opsawg-pcapng sections 4.1 to 4.4.

/// A record as a test means it.
struct PlainRecord: Equatable {
    var timestampNanoseconds: UInt64
    var octets: [UInt8]
    var originalCount: Int

    init(_ timestampNanoseconds: UInt64, _ octets: [UInt8], originalCount: Int? = nil) {
        self.timestampNanoseconds = timestampNanoseconds
        self.octets = octets
        self.originalCount = originalCount ?? octets.count
    }
}

/// A capture file under construction, with the offset at which each of its parts starts.
struct CaptureBytes {
    enum Format: CaseIterable {
        case pcapMicroseconds, pcapNanoseconds, pcapng

        /// Nanoseconds in one unit of a timestamp.
        var unitNanoseconds: UInt64 { self == .pcapMicroseconds ? 1000 : 1 }
    }

    var octets: [UInt8] = []
    /// Where the header's parts and the records start.
    var starts: [Int] = []
    /// Where the records alone start.
    var recordStarts: [Int] = []
    let format: Format
    let bigEndian: Bool

    init(_ format: Format, bigEndian: Bool = false, linkType: UInt16 = 1, snapOctets: UInt32 = 65535) {
        self.format = format
        self.bigEndian = bigEndian
        switch format {
        case .pcapMicroseconds, .pcapNanoseconds:
            starts.append(0)
            append32(format == .pcapMicroseconds ? 0xa1b2_c3d4 : 0xa1b2_3c4d)
            append16(2)
            append16(4)
            for field: UInt32 in [0, 0, snapOctets, UInt32(linkType)] { append32(field) }
        case .pcapng:
            appendSectionHeader()
            appendInterface(linkType: linkType, snapOctets: snapOctets, resolution: 9)
        }
    }

    /// A pcapng file without an interface.
    init(sectionBigEndian bigEndian: Bool) {
        format = .pcapng
        self.bigEndian = bigEndian
        appendSectionHeader()
    }

    mutating func append16(_ number: UInt16) {
        let bytes = [UInt8(number >> 8), UInt8(truncatingIfNeeded: number)]
        octets += bigEndian ? bytes : bytes.reversed()
    }

    mutating func append32(_ number: UInt32) {
        let halves = [UInt16(number >> 16), UInt16(truncatingIfNeeded: number)]
        for half in bigEndian ? halves : halves.reversed() { append16(half) }
    }

    /// A block of any type with a body of a multiple of 4 octets.
    mutating func appendBlock(_ type: UInt32, _ body: (inout CaptureBytes) -> Void) {
        starts.append(octets.count)
        let start = octets.count
        append32(type)
        append32(0)
        body(&self)
        let length = UInt32(octets.count - start + 4)
        append32(length)
        octets.replaceSubrange(start + 4..<start + 8, with: octets.suffix(4))
    }

    mutating func appendSectionHeader() {
        appendBlock(0x0a0d_0d0a) { file in
            file.append32(0x1a2b_3c4d)
            file.append16(1)
            file.append16(0)
            for _ in 0..<2 { file.append32(0xffff_ffff) }
        }
    }

    /// An interface description; without `resolution` (if_tsresol) its unit is the microsecond.
    mutating func appendInterface(linkType: UInt16 = 1, snapOctets: UInt32 = 65535, resolution: UInt8? = nil) {
        appendBlock(1) { file in
            file.append16(linkType)
            file.append16(0)
            file.append32(snapOctets)
            guard let resolution else { return }
            file.append16(9)
            file.append16(1)
            file.octets += [resolution, 0, 0, 0]
            file.append32(0)
        }
    }

    /// A name resolution block without names, which readers pass over.
    mutating func appendNameResolution() { appendBlock(4) { file in file.append32(0) } }

    /// An enhanced packet block; `units` is its timestamp in its interface's unit.
    mutating func appendEnhancedPacket(interface: UInt32 = 0, units: UInt64, _ packet: [UInt8], originalCount: Int) {
        recordStarts.append(octets.count)
        appendBlock(6) { file in
            file.append32(interface)
            file.append32(UInt32(units >> 32))
            file.append32(UInt32(truncatingIfNeeded: units))
            file.append32(UInt32(packet.count))
            file.append32(UInt32(originalCount))
            file.octets += packet + [UInt8](repeating: 0, count: (4 - packet.count % 4) % 4)
        }
    }

    /// A record in the file's format. Less than its unit is cut from the timestamp.
    mutating func append(_ record: PlainRecord) {
        guard format != .pcapng else {
            return appendEnhancedPacket(
                units: record.timestampNanoseconds, record.octets, originalCount: record.originalCount)
        }
        starts.append(octets.count)
        recordStarts.append(octets.count)
        append32(UInt32(record.timestampNanoseconds / 1_000_000_000))
        append32(UInt32(record.timestampNanoseconds % 1_000_000_000 / format.unitNanoseconds))
        append32(UInt32(record.octets.count))
        append32(UInt32(record.originalCount))
        octets += record.octets
    }
}
