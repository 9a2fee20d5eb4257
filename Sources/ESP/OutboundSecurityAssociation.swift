import CIPsecMB
import IPsec
import Synchronization
import Wire

/// The hot half of an outbound SA: what each packet of the plain kind (see `OutboundBurst`) reads and writes, in two
/// cache lines, and two for all others and for rare moments.
///
/// One worker owns it. Others may read what is `Atomic` and raise what is granted; nothing else.
///
/// Sequence numbers and IVs are two counters on disk. Within a run both go up by one with each packet, so that one of
/// them and their distance are enough here.
@safe
public struct OutboundSecurityAssociation: ~Copyable {
    // First line: what a packet changes, and what says whether it may.

    /// The last sequence number sent; 0 before the first (RFC 4303 section 2.2).
    public let sequenceNumber: Atomic<UInt64>
    /// Behind this number something is due: a limit, a look at what is granted, a word to the control plane.
    let sequenceThreshold: Atomic<UInt64>
    /// The IV of a packet less its sequence number, modulo 2^64.
    var vectorOffset: UInt64 = 0
    /// Inner octets protected in this run.
    public let octets: Atomic<UInt64>
    /// From here on a limit is due.
    let octetThreshold: Atomic<UInt64>
    /// Expanded key.
    let key: UnsafeMutableRawPointer
    /// First 4 octets of the nonce, as they lie in memory.
    let saltWord: UInt32
    /// Sum of the outer header's words behind the first two, without the checksum.
    let headerSum: UInt32
    /// Of the next outer header, in the low 16 bits. A word of its own, so that a store of two octets is not read back
    /// as four; that bought nothing that could be measured.
    var identification: UInt32 = 0
    /// Whether its packets take the short way: tunnel mode, IPv4 outside, an ICV of 16 octets, and nothing else.
    let isPlain: Bool
    /// What the crypto stage does with them.
    let transform: Algorithm.Transform

    // Second line: what never changes, and what the control plane writes.

    /// The outer header and the SPI as they go out, in words as they lie in memory; lengths, marks, identification and
    /// checksum are zero and come from the packet.
    let header: (UInt64, UInt64, UInt64)
    /// Its bit in the worker's `AttentionMap`.
    public let id: UInt32
    /// Names it at its receiver, as a number.
    public let spi: UInt32
    /// The highest sequence number that is reserved on disk, and its IV with it. Raised by the control plane, never
    /// lowered.
    public let grantedSequence: Atomic<UInt64>
    /// The number behind which the control plane wants to hear of it.
    private let noticeSequence: Atomic<UInt64>

    // Third and fourth line: looked at when a threshold is reached, and for packets of other kinds.

    private var startSequence: UInt64 = 0
    private let allowance = SharedAllowance(Allowance())
    /// How it treats packets.
    public let profile: AssociationProfile
    /// Outer addresses, as numbers of `family`.
    let localNumber: UInt128
    private(set) var remoteNumber: UInt128
    /// Of the outer header.
    public let family: IPFamily
    /// What was sent within the last second.
    var recent = RecentNumbers()
    /// The last number at the time when it was last looked at for a keepalive, and when one is due after that.
    var keepaliveNumber: UInt64 = 0
    var keepaliveDueAt: UInt64 = 0
    /// Where a peer behind NAT takes its packets.
    public private(set) var remotePort = UDPHeader.natTraversalPort
    /// How a device knows it, as whoever programs devices and the worker understand it; 0: no device has it. Set by the
    /// control plane.
    public let deviceHandle = Atomic<UInt64>(0)
    /// Of packets for which a device is wanted.
    public let fallbacks = FallbackCounters()

    /// An SA that has sent nothing and may send nothing before `grant`. Traps unless both addresses are of one family,
    /// the key is one of the profile's algorithm, and `id` is below `AttentionMap.capacity`.
    public init(
        key: ExpandedKey, spi: SPI, profile: AssociationProfile = AssociationProfile(), local: IPAddress,
        remote: IPAddress, id: Int
    ) {
        precondition(local.family == remote.family && key.algorithm == profile.algorithm)
        sequenceNumber = Atomic(0)
        octets = Atomic(0)
        sequenceThreshold = Atomic(0)
        octetThreshold = Atomic(0)
        unsafe self.key = unsafe key.table
        saltWord = key.saltWord
        transform = profile.algorithm.transform
        isPlain = profile.isPlainOutbound && local.family == .v4
        header = isPlain ? OutboundSecurityAssociation.plainHeader(spi, local, remote) : (0, 0, 0)
        let words = [header.1, header.2 & 0xffff_ffff]
        headerSum = words.reduce(0) { $0 + UInt32(InternetChecksum.fold($1)) }
        self.id = UInt32(id)
        self.spi = spi.rawValue
        grantedSequence = Atomic(0)
        noticeSequence = Atomic(.max)
        self.profile = profile
        localNumber = local.rawValue
        remoteNumber = remote.rawValue
        family = local.family
    }

    private static func plainHeader(_ spi: SPI, _ local: IPAddress, _ remote: IPAddress) -> (UInt64, UInt64, UInt64) {
        var template = [UInt8](repeating: 0, count: 24)
        return template.withPacketBytes { bytes in
            IPv4Header(bytes)?.emit(
                totalLength: 0, timeToLive: 64, ipProtocol: IPProtocol.esp, source: local.v4Number,
                destination: remote.v4Number)
            bytes.store(word: UInt16(0), at: IPv4Header.Offset.checksum)
            bytes.store(spi.rawValue, at: IPv4Header.minimumOctets)
            return (bytes.word64(at: 0), bytes.word64(at: 8), bytes.word64(at: 16))
        }
    }

