import CIPsecMB
import IPsec
import Wire

/// One operation on a packet in place, as the crypto stage takes it: two cache lines, filled by the header pass and
/// read one pass later. Of a plain job only the first is touched.
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
    // First line: all that a plain job has. As `cipsecmb_esp` begins.

    /// The ICV the packet should have. Inbound; what lies behind its first `icvOctets` octets means nothing.
    var computedICV: (UInt64, UInt64)
    /// Salt and IV: the 12-octet nonce of RFC 4106 section 4, in 16. HMAC has none.
    var nonce: (UInt64, UInt64)
    /// The table of an expanded key, which is one of `transform`.
    var key: UnsafeMutableRawPointer
    /// Payload, padding and trailer: what is encrypted. Not looked at by a transform that encrypts nothing.
    var text: UnsafeMutableRawPointer
    /// Octets of `text`, 65535 at most.
    var length: Int
    // Index of the packet in its burst.
    private var packetNumber: UInt32
    /// What is to be done; octets of the ICV; which of the two below count. One word, so that a plain job is known by
    /// one comparison.
    private var control: UInt32

    // Second line: of all others.

    /// SPI and 64-bit sequence number: the 12 octets that are authenticated before all others when `usesExtendedData`.
    var extendedData: (UInt64, UInt64) = (0, 0)
    /// What is authenticated as it lies in the packet; for the encrypting transforms SPI and sequence number (RFC 4106
    /// section 5), which are not looked at when there is `extendedData`.
    var associatedData: UnsafeMutableRawPointer
    /// Octets of `associatedData`: 65575 at most, the longest IP packet.
    var associatedDataOctets: Int
    /// Where the packet's ICV is or goes. May lie within the associated data.
    var icv: UnsafeMutableRawPointer
    /// The sequence number's high half, which is authenticated behind all others when `usesTrailingData` (RFC 4302
    /// section 3.3.3.3). AH only.
    var trailingData: UInt32
    // To the end of the line: a job that begins within one would touch two.
    private var unused: (UInt64, UInt64) = (0, 0)

    private static func control(_ transform: Algorithm.Transform, _ icvOctets: Int, _ extended: Bool, _ trailing: Bool)
        -> UInt32
    {
        UInt32(transform.rawValue) | UInt32(truncatingIfNeeded: icvOctets) << 8 | (extended ? 1 << 16 : 0)
            | (trailing ? 1 << 24 : 0)
    }

    /// AES-128-GCM, an ICV of 16 octets, no extended data.
    private static let plainControl: UInt32 = 0x1000

    /// What is to be done.
    var transform: Algorithm.Transform {
        Algorithm.Transform(rawValue: UInt8(truncatingIfNeeded: control)) ?? .aes128GCM
    }
    /// Octets of the ICV: 16, or 12 or 8 for AES-GCM.
    var icvOctets: Int { Int(control >> 8 & 0xff) }
    /// RFC 4303 section 2.2.1 with a combined mode algorithm.
    var usesExtendedData: Bool { control & 1 << 16 != 0 }
    /// RFC 4302 section 2.5.1.
    var usesTrailingData: Bool { control & 1 << 24 != 0 }
    /// Index of the packet in its burst.
    var packet: Int { Int(packetNumber) }

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
        packetNumber = UInt32(truncatingIfNeeded: packet)
        control = CryptoJob.control(transform, icvOctets, extendedData != nil, trailingData != nil)
        self.extendedData = extendedData ?? (0, 0)
        unsafe self.key = unsafe key
        unsafe self.text = unsafe text
        self.length = length
        unsafe self.associatedData = unsafe associatedData
        self.associatedDataOctets = associatedDataOctets
        unsafe self.icv = unsafe icv
        self.trailingData = trailingData ?? 0
    }

    /// See `CryptoJobs.appendPlain`. What such a job does not need is not written: a line less for each packet.
    @inline(__always)
    mutating func setPlain(
        key: UnsafeMutableRawPointer, esp: PacketBytes, nonce: (UInt64, UInt64), transform: Algorithm.Transform,
        packet: Int
    ) {
        let front = ESPHeader.headerOctets &+ ESPHeader.ivOctets
        self.nonce = nonce
        unsafe self.key = unsafe key
        unsafe text = esp.unsafePointer(at: front)
        length = esp.count &- front &- ESPHeader.icvOctets
        packetNumber = UInt32(truncatingIfNeeded: packet)
        if transform == .aes128GCM {
            control = CryptoJob.plainControl
        } else {
            control = CryptoJob.control(transform, ESPHeader.icvOctets, false, false)
            unsafe associatedData = esp.unsafePointer(at: 0)
            associatedDataOctets = ESPHeader.headerOctets
            unsafe icv = esp.unsafePointer(at: esp.count &- ESPHeader.icvOctets)
        }
    }

    /// Whether it is what nearly all are: ESP with AES-128-GCM, a whole ICV and 32-bit numbers. Then SPI and sequence
    /// number lie 16 octets before the text, and the ICV right behind it.
    @inline(__always)
    var isPlain: Bool { control == CryptoJob.plainControl }

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
    var extendedData: UnsafeRawPointer { unsafe UnsafeRawPointer(self) + 64 }
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

    /// A job for the ESP packet in `esp`, from its SPI to the end of its ICV of 16 octets, with an IV of 8 and 32-bit
    /// numbers: what nearly all are. Traps when it is shorter than any is. `nonce` is not read from the packet, where
    /// it may just have been written.
    @inline(__always)
    mutating func appendPlain(
        key: UnsafeMutableRawPointer, esp: PacketBytes, nonce: (UInt64, UInt64), transform: Algorithm.Transform,
        packet: Int
    ) {
        precondition(count < capacity && esp.count >= ESPHeader.minimumOctets)
        unsafe (storage + count).pointee.setPlain(
            key: key, esp: esp, nonce: nonce, transform: transform, packet: packet)
        count &+= 1
    }

    /// How many jobs from `index` on, each after the other, are plain.
    @inline(__always)
    func plainJobs(from index: Int) -> Int {
        var end = index
        while unsafe end < count && storage[end].isPlain { end &+= 1 }
        return end &- index
    }

    /// Plain jobs from `index` on, as `CIPsecMB` takes packets in one piece: the first members lie as there.
    @inline(__always)
    func unsafeWholePackets(at index: Int) -> UnsafeMutablePointer<cipsecmb_esp> {
        precondition(index >= 0 && index < count)
        return unsafe UnsafeMutableRawPointer(storage + index).assumingMemoryBound(to: cipsecmb_esp.self)
    }

    @inline(__always)
    subscript(_ index: Int) -> UnsafeMutablePointer<CryptoJob> {
        precondition(index >= 0 && index < count)
        return unsafe storage + index
    }
}
