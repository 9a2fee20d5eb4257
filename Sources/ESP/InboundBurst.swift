// Inbound ESP and AH, a burst at a time. RFC 4303 section 3.4, RFC 4106, RFC 4301 section 5.2.
//
// In order: the caller appends packets whose SA it found; `prepare` checks lengths and the replay window;
// `resynchronize` looks for a sender whose extended numbers have gone on without us; a crypto stage decrypts in place
// and computes ICVs; `finish` compares them, checks the window again and marks it, and checks padding and trailer.
// Nothing of an SA changes before the ICV held, but what is counted.
//
// This file is the short way, for SAs that are plain: ESP in tunnel mode with an IV of 8 octets and an ICV of 16.
// `InboundBurst+General.swift` is the other one.

import IPsec
import Wire

/// One packet on its way through an inbound burst.
@frozen
@safe
public struct InboundPacket {
    /// The packet from its outer header on, before `finish` and when it failed; after it, the inner packet in tunnel
    /// mode, padding for traffic flow confidentiality included, and in transport mode the packet as it was before it
    /// was protected.
    public var bytes: PacketBytes
    @usableFromInline let association: UnsafeMutablePointer<InboundSecurityAssociation>
    /// The caller's own, untouched.
    public let tag: Int
    /// Where ESP or AH begins before `finish` and when the packet failed, where `bytes` begins after it; counted from
    /// the first octet of the outer header.
    public var offset: Int
    /// Its sequence number, all 64 bits; 0 before it was looked at.
    public var number: UInt64 = 0
    /// What the caller said: whether it comes from elsewhere than its SA's peer, who may move.
    public let sourceDiffers: Bool
    /// What the caller said: whether a device has verified and decrypted it.
    public var isOpened = false
    /// What `bytes` is, after `finish`.
    public var family = IPFamily.v4
    /// Whether its number was above all accepted before.
    public var advancesWindow = false
    /// Whether it was authentic and came from another address or port of a peer behind NAT, to which its SA has moved;
    /// also where it then failed.
    public var movesPeer = false
    /// Whether it is to be tried under another high half of its number.
    @usableFromInline var isCandidate = false
    /// Nil as long as the packet is fine. The bytes of one that failed mean nothing, unless it is `.ahead`.
    public var failure: DropReason?

    /// The SA that opened it.
    public var reference: InboundAssociationReference { unsafe AssociationReference(pointer: association) }

