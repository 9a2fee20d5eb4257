import CIPsecMB
import IPsec
import Synchronization
import Wire

/// The hot half of an outbound SA: what each packet reads and writes, in two cache lines, and a third for rare moments.
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
    /// Sum of the constant words of the outer header.
    let headerSum: UInt32
    var identification: UInt16 = 0

    // Second line: what never changes, and what the control plane writes.

    /// The outer header and the SPI as they go out, in words as they lie in memory; lengths, marks, identification and
    /// checksum are zero and come from the packet.
    let header: (UInt64, UInt64, UInt64)
    /// Its bit in the worker's `AttentionMap`.
    let id: UInt32
    /// The highest sequence number that is reserved on disk, and its IV with it. Raised by the control plane, never
    /// lowered.
    public let grantedSequence: Atomic<UInt64>
    /// The number behind which the control plane wants to hear of it.
    private let noticeSequence: Atomic<UInt64>

    // Third line: looked at when a threshold is reached.

    private var startSequence: UInt64 = 0
    private let allowance = SharedAllowance(Allowance())

    /// An SA that has sent nothing and may send nothing before `grant`. `id` is below `AttentionMap.capacity`.
    public init(
        key: ExpandedKey, spi: SPI, profile: AssociationProfile = AssociationProfile(), local: IPAddress,
        remote: IPAddress, id: Int
    ) {
        sequenceNumber = Atomic(0)
        octets = Atomic(0)
        sequenceThreshold = Atomic(0)
        octetThreshold = Atomic(0)
        unsafe self.key = unsafe key.table
        saltWord = key.saltWord
        var template = [UInt8](repeating: 0, count: 24)
        header = template.withPacketBytes { bytes in
            IPv4Header(bytes)?.emit(
                totalLength: 0, timeToLive: 64, ipProtocol: IPProtocol.esp, source: local.v4Number,
                destination: remote.v4Number)
            bytes.store(word: UInt16(0), at: IPv4Header.Offset.checksum)
            bytes.store(spi.rawValue, at: IPv4Header.minimumOctets)
            return (bytes.word64(at: 0), bytes.word64(at: 8), bytes.word64(at: 16))
        }
        headerSum = template.withPacketBytes { UInt32(InternetChecksum.sumOfMinimalHeader($0)) }
        self.id = UInt32(id)
        grantedSequence = Atomic(0)
        noticeSequence = Atomic(.max)
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
    /// below what was granted before, the SA's bit is set in the attention map.
    public func grant(
        sequence: UInt64, initializationVector vector: UInt64, notice: UInt64 = .max
    ) {
        precondition(sequence <= UInt64(UInt32.max))
        let firstVector = startSequence &+ vectorOffset
        guard vector >= firstVector else { return }
        let (byVector, isBeyond) = startSequence.addingReportingOverflow(vector - firstVector)
        noticeSequence.store(notice, ordering: .relaxed)
        grantedSequence.store(isBeyond ? sequence : min(sequence, byVector), ordering: .releasing)
    }

    /// The IV of the last packet. Counts for the key, not for the SA.
    public var initializationVector: UInt64 { sequenceNumber.load(ordering: .relaxed) &+ vectorOffset }

    /// Packets protected in this run.
    public var packets: UInt64 { sequenceNumber.load(ordering: .relaxed) - startSequence }

    /// Whether the soft limit was reached.
    public var isSoftExpired: Bool { allowance.isSoftReached }
    /// Whether the hard limit was reached: nothing goes out under it any more.
    public var isHardExpired: Bool { allowance.isHardReached }

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
