import CIPsecMB
import IPsec
import Synchronization
import Wire

/// The hot half of an outbound SA: what each packet reads and writes, in two cache lines.
///
/// One worker owns it. Others may read the counters that are `Atomic` and raise what is granted; nothing else.
@safe
public struct OutboundSecurityAssociation: ~Copyable {
    // First line: what a packet changes, and what says whether it may.

    /// The last sequence number sent; 0 before the first (RFC 4303 section 2.2).
    public let sequenceNumber: Atomic<UInt64>
    /// The last sequence number this worker knows it may use.
    var sequenceCeiling: UInt64 = 0
    /// The IV of the last packet. Counts for the key, not for the SA.
    public let initializationVector: Atomic<UInt64>
    var initializationVectorCeiling: UInt64 = 0
    /// Packets protected so far.
    public let packets: Atomic<UInt64>
    /// Inner octets protected so far.
    public let octets: Atomic<UInt64>
    /// Expanded key.
    let key: UnsafeMutableRawPointer
    /// First 4 octets of the nonce, as they lie in memory.
    let saltWord: UInt32
    var identification: UInt16 = 0

    // Second line: what never changes, and what the control plane writes.

    /// The outer header and the SPI as they go out, in words as they lie in memory; lengths, marks, identification and
    /// checksum are zero and come from the packet.
    let header: (UInt64, UInt64, UInt64)
    /// Sum of the constant words of the outer header.
    let headerSum: UInt32
    /// Index of the next hop towards the remote address. The data plane's; nothing here looks at it.
    public let nextHop: UInt32
    /// Largest inner packet that fits the way, in octets.
    public let innerMTU: UInt32
    /// Index of the worker that owns it.
    public let owner: UInt32
    /// The highest sequence number that is reserved on disk. Raised by the control plane, never lowered.
    public let grantedSequence: Atomic<UInt64>
    /// The highest IV that is reserved on disk, likewise.
    public let grantedInitializationVector: Atomic<UInt64>

    /// An SA that has sent nothing and may send nothing before `grant`.
    public init(
        key: ExpandedKey, spi: SPI, local: IPv4Address, remote: IPv4Address, nextHop: UInt32, innerMTU: Int,
        owner: Int
    ) {
        sequenceNumber = Atomic(0)
        initializationVector = Atomic(0)
        packets = Atomic(0)
        octets = Atomic(0)
        unsafe self.key = unsafe key.table
        saltWord = key.saltWord
        var template = [UInt8](repeating: 0, count: 24)
        header = template.withPacketBytes { bytes in
            IPv4Header(bytes)?.emit(
                totalLength: 0, timeToLive: 64, ipProtocol: IPProtocol.esp, source: local.rawValue,
                destination: remote.rawValue)
            bytes.store(word: UInt16(0), at: IPv4Header.Offset.checksum)
            bytes.store(spi.rawValue, at: IPv4Header.minimumOctets)
            return (bytes.word64(at: 0), bytes.word64(at: 8), bytes.word64(at: 16))
        }
        headerSum = template.withPacketBytes { UInt32(InternetChecksum.sumOfMinimalHeader($0)) }
        self.nextHop = nextHop
        self.innerMTU = UInt32(innerMTU)
        self.owner = UInt32(owner)
        grantedSequence = Atomic(0)
        grantedInitializationVector = Atomic(0)
    }

    /// Before its worker runs: says what was used before, so that the next numbers follow it.
    public mutating func resume(behindSequence sequence: UInt64, behindInitializationVector vector: UInt64) {
        precondition(sequence >= sequenceNumber.load(ordering: .relaxed))
        precondition(vector >= initializationVector.load(ordering: .relaxed))
        sequenceNumber.store(sequence, ordering: .relaxed)
        initializationVector.store(vector, ordering: .relaxed)
        sequenceCeiling = sequence
        initializationVectorCeiling = vector
    }

    /// Lets the worker use all numbers up to these. The caller has put them on disk.
    public func grant(sequence: UInt64, initializationVector vector: UInt64) {
        precondition(sequence <= UInt64(UInt32.max))
        grantedInitializationVector.store(vector, ordering: .releasing)
        grantedSequence.store(sequence, ordering: .releasing)
    }

    /// The rare case: the worker's copies of what is granted ran out. False when there is nothing more.
    @inline(never)
    mutating func refreshCeilings() -> Bool {
        sequenceCeiling = grantedSequence.load(ordering: .acquiring)
        initializationVectorCeiling = grantedInitializationVector.load(ordering: .acquiring)
        return sequenceNumber.load(ordering: .relaxed) < sequenceCeiling
            && initializationVector.load(ordering: .relaxed) < initializationVectorCeiling
    }
}
