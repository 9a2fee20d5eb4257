import CDPDK
import Wire

/// A packet buffer of DPDK's, in one segment. Whoever holds it frees it or hands it on, once.
@safe
public struct Mbuf: BitwiseCopyable {
    /// The port number of a packet that came from no port: the gateway's own.
    static let originatedPort: UInt16 = 0xffff

    let pointer: cdpdk_mbuf_ref

    @inline(__always)
    init(_ pointer: cdpdk_mbuf_ref) { unsafe self.pointer = unsafe pointer }

    /// Where the buffer begins. Every buffer has an address, which C can't say here: to look each time took six
    /// instructions a packet.
    @inline(__always)
    private var start: UnsafeMutablePointer<UInt8> { unsafe pointer.pointee.buf_addr.unsafelyUnwrapped }

    /// All of the buffer: room before the packet, the packet, room behind it.
    @inline(__always)
    var buffer: PacketBytes { unsafe PacketBytes(unsafeStart: start, count: Int(pointer.pointee.buf_len)) }

    /// Where the packet starts in `buffer`.
    @inline(__always)
    var offset: Int { unsafe Int(pointer.pointee.data_off) }

    /// Octets of the packet.
    @inline(__always)
    public var length: Int { unsafe Int(pointer.pointee.data_len) }

    /// The packet. Its length is the driver's word; it is checked against the buffer.
    @inline(__always)
    public var bytes: PacketBytes { buffer.dropFirst(offset).prefix(length) }

    /// Says where in `buffer` the packet is now. Traps outside of it.
    @inline(__always)
    func setPacket(offset: Int, length: Int) {
        unsafe precondition(offset >= 0 && length >= 0 && offset &+ length <= Int(pointer.pointee.buf_len))
        unsafe pointer.pointee.data_off = UInt16(truncatingIfNeeded: offset)
        unsafe pointer.pointee.data_len = UInt16(truncatingIfNeeded: length)
        unsafe pointer.pointee.pkt_len = UInt32(truncatingIfNeeded: length)
    }

    /// Says that the IP packet of `octets` octets at `offset` is its packet, with an Ethernet header before it, and
    /// gives back that header's octets. Traps outside of the buffer. One look at the buffer's size is enough for both:
    /// `setPacket` and then a window had two, nine instructions a packet.
    @inline(__always)
    func setFrame(around octets: Int, at offset: Int) -> PacketBytes {
        let start = offset &- EthernetHeader.octets, length = octets &+ EthernetHeader.octets
        // Subtracted from the size, which can't overflow.
        unsafe precondition(
            offset >= EthernetHeader.octets && octets >= 0 && octets <= Int(pointer.pointee.buf_len) &- offset)
        unsafe pointer.pointee.data_off = UInt16(truncatingIfNeeded: start)
        unsafe pointer.pointee.data_len = UInt16(truncatingIfNeeded: length)
        unsafe pointer.pointee.pkt_len = UInt32(truncatingIfNeeded: length)
        return unsafe PacketBytes(unsafeStart: self.start + start, count: EthernetHeader.octets)
    }

    /// DPDK's number of the port it came in by.
    @inline(__always)
    var port: UInt16 {
        get { unsafe pointer.pointee.port }
        nonmutating set { unsafe pointer.pointee.port = newValue }
    }

    /// Whether it is in more segments than one.
    @inline(__always)
    var isChained: Bool { unsafe pointer.pointee.nb_segs != 1 }

    /// Gathers its segments into the first; false when there is no room.
    @inline(never)
    func linearize() -> Bool { unsafe cdpdk_mbuf_linearize(pointer) }

    /// Whether its packet is the gateway's own: an answer or an error.
    public var isOriginated: Bool { port == Mbuf.originatedPort }

    @inline(__always)
    func prefetchPacket() { unsafe rte_prefetch0(start + Int(pointer.pointee.data_off)) }

    /// Nanoseconds since 1970 in replay; in run mode, nobody reads it.
    @inline(__always)
    public var timestamp: UInt64 {
        get { unsafe cdpdk_mbuf_timestamp(pointer) }
        nonmutating set { unsafe cdpdk_mbuf_set_timestamp(pointer, newValue) }
    }

    /// Gives it back to its pool.
    public func free() {
        var pointer: cdpdk_mbuf_ref? = unsafe self.pointer
        unsafe cdpdk_mbuf_free_bulk(&pointer, 1)
    }

    /// Whether it is the same buffer.
    public func isSame(as other: Mbuf) -> Bool { unsafe pointer == other.pointer }
}

/// The free places of a list, for a pass that fills some of them and then says how many: the list's own count would be
/// read and written for each packet, eight instructions of it.
@safe
struct MbufRoom: BitwiseCopyable {
    private let storage: UnsafeMutablePointer<cdpdk_mbuf_ref?>
    let count: Int

    @inline(__always)
    fileprivate init(storage: UnsafeMutablePointer<cdpdk_mbuf_ref?>, count: Int) {
        unsafe self.storage = unsafe storage
        self.count = count
    }

    /// Puts a buffer into a free place; traps where there is none.
    @inline(__always)
    func put(_ mbuf: Mbuf, at index: Int) {
        precondition(index >= 0 && index < count)
        unsafe storage[index] = mbuf.pointer
    }

    /// The address of the first `number` places, for C.
    @inline(__always)
    func unsafeStart(_ number: Int) -> UnsafeMutablePointer<cdpdk_mbuf_ref?> {
        precondition(number >= 0 && number <= count)
        return unsafe storage
    }
}

