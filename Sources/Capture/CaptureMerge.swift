// Several capture files as one stream of packets.
//
// Ordered by timestamp, then by the order of the files, then by position. A record that is older than the one before it
// in its file is given that one's timestamp when it is read. So each file is a stream that never goes back, and merging
// such streams by their heads gives one that never goes back either.

/// Merges capture files by timestamp. Owned by one thread at a time.
@safe
public struct CaptureMerge: ~Copyable, @unchecked Sendable {
    /// A file and the port that its packets came in at.
    public struct Input: Hashable, Sendable {
        /// The caller's number of the port; several inputs may have the same.
        public var port: Int
        /// The file's name.
        public var path: String

        /// A file for a port.
        public init(port: Int, path: String) {
            self.port = port
            self.path = path
        }
    }

    /// A reader and its first record that was not delivered yet.
    private struct Source: ~Copyable {
        var reader: CaptureReader
        let port: Int
        var head: CaptureRecord?
        /// The clock of this file: the highest timestamp read so far.
        var latestNanoseconds: UInt64 = 0

        init(_ input: Input) throws(CaptureError) {
            reader = try CaptureReader(path: input.path)
            port = input.port
        }

        mutating func advance() throws(CaptureError) {
            head = nil
            guard var record = try reader.next() else { return }
            latestNanoseconds = max(latestNanoseconds, record.timestampNanoseconds)
            record.timestampNanoseconds = latestNanoseconds
            head = record
        }
    }

    private let sources: UnsafeMutablePointer<Source>
    private let capacity: Int
    private var count = 0
    /// The source whose head was delivered and must move on; its octets are the caller's until the next call.
    private var delivered: Int?
    /// The source whose head is next, if that is known.
    private var chosen: Int?
    private var failure: CaptureError?

    /// Opens all files, in the order that decides between equal timestamps. Throws the first one's error that can't be
    /// opened.
    public init(_ inputs: [Input]) throws(CaptureError) {
        capacity = inputs.count
        unsafe sources = .allocate(capacity: capacity)
        for input in inputs {
            unsafe (sources + count).initialize(to: try Source(input))
            count += 1
        }
        for index in 0..<count { advance(index) }
    }

    deinit {
        unsafe sources.deinitialize(count: count)
        unsafe sources.deallocate()
    }

    /// The port of the record that `next` would give, so that a caller can gather runs of one port. Nil at the end, and
    /// before an error that `next` would throw. Ends the validity of the octets given before, as `next` does.
    public mutating func peekPort() -> Int? {
        choose()
        guard failure == nil, let chosen else { return nil }
        return unsafe sources[chosen].port
    }

    /// When the record that `next` would give came in, in nanoseconds since 1970; otherwise as `peekPort`.
    public mutating func peekTimestampNanoseconds() -> UInt64? {
        choose()
        guard failure == nil, let chosen else { return nil }
        return unsafe sources[chosen].head?.timestampNanoseconds
    }

    /// The next record and its port, or nil when all files are at their end. Its timestamp is never below the one
    /// before; its octets are valid until the next call of `next` or `peekPort`.
    ///
    /// When a file turns out to be broken, its records before the break are still delivered, in their turn. Then it
    /// throws the error, now and from now on: when the file's next packet would have come is not known, so nothing that
    /// may come after it is delivered.
    public mutating func next() throws(CaptureError) -> (port: Int, record: CaptureRecord)? {
        choose()
        if let failure { throw failure }
        guard let chosen, let record = unsafe sources[chosen].head else { return nil }
        self.chosen = nil
        delivered = chosen
        return (unsafe sources[chosen].port, record)
    }

    /// Finds the lowest head, the first of equals.
    private mutating func choose() {
        guard chosen == nil else { return }
        if let delivered {
            self.delivered = nil
            advance(delivered)
        }
        var lowest = UInt64.max
        for index in 0..<count {
            guard let head = unsafe sources[index].head else { continue }
            if chosen == nil || head.timestampNanoseconds < lowest {
                chosen = index
                lowest = head.timestampNanoseconds
            }
        }
    }

    private mutating func advance(_ index: Int) {
        do {
            try unsafe sources[index].advance()
        } catch {
            if failure == nil { failure = error }
        }
    }
}
