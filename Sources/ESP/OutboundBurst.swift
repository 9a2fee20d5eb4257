// Outbound ESP and AH, a burst at a time. RFC 4303 section 3.3, RFC 4106, RFC 4301 section 5.1.2.
//
//   before                          | inner packet              |
//   after   | outer IPv4 | ESP | IV | inner packet              | 1 2 3 | pad length | 4 or 41 | ICV |
//                 20        8     8                               0 … 3       1           1      16
//
// In order: the caller appends packets; `prepare` numbers them and writes all headers and trailers; a crypto stage
// encrypts; `finish` does what must wait for that; the caller reads where each packet starts now. This file is the
// short way, for SAs that are plain: the picture above. `OutboundBurst+General.swift` is the other one. What is not
// detected: an SA used by two workers at once.

import IPsec
import Wire

/// One packet on its way through an outbound burst.
@frozen
@safe
public struct OutboundPacket {
    /// The buffer the packet lies in, room before and behind it included.
    @usableFromInline var buffer: PacketBytes
    /// Where the packet starts in `buffer`: the inner header before `prepare`, the outer header after it.
    public var offset: Int
    /// Octets of the packet, likewise.
    public var length: Int
    @usableFromInline let association: UnsafeMutablePointer<OutboundSecurityAssociation>
    /// The caller's own, untouched.
    public let tag: Int
    /// What `finish` has to do.
    @usableFromInline var rest: Rest
    /// Whether a device will encrypt it: after `prepare` all of it is there but ciphertext and ICV, whose place holds
    /// zeros, and the payload is clear.
    public let isInline: Bool
    /// Nil as long as the packet is fine. One that failed is as it was before.
    public var failure: DropReason?

    /// The SA it goes out under.
    public var reference: OutboundAssociationReference { unsafe AssociationReference(pointer: association) }

    @frozen
    @usableFromInline
    enum Rest: BitwiseCopyable {
        case nothing
        /// The checksum of the UDP header so many octets into an IPv6 packet.
        case udpChecksum(offset: UInt16)
        /// Fields that counted as zero for an AH's ICV, in so many octets before it.
        case mutableFields(headers: UInt16)
    }

    @inlinable
    @inline(__always)
    init(
        buffer: PacketBytes, offset: Int, length: Int,
        association: UnsafeMutablePointer<OutboundSecurityAssociation>, tag: Int, isInline: Bool
    ) {
        self.buffer = buffer
        self.offset = offset
        self.length = length
        unsafe self.association = unsafe association
        self.tag = tag
        rest = .nothing
        self.isInline = isInline
        failure = nil
    }
}

/// Up to `capacity` packets that are protected together.
@safe
public struct OutboundBurst: ~Copyable {
    /// Octets before the inner packet that the headers of a plain SA take.
    public static let headOctets = IPv4Header.minimumOctets + ESPHeader.headerOctets + ESPHeader.ivOctets
    /// Octets before the inner packet that all headers of any SA take at most: IPv6 and AH with an IV.
    public static let maximumHeadOctets = 80
    /// Octets behind the inner packet that padding, trailer and ICV take at most, besides traffic flow confidentiality.
    public static let tailOctets = 3 + ESPHeader.trailerOctets + ESPHeader.icvOctets

    @usableFromInline let packets: UnsafeMutablePointer<OutboundPacket>
    /// Most packets it holds.
    public let capacity: Int
    /// Packets appended since `removeAll`.
    @inlinable
    public var count: Int { appended }
    @usableFromInline var appended = 0
    var jobs: CryptoJobs
    let attention: AttentionMap.View
    /// Headers with fields that count as zero for an AH's ICV, as they will be sent.
    let saved: SavedHeaders
    /// Packets that `finish` has something to do for.
    var unfinished = 0

    /// An empty burst. `attention` outlives it.
    public init(capacity: Int, attention: AttentionMap) {
        self.capacity = capacity
        self.attention = attention.unownedView
        unsafe packets = .allocate(capacity: capacity)
        jobs = CryptoJobs(capacity: capacity)
        saved = SavedHeaders(capacity: capacity)
    }

    deinit { unsafe packets.deallocate() }

    /// Empties it.
    public mutating func removeAll() {
        appended = 0
        unfinished = 0
        jobs.removeAll()
    }

    /// Adds the inner packet of `length` octets at `offset` of `buffer`, which stays valid until the burst is emptied,
    /// to go out under `association`. `isInline` leaves the cryptography to a device; only for AES-128-GCM with an ICV
    /// of 16 octets and 32-bit numbers, without UDP around it. Traps when the burst is full or the packet is not inside
    /// the buffer.
    ///
    /// Into the caller's loop: as a call it took 34 instructions a packet, two thirds of them to pass arguments on.
    @inlinable
    @inline(__always)
    public mutating func append(
        buffer: PacketBytes, offset: Int, length: Int, association: OutboundAssociationReference, tag: Int,
        isInline: Bool = false
    ) {
        precondition(
            appended < capacity && offset >= 0 && length >= IPv4Header.minimumOctets
                && offset <= buffer.count &- length)
        unsafe (packets + appended).initialize(
            to: OutboundPacket(
                buffer: buffer, offset: offset, length: length, association: association.pointer, tag: tag,
                isInline: isInline))
        appended &+= 1
    }

