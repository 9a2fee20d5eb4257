// Decrypted packets whose number is above what is on disk. After a crash the window starts at the number on disk, so
// nothing above it may be accepted; the control plane has heard of it and raises it within milliseconds. Until then
// they wait here, in their order: a burst after a pause loses nothing.

import CDPDK
import ESP
import IPsec
import Wire

/// An authentic packet that waits for its SA's ceiling, or behind one of its tunnel that does.
struct AheadPacket: BitwiseCopyable {
    var frame: ReceivedESP
    /// The packet that came, its text in clear; or the inner packet.
    var bytes: PacketBytes
    /// Where ESP begins in it; or where the inner packet did.
    var offset: Int
    /// Its sequence number.
    var number: UInt64
    var association: InboundAssociationReference
    /// When it came, in clock ticks.
    var since: UInt64
    /// Whether its SA has taken it, and it only keeps its place behind others.
    var isAccepted: Bool
    /// Whether it came from elsewhere than its SA's peer.
    var sourceDiffers: Bool

    /// Whether it need not wait any longer on its own account.
    var isReady: Bool { isAccepted || association.with { $0.reaches(number) } }
}

/// Those that wait, oldest first, in a ring.
struct AheadList: ~Copyable {
    /// Packets that wait at once: what comes in the few milliseconds that a disk takes, at 400 000 packets a second.
    static let limit = 2048

    private let ring = FixedArray<AheadPacket>(unfilled: AheadList.limit)
    private var first = 0
    private(set) var count = 0
    /// A bit for the tunnel of each, so that those of other tunnels need not be looked for.
    private var filter: UInt64 = 0

    @inline(__always)
    subscript(_ position: Int) -> AheadPacket {
        get { ring[(first &+ position) & (AheadList.limit - 1)] }
        nonmutating set { ring[(first &+ position) & (AheadList.limit - 1)] = newValue }
    }

    private static func bit(_ tunnel: UInt32) -> UInt64 { 1 &<< UInt64(tunnel & 63) }

    /// There must be room.
    mutating func append(_ packet: AheadPacket) {
        precondition(count < AheadList.limit)
        count &+= 1
        self[count &- 1] = packet
        filter |= AheadList.bit(packet.frame.tunnel)
    }

    mutating func removeFirst() -> AheadPacket {
        let packet = self[0]
        first = (first &+ 1) & (AheadList.limit - 1)
        count &-= 1
        if count == 0 { filter = 0 }
        return packet
    }

    /// Keeps the first `kept`, which the caller has put there.
    mutating func cut(to kept: Int) {
        precondition(kept <= count)
        count = kept
        filter = 0
        for position in 0..<kept { filter |= AheadList.bit(self[position].frame.tunnel) }
    }

    /// Whether one of a tunnel waits. The latest is looked at first: traffic comes in runs.
    mutating func holds(tunnel: UInt32) -> Bool {
        guard filter & AheadList.bit(tunnel) != 0 else { return false }
        var position = count
        while position > 0 {
            position &-= 1
            if self[position].frame.tunnel == tunnel { return true }
        }
        return false
    }

    /// Whether one of an SA waits.
    mutating func holds(_ association: InboundAssociationReference) -> Bool {
        var position = 0
        while position < count {
            if self[position].association == association { return true }
            position &+= 1
        }
        return false
    }
}

extension Worker {
    /// Keeps a packet of the inbound burst.
    @inline(never)
    mutating func hold(_ packet: InboundPacket, _ frame: ReceivedESP) {
        guard ahead.count < AheadList.limit else {
            drop(frame.mbuf, .ahead)
            return settle(packet.reference)
        }
        ahead.append(
            AheadPacket(
                frame: frame, bytes: packet.bytes, offset: packet.offset, number: packet.number,
                association: packet.reference, since: now, isAccepted: packet.failure == nil,
                sourceDiffers: packet.sourceDiffers))
    }

    /// Passes on those whose ceiling has been raised, oldest first; the first that can't go keeps back all behind it.
    @inline(never)
    mutating func takeAhead() {
        var taken = 0
        var known = AdmittedPair()
        while taken < inside.capacity, ahead.count > 0, ahead[0].isReady {
            // It leaves the list first: what is found wanting on its way must not be held behind itself.
            let packet = ahead.removeFirst()
            taken += 1
            if packet.isAccepted {
                if let refused = admit(packet.bytes, at: packet.offset, packet.frame, &known) {
                    drop(packet.frame.mbuf, refused)
                }
                continue
            }
            received[0] = packet.frame
            inbound.append(
                opened: packet.bytes, start: packet.offset, number: packet.number, association: packet.association,
                tag: 0, sourceDiffers: packet.sourceDiffers)
            inbound.finishOpened(now: now)
            let opened = inbound[0]
            if opened.movesPeer { tellPeerMoved(opened, packet.frame) }
            if let refused = opened.failure ?? admit(opened.bytes, at: opened.offset, packet.frame, &known) {
                drop(packet.frame.mbuf, refused)
            }
            inbound.removeAll()
            // The last one of its SA lets it go on; looked for only where that can be.
            if ahead.count == 0 || ahead[0].association != packet.association { settle(packet.association) }
        }
        guard taken > 0 else { return }
        if isObserved { finishObserved() } else { finishPass() }
    }

    /// Nobody raised the ceiling for a second: the store does not answer.
    mutating func giveUpAhead() {
        let now = self.now, patience = ticksPerSecond
        dropAhead(where: { now - min(now, $0.since) > patience })
    }

    /// Drops those for which `isOver` holds.
    mutating func dropAhead(where isOver: (AheadPacket) -> Bool) {
        guard ahead.count > 0 else { return }
        var kept = 0
        for position in 0..<ahead.count {
            let packet = ahead[position]
            if isOver(packet) {
                drop(packet.frame.mbuf, .ahead)
                packet.association.with { $0.setHolding(false) }
            } else {
                ahead[kept] = packet
                kept += 1
            }
        }
        ahead.cut(to: kept)
        for position in 0..<kept { ahead[position].association.with { $0.setHolding(true) } }
    }

    /// Lets an SA go on when none of its packets waits any more.
    private mutating func settle(_ association: InboundAssociationReference) {
        if !ahead.holds(association) { association.with { $0.setHolding(false) } }
    }
}
