import CDPDK
import Wire

/// Where packet buffers come from and return to.
@safe
public struct PacketPool: @unchecked Sendable {
    /// Room before a packet: what ESP puts in front and what drivers want.
    static let headroomOctets = 128

    let pointer: UnsafeMutableRawPointer
    /// Octets a packet may have on arrival.
    public let frameOctets: Int

    /// `count` buffers for frames of up to `frameOctets`, on a NUMA node if that has so much. Throws `.noMemory`.
    public init(name: String, count: Int, frameOctets: Int, node: Int? = nil) throws(DataPlaneError) {
        // Behind the frame: padding, trailer and ICV. DPDK counts headroom into the room.
        let room = PacketPool.headroomOctets + frameOctets + 64
        precondition(room <= Int(UInt16.max))
        let cache: UInt32 = count >= 2048 ? 256 : 0
        guard
            let pointer = unsafe cdpdk_pool_create(name, UInt32(count), cache, UInt16(room), Int32(node ?? -1))
        else {
            throw .noMemory(what: "\(count) packet buffers of \(room) octets", error: cdpdk_errno())
        }
        unsafe self.pointer = unsafe pointer
        self.frameOctets = frameOctets
    }

    /// Buffers that are not in the pool: at exit, those that leaked.
    public var inUse: Int { unsafe Int(cdpdk_pool_in_use(pointer)) }

    /// A fresh buffer holding no packet; nil when none is left.
    @inline(__always)
    func allocate() -> Mbuf? {
        guard let mbuf = unsafe cdpdk_mbuf_alloc(pointer) else { return nil }
        return unsafe Mbuf(mbuf)
    }

    /// Gives the memory back; no buffer may be out.
    public func destroy() { unsafe cdpdk_pool_free(pointer) }
}

/// A bounded queue of packets between threads: any of them puts in, one takes out.
@safe
public struct PacketRing: BitwiseCopyable, @unchecked Sendable {
    let pointer: UnsafeMutableRawPointer

    /// A ring for `capacity` packets, a power of two less one is usable, on a NUMA node if that has
    /// memory. `single` when only one thread puts in.
    public init(name: String, capacity: Int, single: Bool, node: Int? = nil) throws(DataPlaneError) {
        guard let pointer = unsafe cdpdk_ring_create(name, UInt32(capacity), single, Int32(node ?? -1)) else {
            throw .noMemory(what: "a ring of \(capacity) packets", error: cdpdk_errno())
        }
        unsafe self.pointer = unsafe pointer
    }

    /// Packets in it.
    public var count: Int { unsafe Int(cdpdk_ring_count(pointer)) }

    /// Gives the memory back.
    public func destroy() { unsafe cdpdk_ring_free(pointer) }
}
