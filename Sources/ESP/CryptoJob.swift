import IPsec

/// One operation on a packet in place, as the crypto stage takes it: 120 octets, filled by the header pass and read one
/// pass later.
///
/// The pass between is the point: a vector load of a nonce that was stored a few instructions before stalls for about
/// 40 cycles, which a burst avoids by writing all nonces first.
///
///     transform         encrypted  authenticated besides
///     ESP, encrypting   text       with ESN extendedData, else associatedData: SPI and sequence number
///     ESP, AES-GMAC     nothing    with ESN extendedData; associatedData: from the SPI, with ESN from the IV, to the
///                                  next header (RFC 4543 section 3)
///     AH                nothing    associatedData: the packet, what changes on its way as zeros; with ESN trailingData
@safe
struct CryptoJob {
    /// The ICV the packet should have. Inbound; what lies behind its first `icvOctets` octets means nothing.
    var computedICV: (UInt64, UInt64)
    /// Salt and IV: the 12-octet nonce of RFC 4106 section 4, in 16. HMAC has none.
    var nonce: (UInt64, UInt64)
    /// SPI and 64-bit sequence number: the 12 octets that are authenticated before all others when `usesExtendedData`.
    var extendedData: (UInt64, UInt64)
    /// The table of an expanded key, which is one of `transform`.
    var key: UnsafeMutableRawPointer
    /// Payload, padding and trailer: what is encrypted. Not looked at by a transform that encrypts nothing.
    var text: UnsafeMutableRawPointer
    /// Octets of `text`, 65535 at most.
    var length: Int
    /// What is authenticated as it lies in the packet; for the encrypting transforms SPI and sequence number (RFC 4106
    /// section 5), which are not looked at when there is `extendedData`.
    var associatedData: UnsafeMutableRawPointer
    /// Octets of `associatedData`: 65575 at most, the longest IP packet.
    var associatedDataOctets: Int
    /// Where the packet's ICV is or goes. May lie within the associated data.
    var icv: UnsafeMutableRawPointer
    /// Octets of the ICV: 16, or 12 or 8 for AES-GCM.
    var icvOctets: Int
    /// Index of the packet in its burst.
    var packet: Int
    /// The sequence number's high half, which is authenticated behind all others when `usesTrailingData` (RFC 4302
    /// section 3.3.3.3). AH only.
    var trailingData: UInt32
    /// What is to be done.
    var transform: Algorithm.Transform
    /// RFC 4303 section 2.2.1 with a combined mode algorithm.
    var usesExtendedData: Bool
    /// RFC 4302 section 2.5.1.
    var usesTrailingData: Bool

    @inline(__always)
    init(
        key: UnsafeMutableRawPointer, text: UnsafeMutableRawPointer, length: Int,
        associatedData: UnsafeMutableRawPointer, associatedDataOctets: Int = 8, icv: UnsafeMutableRawPointer,
        icvOctets: Int = 16, nonce: (UInt64, UInt64), computedICV: (UInt64, UInt64) = (0, 0),
        transform: Algorithm.Transform = .aes128GCM, extendedData: (UInt64, UInt64)? = nil,
        trailingData: UInt32? = nil, packet: Int
    ) {
        self.computedICV = computedICV
        self.nonce = nonce
        self.extendedData = extendedData ?? (0, 0)
        unsafe self.key = unsafe key
        unsafe self.text = unsafe text
        self.length = length
        unsafe self.associatedData = unsafe associatedData
        self.associatedDataOctets = associatedDataOctets
        unsafe self.icv = unsafe icv
        self.icvOctets = icvOctets
        self.packet = packet
        self.trailingData = trailingData ?? 0
        self.transform = transform
        usesExtendedData = extendedData != nil
        usesTrailingData = trailingData != nil
    }

    /// Whether it is what nearly all are: AES-128-GCM with a whole ICV and 8 octets of associated data.
    @inline(__always)
    var isPlain: Bool {
        // All three are looked at, so that nothing is predicted but the one branch on the whole.
        (Int(transform.rawValue) | icvOctets ^ 16 | (usesExtendedData ? 1 : 0)) == 0
    }