/// Reads a list of buffers while nothing is added to it: for all the compiler knows, what a pass wrote may have been
/// the list itself.
@safe
struct MbufListView: BitwiseCopyable {
    private let storage: UnsafeMutablePointer<cdpdk_mbuf_ref?>
    let count: Int

    @inline(__always)
    fileprivate init(storage: UnsafeMutablePointer<cdpdk_mbuf_ref?>, count: Int) {
        unsafe self.storage = unsafe storage
        self.count = count
    }

    /// A buffer; traps outside of `count`.
    @inline(__always)
    subscript(_ index: Int) -> Mbuf {
        precondition(index >= 0 && index < count)
        guard let pointer = unsafe storage[index] else { preconditionFailure("lists hold no nil below count") }
        return unsafe Mbuf(pointer)
    }
}

/// A list of packet buffers of fixed capacity, in the form that DPDK's burst calls take.
@safe
public struct MbufList: ~Copyable {
    private let storage: UnsafeMutablePointer<cdpdk_mbuf_ref?>
    /// Most buffers it holds.
    public let capacity: Int
    /// Buffers in it.
    public private(set) var count = 0

    /// An empty list.
    public init(capacity: Int) {
        self.capacity = capacity
        unsafe storage = .allocate(capacity: capacity)
        unsafe storage.initialize(repeating: nil, count: capacity)
    }

    deinit { unsafe storage.deallocate() }

    /// A buffer; traps outside of `count`.
    @inline(__always)
    public subscript(_ index: Int) -> Mbuf { view[index] }

    /// Adds a buffer; traps when the list is full.
    @inline(__always)
    public mutating func append(_ mbuf: Mbuf) {
        precondition(count < capacity)
        unsafe storage[count] = mbuf.pointer
        count &+= 1
    }

    /// The buffers as they are now.
    @inline(__always)
    var view: MbufListView { unsafe MbufListView(storage: storage, count: count) }

    /// Its free places, which `extend` then counts.
    @inline(__always)
    var room: MbufRoom { unsafe MbufRoom(storage: storage + count, count: capacity &- count) }

    /// Adds what was put into the first free places.
    @inline(__always)
    mutating func extend(by number: Int) {
        precondition(number >= 0 && number <= capacity &- count)
        count &+= number
    }

    /// Adds a fresh buffer from a pool; nil when the pool is empty.
    public mutating func appendFresh(from pool: PacketPool) -> Mbuf? {
        guard let mbuf = pool.allocate() else { return nil }
        append(mbuf)
        return mbuf
    }

    /// Forgets the newest buffer without freeing it.
    public mutating func removeLast() {
        precondition(count > 0)
        count &-= 1
    }

    /// Forgets its buffers without freeing them.
    @inline(__always)
    public mutating func removeAll() { count = 0 }

    /// Frees its buffers.
    @inline(__always)
    public mutating func freeAll() {
        if count > 0 { unsafe cdpdk_mbuf_free_bulk(storage, UInt32(count)) }
        count = 0
    }

    /// Replaces its content by what came in by a queue of a port.
    @inline(__always)
    mutating func receive(port: UInt16, queue: UInt16, limit: Int) {
        precondition(limit <= capacity)
        count = unsafe Int(cdpdk_rx_burst(port, queue, storage, UInt16(limit)))
    }

    /// Replaces its content by what lies in a ring.
    @inline(__always)
    public mutating func dequeue(_ ring: PacketRing, limit: Int) {
        precondition(limit <= capacity)
        count = unsafe Int(cdpdk_ring_dequeue(ring.pointer, storage, UInt32(limit)))
    }

    /// Puts its buffers into a ring, oldest first; keeps those that found no place and returns how many found one.
    @inline(__always)
    public mutating func enqueue(_ ring: PacketRing) -> Int {
        let accepted = unsafe Int(cdpdk_ring_enqueue(ring.pointer, storage, UInt32(count)))
        removeFirst(accepted)
        return accepted
    }

    /// Sends its buffers, oldest first; keeps those that the port did not take and returns how many it took.
    @inline(__always)
    mutating func transmit(port: UInt16, queue: UInt16) -> Int {
        let accepted = unsafe Int(cdpdk_tx_burst(port, queue, storage, UInt16(count)))
        removeFirst(accepted)
        return accepted
    }

    /// Puts a buffer of its own to an earlier place.
    mutating func keep(_ mbuf: Mbuf, at index: Int) {
        precondition(index >= 0 && index < count)
        unsafe storage[index] = mbuf.pointer
    }

    /// Forgets all but the first buffers, without freeing them.
    mutating func truncate(to count: Int) {
        precondition(count >= 0 && count <= self.count)
        self.count = count
    }

    @inline(__always)
    private mutating func removeFirst(_ accepted: Int) {
        var index = accepted
        while index < count {
            unsafe storage[index &- accepted] = unsafe storage[index]
            index &+= 1
        }
        count &-= accepted
    }

    /// Replaces its content by `number` fresh buffers from a pool; false, and empty, when the pool has too few.
    @inline(__always)
    public mutating func allocate(_ number: Int, from pool: PacketPool) -> Bool {
        precondition(number <= capacity)
        count = unsafe cdpdk_mbuf_alloc_bulk(pool.pointer, storage, UInt32(number)) ? number : 0
        return count == number
    }
}