    /// Of an outer IPv6 header (RFC 6437 section 3): 20 bits that look random, never 0.
    var flowLabel: UInt32 { (spi &* 0x9e37_79b1) >> 12 | 1 }

    /// Where its packets come from: this end.
    public var local: IPAddress {
        family == .v4 ? IPAddress(v4: UInt32(truncatingIfNeeded: localNumber)) : IPAddress(v6: localNumber)
    }

    /// Where its packets go. Of an SA with NAT traversal, only for its owner, because it changes.
    public var remote: IPAddress {
        family == .v4 ? IPAddress(v4: UInt32(truncatingIfNeeded: remoteNumber)) : IPAddress(v6: remoteNumber)
    }

    /// Sends what comes from now on to another address and port of a peer behind NAT. Only its owner may; traps for
    /// another family and for an SA without NAT traversal.
    public mutating func moveRemote(to address: IPAddress, port: UInt16) {
        precondition(profile.natTraversal && address.family == family)
        remoteNumber = address.rawValue
        remotePort = port
    }

    /// Before its worker has it: says what was used before, so that the next numbers follow it.
    public mutating func resume(behindSequence sequence: UInt64, behindInitializationVector vector: UInt64) {
        precondition(sequence >= sequenceNumber.load(ordering: .relaxed))
        sequenceNumber.store(sequence, ordering: .relaxed)
        startSequence = sequence
        vectorOffset = vector &- sequence
    }

    /// Says what this run may use in all. Any thread may, at any time; the worker goes by it from its next packet on,
    /// or the one after if it was just looking: who changes it says so twice, a round of the worker apart.
    public func limit(_ allowance: Allowance) {
        self.allowance.set(allowance)
        // What is used up already is so without another packet.
        _ = self.allowance.judge(packets: packets, octets: octets.load(ordering: .relaxed))
        sequenceThreshold.store(0, ordering: .relaxed)
        octetThreshold.store(0, ordering: .relaxed)
    }

    /// Lets the worker use all numbers up to these. The caller has put them on disk. Behind `notice`, which is not
    /// below what was granted before, the SA's bit is set in the attention map. Where the algorithm has no IV, `vector`
    /// says nothing. Traps for a sequence number above `profile.lastSequenceNumber`.
    public func grant(
        sequence: UInt64, initializationVector vector: UInt64, notice: UInt64 = .max
    ) {
        precondition(sequence <= profile.lastSequenceNumber)
        var granted = sequence
        if profile.algorithm.ivOctets > 0 {
            let firstVector = startSequence &+ vectorOffset
            guard vector >= firstVector else { return }
            let (byVector, isBeyond) = startSequence.addingReportingOverflow(vector - firstVector)
            granted = isBeyond ? sequence : min(sequence, byVector)
        }
        noticeSequence.store(notice, ordering: .relaxed)
        grantedSequence.store(granted, ordering: .releasing)
    }

    /// The IV of the last packet. Counts for the key, not for the SA.
    public var initializationVector: UInt64 { sequenceNumber.load(ordering: .relaxed) &+ vectorOffset }

    /// Packets protected in this run.
    public var packets: UInt64 { sequenceNumber.load(ordering: .relaxed) - startSequence }

    /// Whether the soft limit was reached.
    public var isSoftExpired: Bool { allowance.isSoftReached }
    /// Whether the hard limit was reached: nothing goes out under it any more.
    public var isHardExpired: Bool { allowance.isHardReached }

    /// The number of a packet with so many inner octets; its IV is `vectorOffset` more. Where there is none, says why.
    ///
    /// RFC 4303 3.3.3: the counter must not cycle. RFC 4106 3.1: nor may an IV under one key. What is granted of both
    /// is on disk.
    @inline(__always)
    mutating func takeNumber(octets length: Int, _ attention: AttentionMap.View, _ failure: inout DropReason?)
        -> UInt64?
    {
        let last = sequenceNumber.load(ordering: .relaxed), used = octets.load(ordering: .relaxed)
        if last >= sequenceThreshold.load(ordering: .relaxed) || used >= octetThreshold.load(ordering: .relaxed) {
            if let refused = look(attention) {
                failure = refused
                return nil
            }
        }
        // It is below what is granted, so the sum can't wrap.
        let sequence = last &+ 1
        sequenceNumber.store(sequence, ordering: .relaxed)
        octets.store(used &+ UInt64(truncatingIfNeeded: length), ordering: .relaxed)
        return sequence
    }

    /// The rare case: a threshold was reached. Nil when the next packet may go, and then both thresholds are above.
    @inline(never)
    mutating func look(_ attention: AttentionMap.View) -> DropReason? {
        let last = sequenceNumber.load(ordering: .relaxed), used = octets.load(ordering: .relaxed)
        let packets = last - startSequence
        if allowance.judge(packets: packets, octets: used) { attention.raise(id) }
        if allowance.isHardReached { return .lifetimeExpired }

        let granted = grantedSequence.load(ordering: .acquiring), notice = noticeSequence.load(ordering: .relaxed)
        if last >= notice || last >= granted { attention.raise(id) }
        guard last < granted else { return .sequenceExhausted }
        let (limit, isBeyond) = startSequence.addingReportingOverflow(allowance.nextPackets(after: packets))
        sequenceThreshold.store(
            min(granted, notice > last ? notice : granted, isBeyond ? granted : limit), ordering: .relaxed)
        octetThreshold.store(allowance.nextOctets(after: used), ordering: .relaxed)
        return nil
    }
}