    /// A packet; traps outside of `count`. In place: whoever wants one field reads one field.
    @inlinable
    public subscript(_ index: Int) -> OutboundPacket {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(packets + index)
        }
    }

    /// The header pass: numbers every packet and writes everything but the ciphertext, the ICV and what covers them.
    public mutating func prepare() {
        var index = 0
        while index < count {
            prepare(index)
            index &+= 1
        }
    }

    /// The pass after the crypto stage.
    @inline(__always)
    public mutating func finish() {
        if unfinished > 0 { finishRest() }
    }

    /// 1. Is there room before and behind? Is a number left, and an IV?
    /// 2. Take both.
    /// 3. Outer header, SPI, sequence number and IV in front.
    /// 4. Padding and trailer behind.
    /// 5. The job for the crypto stage.
    @inline(__always)
    private mutating func prepare(_ index: Int) {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        guard unsafe association.pointee.isPlain else {
            unsafe packet.pointee.failure = prepareGeneral(index)
            return
        }
        let length = unsafe packet.pointee.length
        let padding = ESPHeader.paddingOctets(payload: length)
        let textLength = length &+ padding &+ ESPHeader.trailerOctets
        let start = unsafe packet.pointee.offset &- OutboundBurst.headOctets
        let total = OutboundBurst.headOctets &+ textLength &+ ESPHeader.icvOctets
        guard start >= 0, unsafe start &+ total <= packet.pointee.buffer.count, total <= 0xffff else {
            unsafe packet.pointee.failure = .noBuffers
            return
        }

        guard let sequence = unsafe association.pointee.takeNumber(octets: length, attention, &packet.pointee.failure)
        else { return }
        let vector = unsafe sequence &+ association.pointee.vectorOffset

        let outer = unsafe packet.pointee.buffer.dropFirst(start).prefix(total)
        let nextHeader = unsafe OutboundBurst.emitHeaders(
            outer.prefix(OutboundBurst.headOctets &+ IPv4Header.minimumOctets), &association.pointee, total: total,
            sequence: UInt32(truncatingIfNeeded: sequence), vector: vector)
        OutboundBurst.emitTrailer(
            outer.dropFirst(OutboundBurst.headOctets &+ length), padding: padding, nextHeader: nextHeader)

        unsafe packet.pointee.offset = start
        unsafe packet.pointee.length = total
        if unsafe packet.pointee.isInline {
            return outer.clearICV(at: OutboundBurst.headOctets &+ textLength)
        }
        unsafe jobs.appendPlain(
            key: association.pointee.key, esp: outer.dropFirst(IPv4Header.minimumOctets),
            nonce: CryptoJob.nonce(salt: association.pointee.saltWord, iv: vector.bigEndian),
            transform: association.pointee.transform, packet: index)
    }

    /// RFC 4303 2.4: padding is 1, 2, 3, …. Writes 0 to 3 octets of it, its length and the next header where `tail`
    /// begins: in one store, whose last octets lie where the ICV will come.
    @inline(__always)
    static func emitTrailer(_ tail: PacketBytes, padding: Int, nextHeader: UInt8) {
        let shift = UInt64(truncatingIfNeeded: padding &* 8)
        let end = UInt64(truncatingIfNeeded: padding) | UInt64(nextHeader) << 8
        tail.store(word: (0x03_0201 & (1 &<< shift &- 1) | end &<< shift).littleEndian, at: 0)
    }

    /// RFC 4301 5.1.2.1: DS field copied, DF copied, ECN copied (RFC 6040 3.2, normal mode), TTL our own. Gives back
    /// what the inner packet is. `head` holds the headers and 20 octets of the inner packet: with a length that the
    /// compiler knows, one check is enough for all of it.
    @inline(__always)
    private static func emitHeaders(
        _ head: PacketBytes, _ association: inout OutboundSecurityAssociation, total: Int, sequence: UInt32,
        vector: UInt64
    ) -> UInt8 {
        // Little-endian words: the field at the lowest offset is the lowest part. What is copied lies where it goes.
        let inner = head.word64(at: headOctets)
        var copied = inner & 0x0040_0000_0000_ff00
        var nextHeader = IPProtocol.ipv4
        if inner & 0xf0 == 0x60 {
            // RFC 4301 8.1: nobody but its sender fragments an IPv6 packet.
            copied = (inner & 0x0f) << 12 | inner >> 4 & 0x0f00 | 0x0040_0000_0000_0000
            nextHeader = IPProtocol.ipv6
        }
        let identification = UInt16(truncatingIfNeeded: association.identification).bigEndian
        association.identification &+= 1
        let first =
            association.header.0 | copied | UInt64(UInt16(truncatingIfNeeded: total).bigEndian) << 16
            | UInt64(identification) << 32
        // Three folds are enough for two words of 32 bits and one of 18.
        var sum = (first & 0xffff_ffff) &+ first >> 32 &+ UInt64(association.headerSum)
        sum = sum & 0xffff &+ sum >> 16
        sum = sum & 0xffff &+ sum >> 16
        sum = sum & 0xffff &+ sum >> 16
        head.store(word: first, at: 0)
        head.store(word: association.header.1 | (sum ^ 0xffff) << 16, at: 8)
        head.store(word: association.header.2, at: 16)
        head.store(sequence, at: 24)
        head.store(vector, at: 28)
        return nextHeader
    }
}

extension PacketBytes {
    /// Where a device writes the ICV there are zeros before: what it does not write must not be what was there.
    @inline(__always)
    func clearICV(at offset: Int) {
        store(word: 0 as UInt64, at: offset)
        store(word: 0 as UInt64, at: offset &+ 8)
    }
}