    /// Whether the packet's ICV is the computed one. In constant time.
    @inline(__always)
    var hasComputedICV: Bool {
        var difference = unsafe icv.loadUnaligned(as: UInt64.self) ^ computedICV.0
        if icvOctets == 16 {
            difference |= unsafe icv.loadUnaligned(fromByteOffset: 8, as: UInt64.self) ^ computedICV.1
        } else if icvOctets == 12 {
            let last = unsafe icv.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
            difference |= UInt64(last ^ UInt32(truncatingIfNeeded: computedICV.1))
        }
        return difference == 0
    }

    /// The nonce of `salt` and an IV that lie in memory as they go into it.
    @inline(__always)
    static func nonce(salt: UInt32, iv: UInt64) -> (UInt64, UInt64) { (UInt64(salt) | iv << 32, iv >> 32) }

    /// SPI, high half, low half (RFC 4106 section 5): the SPI as it lies in a packet, the number as one counts.
    @inline(__always)
    static func extendedData(spi: UInt32, sequence: UInt64) -> (UInt64, UInt64) {
        (
            UInt64(spi) | UInt64(trailingData(sequence: sequence)) << 32,
            UInt64(UInt32(truncatingIfNeeded: sequence).bigEndian)
        )
    }

    /// The high half of a sequence number, as it goes behind a packet.
    @inline(__always)
    static func trailingData(sequence: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: sequence >> 32).bigEndian }
}

/// Where the parts of a job lie, as addresses that are good for as long as the job stays where it is: some operations
/// end after the call that began them.
extension UnsafeMutablePointer<CryptoJob> {
    var computedICV: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) }
    var nonce: UnsafeRawPointer { unsafe UnsafeRawPointer(self) + 16 }
    var extendedData: UnsafeRawPointer { unsafe UnsafeRawPointer(self) + 32 }
}

/// The jobs of a burst, in the order of its packets.
@safe
struct CryptoJobs: ~Copyable {
    private let storage: UnsafeMutablePointer<CryptoJob>
    private let capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: capacity * MemoryLayout<CryptoJob>.stride, alignment: 64)
        // All of a job's members are trivial: zeros are one.
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * MemoryLayout<CryptoJob>.stride)
        unsafe storage = memory.bindMemory(to: CryptoJob.self, capacity: capacity)
    }

    deinit { unsafe storage.deallocate() }

    mutating func removeAll() { count = 0 }

    @inline(__always)
    mutating func append(_ job: CryptoJob) {
        precondition(count < capacity)
        unsafe (storage + count).initialize(to: job)
        count &+= 1
    }

    /// A job with 8 octets of associated data in the packet and an ICV of 16: what nearly all are. What such a job does
    /// not need is not written.
    @inline(__always)
    mutating func appendPlain(
        key: UnsafeMutableRawPointer, text: UnsafeMutableRawPointer, length: Int,
        associatedData: UnsafeMutableRawPointer, icv: UnsafeMutableRawPointer, nonce: (UInt64, UInt64),
        transform: Algorithm.Transform, packet: Int
    ) {
        precondition(count < capacity)
        let job = unsafe storage + count
        unsafe job.pointee.nonce = nonce
        unsafe job.pointee.key = unsafe key
        unsafe job.pointee.text = unsafe text
        unsafe job.pointee.length = length
        unsafe job.pointee.associatedData = unsafe associatedData
        unsafe job.pointee.associatedDataOctets = 8
        unsafe job.pointee.icv = unsafe icv
        unsafe job.pointee.icvOctets = 16
        unsafe job.pointee.packet = packet
        unsafe job.pointee.transform = transform
        unsafe job.pointee.usesExtendedData = false
        unsafe job.pointee.usesTrailingData = false
        count &+= 1
    }

    @inline(__always)
    subscript(_ index: Int) -> UnsafeMutablePointer<CryptoJob> {
        precondition(index >= 0 && index < count)
        return unsafe storage + index
    }
}
