// What workers find out about peers and paths, on its way to the control plane: tables never change, so a worker tells
// of it, and what follows comes back with the next tables.

import IPsec
import Synchronization

/// Something that a worker found out and that tables do not say yet.
public struct WorkerNotice: BitwiseCopyable, Equatable, Sendable {
    /// What it is about.
    public enum Kind: UInt8, BitwiseCopyable, Sendable {
        /// An authentic packet came from another address or port than the peer's (RFC 7296 section 2.23).
        case peerMoved
        /// A router said how large packets to the peer may be (RFC 1191, RFC 8201).
        case pathMTU
    }

    /// What it is about.
    public var kind: Kind
    /// The family of `address`.
    public var family: IPFamily
    /// Where the peer is now: a UDP port.
    public var port: UInt16
    /// The largest outer packet, in octets.
    public var mtuOctets: UInt16
    /// The SPI of the SA that it came by: the inbound one of a peer that moved, the outbound one of a path.
    public var spi: UInt32
    /// That SA's number, as `OutboundAssociation.id` and `InboundAssociation.id` tell it.
    public var association: UInt32
    /// Where the peer is now, as a number.
    public var address: UInt128

    /// Where the peer is now.
    public var peerAddress: IPAddress {
        family == .v4 ? IPAddress(v4: UInt32(truncatingIfNeeded: address)) : IPAddress(v6: address)
    }

    /// A peer is at another address.
    public static func peerMoved(spi: UInt32, association: Int, to address: IPAddress, port: UInt16) -> WorkerNotice {
        WorkerNotice(
            kind: .peerMoved, family: address.family, port: port, mtuOctets: 0, spi: spi,
            association: UInt32(association), address: address.rawValue)
    }

    /// A path takes packets of at most so many octets.
    public static func pathMTU(spi: UInt32, association: Int, octets: Int) -> WorkerNotice {
        WorkerNotice(
            kind: .pathMTU, family: .v4, port: 0, mtuOctets: UInt16(clamping: octets), spi: spi,
            association: UInt32(association), address: 0)
    }
}

/// Notices of one worker, for one reader: a ring of fixed size. What finds no room is forgotten; its cause comes again.
public final class NoticeRing: @unchecked Sendable {
    static let capacity = 256

    // A slot is written before the count that makes it readable, and read before the one that frees it.
    private let slots = FixedArray<WorkerNotice>(unfilled: NoticeRing.capacity)
    /// Notices ever put in, and ever taken out.
    private let written = Atomic<UInt64>(0), read = Atomic<UInt64>(0)

    init() {}

    /// By its worker alone; false when the ring is full.
    func post(_ notice: WorkerNotice) -> Bool {
        let next = written.load(ordering: .relaxed)
        guard next - read.load(ordering: .acquiring) < UInt64(NoticeRing.capacity) else { return false }
        slots[Int(next % UInt64(NoticeRing.capacity))] = notice
        written.store(next + 1, ordering: .releasing)
        return true
    }

    /// Takes all, oldest first. By one reader alone.
    func take(_ body: (WorkerNotice) -> Void) {
        let last = written.load(ordering: .acquiring)
        var next = read.load(ordering: .relaxed)
        while next < last {
            body(slots[Int(next % UInt64(NoticeRing.capacity))])
            next += 1
            read.store(next, ordering: .releasing)
        }
    }
}
