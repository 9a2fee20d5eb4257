// Inbound ESP in tunnel mode, a burst at a time. RFC 4303 section 3.4, RFC 4106, RFC 4301 section 5.2.
//
// In order: the caller appends packets whose SA it found; `prepare` checks lengths and the replay window; a crypto
// stage decrypts in place and computes ICVs; `finish` compares them, checks the window again and marks it, and checks
// padding and trailer. Nothing of an SA changes before the ICV held.

import IPsec
import Wire

/// One packet on its way through an inbound burst.
@frozen
@safe
public struct InboundPacket {
    /// From the ESP header to the end of the ICV, before `finish`; the inner packet after it, traffic flow
    /// confidentiality padding included.
    public internal(set) var bytes: PacketBytes
    @usableFromInline let association: UnsafeMutablePointer<InboundSecurityAssociation>
    /// The caller's own, untouched.
    public let tag: Int
    /// Nil as long as the packet is fine. The bytes of one that failed mean nothing.
    public internal(set) var failure: DropReason?

    /// The SA that opened it.
    public var reference: InboundAssociationReference { unsafe AssociationReference(pointer: association) }

    init(bytes: PacketBytes, association: UnsafeMutablePointer<InboundSecurityAssociation>, tag: Int) {
        self.bytes = bytes
        unsafe self.association = unsafe association
        self.tag = tag
        failure = nil
    }
}

/// Up to `capacity` packets that are opened together.
@safe
public struct InboundBurst: ~Copyable {
    @usableFromInline let packets: UnsafeMutablePointer<InboundPacket>
    /// Most packets it holds.
    public let capacity: Int
    /// Packets appended since `removeAll`.
    public private(set) var count = 0
    var jobs: CryptoJobs
    private let attention: AttentionMap.View

    /// An empty burst. `attention` outlives it.
    public init(capacity: Int, attention: AttentionMap) {
        self.capacity = capacity
        self.attention = attention.unownedView
        unsafe packets = .allocate(capacity: capacity)
        jobs = CryptoJobs(capacity: capacity)
    }

    deinit { unsafe packets.deallocate() }

    /// Empties it.
    public mutating func removeAll() {
        count = 0
        jobs.removeAll()
    }

    /// Adds the ESP packet in `bytes`, which stay valid until the burst is emptied. Traps when the burst is full.
    public mutating func append(bytes: PacketBytes, association: InboundAssociationReference, tag: Int) {
        precondition(count < capacity)
        unsafe (packets + count).initialize(
            to: InboundPacket(bytes: bytes, association: association.pointer, tag: tag))
        count &+= 1
    }

    /// A packet; traps outside of `count`.
    @inlinable
    public subscript(_ index: Int) -> InboundPacket {
        precondition(index >= 0 && index < count)
        return unsafe packets[index]
    }

    /// The header pass: lengths, sequence number, first look at the window.
    public mutating func prepare() {
        var index = 0
        while index < count {
            unsafe packets[index].failure = prepare(index)
            index &+= 1
        }
    }

    @inline(__always)
    private mutating func prepare(_ index: Int) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        guard let header = unsafe ESPHeader(packet.pointee.bytes) else { return .malformed }
        // RFC 4303 2.2: the first number is 1; without ESN no sender may let it come back to 0.
        let sequence = UInt64(header.sequenceNumber)
        guard sequence != 0 else { return .malformed }
        // RFC 4303 3.4.3: the first look, before the work of decrypting.
        if let refused = unsafe association.pointee.window.check(sequence) { return refused }
        let text = ESPHeader.headerOctets &+ ESPHeader.ivOctets
        unsafe jobs.append(
            CryptoJob(
                key: association.pointee.key,
                text: header.bytes.unsafePointer(at: text),
                length: header.ciphertextOctets,
                associatedData: header.bytes.unsafePointer(at: 0),
                icv: header.bytes.unsafePointer(at: text &+ header.ciphertextOctets),
                nonce: CryptoJob.nonce(salt: association.pointee.saltWord, iv: header.ivWord),
                computedICV: (0, 0), packet: index))
        return nil
    }

    /// The pass after the crypto stage: what authentic packets are.
    public mutating func finish() {
        var index = 0
        while index < jobs.count {
            let job = unsafe jobs[index]
            let packet = unsafe job.pointee.packet
            unsafe packets[packet].failure = finish(packet, job)
            index &+= 1
        }
    }

    /// In place of the three passes for packets that were authentic and `ahead` before: they are in clear already.
    public mutating func finishOpened() {
        var index = 0
        while index < count {
            unsafe packets[index].failure = accept(index, waited: true)
            index &+= 1
        }
    }

    /// RFC 4303 3.4.4.1: the ICV, in constant time; no use of the packet before it is valid.
    @inline(__always)
    private mutating func finish(_ index: Int, _ job: UnsafeMutablePointer<CryptoJob>) -> DropReason? {
        let bytes = unsafe packets[index].bytes
        let end = unsafe ESPHeader.headerOctets &+ ESPHeader.ivOctets &+ job.pointee.length
        let difference =
            unsafe (bytes.word64(at: end) ^ job.pointee.computedICV.0)
            | (bytes.word64(at: end &+ 8) ^ job.pointee.computedICV.1)
        guard difference == 0 else { return .integrityFailed }
        return accept(index, waited: false)
    }

    /// What is left for a packet in clear:
    /// 1. The window: checked again, because the burst may hold two copies, and marked.
    /// 2. Next header and padding.
    @inline(__always)
    private mutating func accept(_ index: Int, waited: Bool) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        let bytes = unsafe packet.pointee.bytes
        let start = ESPHeader.headerOctets &+ ESPHeader.ivOctets
        let end = bytes.count &- ESPHeader.icvOctets
        if let refused = unsafe association.pointee.accept(UInt64(bytes.uint32(at: 4)), waited: waited, attention) {
            return refused
        }

        let nextHeader = bytes.uint8(at: end &- 1)
        let padding = Int(bytes.uint8(at: end &- 2))
        let length = end &- start &- ESPHeader.trailerOctets &- padding
        guard length >= 0, InboundBurst.isMonotonic(bytes, start &+ length, padding) else { return .badTrailer }
        guard nextHeader == IPProtocol.ipv4 else {
            // RFC 4303 2.6: a dummy packet is discarded without prejudice.
            return nextHeader == IPProtocol.none ? .dummy : .badTrailer
        }
        unsafe packet.pointee.bytes = bytes.dropFirst(start).prefix(length)
        unsafe association.pointee.count(length)
        return nil
    }

    /// RFC 4303 2.4: a receiver should inspect the padding: 1, 2, 3, ….
    @inline(__always)
    private static func isMonotonic(_ bytes: PacketBytes, _ offset: Int, _ count: Int) -> Bool {
        // Ours is 0 to 3 octets long; longer ones are legitimate and rare.
        var step = 0
        while step < count {
            if bytes.uint8(at: offset &+ step) != UInt8(truncatingIfNeeded: step &+ 1) { return false }
            step &+= 1
        }
        return true
    }
}