    @inlinable
    @inline(__always)
    init(
        packet: PacketBytes, start: Int, association: UnsafeMutablePointer<InboundSecurityAssociation>,
        sourceDiffers: Bool, tag: Int
    ) {
        bytes = packet
        offset = start
        unsafe self.association = unsafe association
        self.tag = tag
        self.sourceDiffers = sourceDiffers
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
    @inlinable
    public var count: Int { appended }
    @usableFromInline var appended = 0
    var jobs: CryptoJobs
    let attention: AttentionMap.View
    /// Headers with fields that count as zero for an AH's ICV, as they came.
    let saved: SavedHeaders
    /// Packets to be tried under another high half of their numbers.
    var candidates = 0
    /// Packets that a device has opened.
    private var opened = 0
    /// When `finish` was called, and how far a second is, in ticks.
    var now: UInt64 = 0
    let ticksPerSecond: UInt64

    /// An empty burst. `attention` outlives it. `ticksPerSecond` is that of the clock that `finish` is told.
    public init(capacity: Int, attention: AttentionMap, ticksPerSecond: UInt64 = 1) {
        self.capacity = capacity
        self.attention = attention.unownedView
        self.ticksPerSecond = ticksPerSecond
        unsafe packets = .allocate(capacity: capacity)
        jobs = CryptoJobs(capacity: capacity)
        saved = SavedHeaders(capacity: capacity)
    }

    deinit { unsafe packets.deallocate() }

    /// Empties it.
    public mutating func removeAll() {
        appended = 0
        candidates = 0
        opened = 0
        jobs.removeAll()
    }

    /// Adds a packet whose ESP header or AH, that of `association`, begins at `start`. `packet` is the IP packet from
    /// its outer header on and nothing behind it; it stays valid until the burst is emptied. `sourceDiffers` says that
    /// an SA with NAT traversal has its peer at another address or port: then the packet is taken only if it shows that
    /// the peer has moved. Traps when the burst is full, or `start` is not in the packet. Into the
    /// caller's loop, as for an outbound burst.
    @inlinable
    @inline(__always)
    public mutating func append(
        packet: PacketBytes, start: Int, association: InboundAssociationReference, tag: Int, sourceDiffers: Bool = false
    ) {
        precondition(appended < capacity && start >= 0 && start <= packet.count)
        unsafe (packets + appended).initialize(
            to: InboundPacket(
                packet: packet, start: start, association: association.pointer, sourceDiffers: sourceDiffers, tag: tag))
        appended &+= 1
    }

    /// Says that a device has verified and decrypted the packet that was appended last, under its SA's key: only what
    /// a key is not needed for is left to do. Only where the SA is AES-128-GCM's with an ICV of 16 octets and 32-bit
    /// numbers.
    @inline(__always)
    public mutating func setOpened() {
        precondition(count > 0)
        unsafe packets[count &- 1].isOpened = true
        opened &+= 1
    }

    /// Adds a packet that failed as `.ahead` before, with what its `InboundPacket` said then; for `finishOpened`.
    public mutating func append(
        opened packet: PacketBytes, start: Int, number: UInt64, association: InboundAssociationReference, tag: Int,
        sourceDiffers: Bool = false
    ) {
        append(packet: packet, start: start, association: association, tag: tag, sourceDiffers: sourceDiffers)
        unsafe packets[count &- 1].number = number
    }

    /// A packet; traps outside of `count`. In place: whoever wants one field reads one field.
    @inlinable
    public subscript(_ index: Int) -> InboundPacket {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(packets + index)
        }
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
        guard unsafe association.pointee.isPlain else { return prepareGeneral(index) }
        guard let header = unsafe ESPHeader(packet.pointee.bytes.dropFirst(packet.pointee.offset)) else {
            return .malformed
        }
        // RFC 4303 2.2: the first number is 1; without ESN no sender may let it come back to 0.
        let sequence = UInt64(header.sequenceNumber)
        guard sequence != 0 else { return .malformed }
        // RFC 4303 3.4.3: the first look, before the work of decrypting.
        if let refused = unsafe association.pointee.window.check(sequence) { return refused }
        unsafe packet.pointee.number = sequence
        // What the packet changes when it is accepted; where both are of one SA the one before it did that. To fetch
        // this with the first line, before there is anything to do meanwhile, was slower.
        if unsafe index == 0 || packets[index &- 1].association != association {
            unsafe packet.pointee.reference.fetch(line: 1)
            unsafe association.pointee.window.fetch(sequence)
        }
        if unsafe packet.pointee.isOpened { return nil }
        unsafe jobs.appendPlain(
            key: association.pointee.key, esp: header.bytes,
            nonce: CryptoJob.nonce(salt: association.pointee.saltWord, iv: header.ivWord),
            transform: association.pointee.transform, packet: index)
        return nil
    }

    /// The pass after the crypto stage: what authentic packets are. `now` is the clock in ticks; a peer behind NAT
    /// moves at most once a second.
    public mutating func finish(now: UInt64 = 0) {
        self.now = now
        if opened > 0 { return finishMixed() }
        var index = 0
        while index < jobs.count {
            let job = unsafe jobs[index]
            let packet = unsafe job.pointee.packet
            unsafe packets[packet].failure = finish(packet, job)
            index &+= 1
        }
    }

    /// The same where a device has opened some, in the order in which they came: those have no job.
    private mutating func finishMixed() {
        var index = 0, job = 0
        while index < count {
            let packet = unsafe packets + index
            if job < jobs.count, unsafe jobs[job].pointee.packet == index {
                unsafe packet.pointee.failure = finish(index, jobs[job])
                job &+= 1
            } else if unsafe packet.pointee.isOpened && packet.pointee.failure == nil {
                let isPlain = unsafe packet.pointee.association.pointee.isPlain
                unsafe packet.pointee.failure =
                    isPlain ? accept(index, waited: false) : acceptGeneral(index, waited: false)
            }
            index &+= 1
        }
    }

