// Decrypted packets whose number is above what is on disk. After a crash the window starts at the number on disk, so
// nothing above it may be accepted; the control plane has heard of it and raises it within milliseconds. Until then
// they wait here, in their order: a burst after a pause loses nothing.

import CDPDK
import ESP
import IPsec
import Wire

/// An authentic packet that waits for its SA's ceiling.
struct AheadPacket: BitwiseCopyable {
    var frame: ReceivedESP
    /// From the ESP header to the end of the ICV, the text in clear.
    var bytes: PacketBytes
    var association: InboundAssociationReference
    /// When it came, in clock ticks.
    var since: UInt64
}

extension Worker {
    /// Packets that wait at once.
    static let aheadLimit = 512

    /// Keeps a packet of the inbound burst.
    @inline(never)
    mutating func hold(_ packet: InboundPacket, _ frame: ReceivedESP) {
        guard aheadCount < Worker.aheadLimit else { return drop(frame.mbuf, .ahead) }
        ahead[aheadCount] = AheadPacket(
            frame: frame, bytes: packet.bytes, association: packet.reference, since: now)
        aheadCount += 1
        packet.reference.with { $0.setHolding(true) }
    }

    /// Passes on those whose ceiling has been raised, oldest first.
    @inline(never)
    mutating func takeAhead() {
        // Of one SA none may overtake another: the first that can't go keeps back all behind it.
        var taken = 0
        while taken < aheadCount, inbound.count < inbound.capacity {
            let packet = ahead[taken]
            guard packet.association.with({ $0.reaches(UInt64(packet.bytes.uint32(at: 4))) }) else { break }
            received[inbound.count] = packet.frame
            inbound.append(bytes: packet.bytes, association: packet.association, tag: inbound.count)
            taken += 1
        }
        guard taken > 0 else { return }
        let count = aheadCount - taken
        for index in 0..<count { ahead[index] = ahead[index + taken] }
        aheadCount = count
        for index in 0..<taken { settle(inbound[index].reference) }
        inbound.finishOpened()
        admitInbound()
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
