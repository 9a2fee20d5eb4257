/// One AES-GCM operation on a packet in place, as the crypto stage takes it: 96 octets, filled by the header pass and
/// read one pass later.
///
/// The pass between is the point: a vector load of a nonce that was stored a few instructions before stalls for about
/// 40 cycles, which a burst avoids by writing all nonces first.
@safe
struct CryptoJob {
    var key: UnsafeMutableRawPointer
    /// Payload, padding and trailer: what is encrypted.
    var text: UnsafeMutableRawPointer
    var length: Int
    /// SPI and sequence number as they lie in the packet (RFC 4106 section 5).
    var associatedData: UnsafeMutableRawPointer
    /// Where the packet's ICV is or goes.
    var icv: UnsafeMutableRawPointer
    /// Salt and IV: the 12-octet nonce of RFC 4106 section 4, in 16.
    var nonce: (UInt64, UInt64)
    /// Inbound: the ICV the packet should have.
    var computedICV: (UInt64, UInt64)
    /// Index of the packet in its burst.
    var packet: Int

    /// The nonce of `salt` and an IV that lie in memory as they go into it.
    @inline(__always)
    static func nonce(salt: UInt32, iv: UInt64) -> (UInt64, UInt64) { (UInt64(salt) | iv << 32, iv >> 32) }
}

/// The jobs of a burst, in the order of its packets.
@safe
struct CryptoJobs: ~Copyable {
    private let storage: UnsafeMutablePointer<CryptoJob>
    private let capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        unsafe storage = UnsafeMutableRawPointer.allocate(
            byteCount: capacity * MemoryLayout<CryptoJob>.stride, alignment: 64
        ).bindMemory(to: CryptoJob.self, capacity: capacity)
    }

    deinit { unsafe storage.deallocate() }

    mutating func removeAll() { count = 0 }

    @inline(__always)
    mutating func append(_ job: CryptoJob) {
        precondition(count < capacity)
        unsafe (storage + count).initialize(to: job)
        count &+= 1
    }

    @inline(__always)
    subscript(_ index: Int) -> UnsafeMutablePointer<CryptoJob> {
        precondition(index >= 0 && index < count)
        return unsafe storage + index
    }
}
