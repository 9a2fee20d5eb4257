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

    /// Writes those of `dropped` that came in with the last burst as they came, and others (packets that waited for a
    /// neighbour) behind an empty Ethernet header as they are; then forgets the burst.
    mutating func writeDropped(_ dropped: borrowing MbufList, timestampNanoseconds: UInt64) throws(CaptureError) {
        guard isWanted else { return }
        for index in 0..<dropped.count {
            let mbuf = dropped[index]
            if let position = frames.firstIndex(where: { $0.mbuf.isSame(as: mbuf) }) {
                var frame = frames[position].octets
                try write(&frame, frames[position].timestamp)
            } else {
                var frame = [UInt8](repeating: 0, count: 12) + [0x08, 0x00] + mbuf.bytes.array
                try write(&frame, timestampNanoseconds)
            }
        }
        frames.removeAll(keepingCapacity: true)
    }

    private mutating func write(_ octets: inout [UInt8], _ timestamp: UInt64) throws(CaptureError) {
        try octets.withPacketBytes { bytes throws(CaptureError) in
            try writer?.write(bytes, timestampNanoseconds: timestamp)
        }
    }

    /// Completes the file.
    consuming func close() throws(CaptureError) {
        try writer.take()?.close()
    }
}