    /// In place of the other passes for packets that were authentic and `ahead` before: they are in clear already.
    public mutating func finishOpened(now: UInt64 = 0) {
        self.now = now
        var index = 0
        while index < count {
            let isPlain = unsafe packets[index].association.pointee.isPlain
            unsafe packets[index].failure =
                isPlain ? accept(index, waited: true) : acceptGeneral(index, waited: true)
            index &+= 1
        }
    }

    /// RFC 4303 3.4.4.1: the ICV, in constant time; no use of the packet before it is valid.
    @inline(__always)
    private mutating func finish(_ index: Int, _ job: UnsafeMutablePointer<CryptoJob>) -> DropReason? {
        guard unsafe packets[index].association.pointee.isPlain else { return unsafe finishGeneral(index, job) }
        let bytes = unsafe packets[index].bytes
        let end = bytes.count &- ESPHeader.icvOctets
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
        let start = unsafe packet.pointee.offset &+ ESPHeader.headerOctets &+ ESPHeader.ivOctets
        let end = bytes.count &- ESPHeader.icvOctets
        if let refused = unsafe association.pointee.accept(&packet.pointee, waited: waited, attention) {
            return refused
        }

        guard let (length, nextHeader) = InboundBurst.trailer(bytes, from: start, to: end) else { return .badTrailer }
        if let refused = unsafe packet.pointee.takeInner(bytes, start: start, length: length, nextHeader: nextHeader) {
            return refused
        }
        unsafe association.pointee.count(length)
        return nil
    }

    /// What the decrypted text from `start` to `end`, at least 2 octets, says of itself: how much of it is payload, and
    /// of which protocol. Nil where its padding is not as it should be.
    @inline(__always)
    static func trailer(_ bytes: PacketBytes, from start: Int, to end: Int) -> (length: Int, nextHeader: UInt8)? {
        // In front of the text there is an IV at least.
        let word = bytes.word64(at: end &- 8).littleEndian
        let padding = Int(truncatingIfNeeded: word >> 48 & 0xff), nextHeader = UInt8(truncatingIfNeeded: word >> 56)
        let length = end &- start &- ESPHeader.trailerOctets &- padding
        guard length >= 0 else { return nil }
        // RFC 4303 2.4: a receiver should inspect the padding: 1, 2, 3, …. Ours is 0 to 3 octets long, which one word
        // shows without a branch for each; longer ones are legitimate and rare.
        if padding <= 3 {
            let octets = UInt64(truncatingIfNeeded: padding &* 8)
            let difference = (word &>> (48 &- octets) ^ 0x03_0201) & (1 &<< octets &- 1)
            return difference == 0 ? (length, nextHeader) : nil
        }
        var step = 0
        while step < padding {
            if bytes.uint8(at: start &+ length &+ step) != UInt8(truncatingIfNeeded: step &+ 1) { return nil }
            step &+= 1
        }
        return (length, nextHeader)
    }
}

extension InboundPacket {
    /// Becomes the packet that a tunnel carried: the octets of `packet` from `start` on.
    @inline(__always)
    mutating func takeInner(_ packet: PacketBytes, start: Int, length: Int, nextHeader: UInt8) -> DropReason? {
        // RFC 4301 5.2: what the next header says is what there is.
        let version = length > 0 ? packet.uint8(at: start) >> 4 : 0
        if nextHeader == IPProtocol.ipv4 && version == IPFamily.v4.rawValue {
            family = .v4
        } else if nextHeader == IPProtocol.ipv6 && version == IPFamily.v6.rawValue {
            family = .v6
        } else {
            // RFC 4303 2.6: a dummy packet is discarded without prejudice.
            return nextHeader == IPProtocol.none ? .dummy : .badTrailer
        }
        bytes = packet.dropFirst(start).prefix(length)
        offset = start
        return nil
    }
}
