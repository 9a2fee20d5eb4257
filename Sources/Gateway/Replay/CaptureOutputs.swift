import Capture
import DataPlane
import Wire

/// The files that take what leaves by the ports; ports without a file send into nothing.
@safe
struct CaptureOutputs: ~Copyable {
    private let writers: UnsafeMutablePointer<CaptureWriter?>
    private let count: Int

    /// One path, or nil, for each port.
    init(_ paths: [String?]) throws(CaptureError) {
        var opened = 0
        let writers = UnsafeMutablePointer<CaptureWriter?>.allocate(capacity: max(1, paths.count))
        do {
            for path in paths {
                unsafe (writers + opened).initialize(
                    to: try path.map { path throws(CaptureError) in
                        try CaptureWriter(path: path)
                    })
                opened += 1
            }
        } catch {
            unsafe writers.deinitialize(count: opened)
            unsafe writers.deallocate()
            throw error
        }
        unsafe self.writers = unsafe writers
        count = paths.count
    }

    deinit {
        unsafe writers.deinitialize(count: count)
        unsafe writers.deallocate()
    }

    /// Appends frames to a port's file.
    func write(_ frames: borrowing MbufList, port: Int) throws(CaptureError) {
        for index in 0..<frames.count {
            try unsafe writers[port]?.write(frames[index].bytes, timestampNanoseconds: frames[index].timestamp)
        }
    }

    /// Completes all files.
    func close() throws(CaptureError) {
        for index in 0..<count {
            let writer = unsafe writers[index].take()
            try writer?.close()
        }
    }
}

/// Writes dropped packets as they came in, whatever was done to their buffers since.
struct DropOriginals: ~Copyable {
    /// No addresses, and the EtherType of IPv4.
    private static let emptyHeader = [UInt8](repeating: 0, count: 12) + [0x08, 0x00]
    private var writer: CaptureWriter?
    private let isWanted: Bool
    private var frames: [(mbuf: Mbuf, octets: [UInt8], timestamp: UInt64)] = []

    /// Without a path nothing is kept and nothing written.
    init(path: String?, capacity: Int) throws(CaptureError) {
        isWanted = path != nil
        if let path { writer = try CaptureWriter(path: path) }
        frames.reserveCapacity(capacity)
    }

    /// Remembers a frame of the burst that is about to be processed.
    mutating func keep(_ mbuf: Mbuf) {
        if isWanted { frames.append((mbuf, mbuf.bytes.array, mbuf.timestamp)) }
    }

    /// Writes a record that the worker never saw, as it came; one of raw IP behind an empty Ethernet header.
    mutating func write(refused record: CaptureRecord) throws(CaptureError) {
        guard isWanted else { return }
        let header = record.linkType == .ethernet ? [] : DropOriginals.emptyHeader
        var frame = header + record.octets.array.prefix(CaptureWriter.snapOctets - header.count)
        try write(&frame, record.timestampNanoseconds, originalCount: header.count + record.originalCount)
    }

    /// Writes those of `dropped` that came in with the last burst as they came, and others (packets that waited for a
    /// neighbour, the gateway's own) behind an empty Ethernet header as they are; then forgets the burst.
    mutating func writeDropped(_ dropped: borrowing MbufList, timestampNanoseconds: UInt64) throws(CaptureError) {
        guard isWanted else { return }
        for index in 0..<dropped.count {
            let mbuf = dropped[index]
            // A buffer that the burst gave back may hold a packet of the gateway's own by now.
            if !mbuf.isOriginated, let position = frames.firstIndex(where: { $0.mbuf.isSame(as: mbuf) }) {
                var frame = frames[position].octets
                try write(&frame, frames[position].timestamp)
            } else {
                var frame = DropOriginals.emptyHeader + mbuf.bytes.array
                try write(&frame, timestampNanoseconds)
            }
        }
        frames.removeAll(keepingCapacity: true)
    }

    private mutating func write(
        _ octets: inout [UInt8], _ timestamp: UInt64, originalCount: Int? = nil
    ) throws(CaptureError) {
        try octets.withPacketBytes { bytes throws(CaptureError) in
            try writer?.write(bytes, timestampNanoseconds: timestamp, originalCount: originalCount)
        }
    }

    /// Completes the file.
    consuming func close() throws(CaptureError) {
        try writer.take()?.close()
    }
}
