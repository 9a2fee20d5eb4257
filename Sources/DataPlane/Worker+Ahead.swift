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
    /// From the ESP header to the end of the ICV, the text in clear; or the inner packet.
    var bytes: PacketBytes
    var association: InboundAssociationReference
    /// When it came, in clock ticks.
    var since: UInt64
    /// Whether its SA has taken it, and it only keeps its place behind others.
    var isAccepted: Bool

    /// Whether it need not wait any longer on its own account.
    var isReady: Bool { isAccepted || association.with { $0.reaches(UInt64(bytes.uint32(at: 4))) } }
}

extension Worker {
    /// Packets that wait at once.
    static let aheadLimit = 512

    /// Keeps a packet of the inbound burst.
    @inline(never)
    mutating func hold(_ packet: InboundPacket, _ frame: ReceivedESP) {
        guard aheadCount < Worker.aheadLimit else {
            drop(frame.mbuf, .ahead)
            return settle(packet.reference)
        }
        ahead[aheadCount] = AheadPacket(
            frame: frame, bytes: packet.bytes, association: packet.reference, since: now,
            isAccepted: packet.failure == nil)
        aheadCount += 1
    }

    /// Whether packets of a tunnel wait: what comes later under any of its SAs must not overtake them.
    @inline(never)
    mutating func isAhead(tunnel: UInt32) -> Bool {
        for index in 0..<aheadCount where ahead[index].frame.tunnel == tunnel { return true }
        return false
    }

    /// Passes on those whose ceiling has been raised, oldest first; the first that can't go keeps back all behind it.
    @inline(never)
    mutating func takeAhead() {
        var taken = 0
        while taken < min(aheadCount, inside.capacity), ahead[taken].isReady { taken += 1 }
        guard taken > 0 else { return }
        // They leave the list first: what is found wanting on its way must not be held behind itself.
        let taking = taken
        for index in 0..<taking { leaving[index] = ahead[index] }
        let count = aheadCount - taking
        for index in 0..<count { ahead[index] = ahead[index + taking] }
        aheadCount = count
        for index in 0..<taking {
            let packet = leaving[index]
            settle(packet.association)
            if packet.isAccepted {
                if let refused = admit(packet.bytes, packet.frame) { drop(packet.frame.mbuf, refused) }
                continue
            }
            received[0] = packet.frame
            inbound.append(bytes: packet.bytes, association: packet.association, tag: 0)
            inbound.finishOpened()
            let opened = inbound[0]
            if let refused = opened.failure ?? admit(opened.bytes, packet.frame) { drop(packet.frame.mbuf, refused) }
            inbound.removeAll()
        }
        finishPass()
    }

    /// Nobody raised the ceiling for a second: the store does not answer.
    mutating func giveUpAhead() {
        let now = self.now, patience = ticksPerSecond
        dropAhead(where: { now - min(now, $0.since) > patience })
    }

    /// Drops those for which `isOver` holds.
    mutating func dropAhead(where isOver: (AheadPacket) -> Bool) {
        guard aheadCount > 0 else { return }
        var kept = 0
        let count = aheadCount
        for index in 0..<count {
            let packet = ahead[index]
            if isOver(packet) {
                drop(packet.frame.mbuf, .ahead)
                packet.association.with { $0.setHolding(false) }
            } else {
                ahead[kept] = packet
                kept += 1
            }
        }
        aheadCount = kept
        for index in 0..<kept { ahead[index].association.with { $0.setHolding(true) } }
    }

    /// Lets an SA go on when none of its packets waits any more.
    private mutating func settle(_ association: InboundAssociationReference) {
        for index in 0..<aheadCount where ahead[index].association == association { return }
        association.with { $0.setHolding(false) }
    }
}
