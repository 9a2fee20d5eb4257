// The one place where packet bytes are touched through a pointer.
//
// Everything above reads and writes through `PacketBytes`: a start, a count, and accessors that trap outside of them.
// Header views check the count once, so that the compiler sees the later checks hold and removes them.

/// A window onto octets that somebody else owns: a packet buffer for as long as its burst is being worked on.
///
/// A view, not an owner: whoever makes one promises that the octets outlive it. Offsets count from the window's start;
/// one that reaches outside traps, because lengths are checked before anything is read (a hostile length never gets
/// here). Numbers of more than one octet are in network order on the wire and in the processor's order in Swift.
@frozen
@safe
public struct PacketBytes: @unchecked Sendable {
    @usableFromInline let start: UnsafeMutableRawPointer
    /// Octets in the window.
    public let count: Int

    /// A window of `count` octets from `start`, which must stay valid while the view is used.
    @inlinable
    @inline(__always)
    public init(unsafeStart start: UnsafeMutableRawPointer, count: Int) {
        unsafe self.start = unsafe start
        self.count = count
    }

    /// The address of an octet, for libraries that take pointers; at most `count`.
    @inlinable
    @inline(__always)
    public func unsafePointer(at offset: Int) -> UnsafeMutableRawPointer {
        precondition(offset >= 0 && offset <= count)
        return unsafe start + offset
    }

    @inlinable
    @inline(__always)
    func check(_ offset: Int, _ width: Int) {
        // Subtracted from the count, which can't overflow: `offset + width` could, and let the largest through.
        precondition(offset >= 0 && offset <= count &- width)
    }

    /// One octet.
    @inlinable
    @inline(__always)
    public func uint8(at offset: Int) -> UInt8 {
        check(offset, 1)
        return unsafe start.load(fromByteOffset: offset, as: UInt8.self)
    }

    /// Two octets in network order.
    @inlinable
    @inline(__always)
    public func uint16(at offset: Int) -> UInt16 {
        check(offset, 2)
        return unsafe UInt16(bigEndian: start.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// Four octets in network order.
    @inlinable
    @inline(__always)
    public func uint32(at offset: Int) -> UInt32 {
        check(offset, 4)
        return unsafe UInt32(bigEndian: start.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// Eight octets in network order.
    @inlinable
    @inline(__always)
    public func uint64(at offset: Int) -> UInt64 {
        check(offset, 8)
        return unsafe UInt64(bigEndian: start.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// Two octets as they lie in memory, for sums and comparisons that don't care.
    @inlinable
    @inline(__always)
    public func word16(at offset: Int) -> UInt16 {
        check(offset, 2)
        return unsafe start.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
    }

    /// Four octets as they lie in memory.
    @inlinable
    @inline(__always)
    public func word32(at offset: Int) -> UInt32 {
        check(offset, 4)
        return unsafe start.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    }

    /// Eight octets as they lie in memory.
    @inlinable
    @inline(__always)
    public func word64(at offset: Int) -> UInt64 {
        check(offset, 8)
        return unsafe start.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// Writes one octet.
    @inlinable
    @inline(__always)
    public func store(_ value: UInt8, at offset: Int) {
        check(offset, 1)
        unsafe start.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
    }

    /// Writes two octets in network order.
    @inlinable
    @inline(__always)
    public func store(_ value: UInt16, at offset: Int) { store(word: value.bigEndian, at: offset) }

    /// Writes four octets in network order.
    @inlinable
    @inline(__always)
    public func store(_ value: UInt32, at offset: Int) { store(word: value.bigEndian, at: offset) }

    /// Writes eight octets in network order.
    @inlinable
    @inline(__always)
    public func store(_ value: UInt64, at offset: Int) { store(word: value.bigEndian, at: offset) }

    /// Writes two octets as they are in memory.
    @inlinable
    @inline(__always)
    public func store(word value: UInt16, at offset: Int) {
        check(offset, 2)
        unsafe start.storeBytes(of: value, toByteOffset: offset, as: UInt16.self)
    }

    /// Writes four octets as they are in memory.
    @inlinable
    @inline(__always)
    public func store(word value: UInt32, at offset: Int) {
        check(offset, 4)
        unsafe start.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
    }

    /// Writes eight octets as they are in memory.
    @inlinable
    @inline(__always)
    public func store(word value: UInt64, at offset: Int) {
        check(offset, 8)
        unsafe start.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
    }

    /// The window's octets from `offset` on; traps beyond the end.
    @inlinable
    @inline(__always)
    public func dropFirst(_ offset: Int) -> PacketBytes {
        precondition(offset >= 0 && offset <= count)
        return unsafe PacketBytes(unsafeStart: start + offset, count: count &- offset)
    }

    /// The window's first `length` octets; traps when there are fewer.
    @inlinable
    @inline(__always)
    public func prefix(_ length: Int) -> PacketBytes {
        precondition(length >= 0 && length <= count)
        return unsafe PacketBytes(unsafeStart: start, count: length)
    }

    /// Copies `length` octets of `source` from its start to `offset` here. The two may overlap.
    @inlinable
    @inline(__always)
    public func copy(_ source: PacketBytes, count length: Int, to offset: Int) {
        precondition(length >= 0 && length <= source.count)
        check(offset, length)
        unsafe (start + offset).copyMemory(from: source.start, byteCount: length)
    }

    /// The octets as an array, for tests and reports.
    public var array: [UInt8] { (0..<count).map { uint8(at: $0) } }
}

extension Array<UInt8> {
    /// Runs `body` on a window over the array's octets, which must not leave the call.
    public mutating func withPacketBytes<Result, Failure: Error>(
        _ body: (PacketBytes) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let count = self.count
        reserveCapacity(1)  // an empty array may have no address at all
        return try unsafe withUnsafeMutableBufferPointer { buffer throws(Failure) in
            guard let base = buffer.baseAddress else { preconditionFailure("an array with capacity has an address") }
            return try body(unsafe PacketBytes(unsafeStart: base, count: count))
        }
    }
}
