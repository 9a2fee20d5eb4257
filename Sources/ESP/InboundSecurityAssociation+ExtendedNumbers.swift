// 64-bit sequence numbers of which a packet carries the low half. RFC 4303 section 2.2.1 and appendix A: A2 infers the
// high half from the window, A3 finds a sender again that has gone on without us for 2^32 packets.

import IPsec
import Synchronization

extension InboundSecurityAssociation {
    /// Packets in a row that must fail before another high half is tried, and of those that fail then, one in so many
    /// is: forged packets cost a verification more at that rate, and no other.
    static let resynchronizationInterval: UInt32 = 64
    /// High halves beyond the one inferred that are tried in turn.
    static let resynchronizationReach: UInt64 = 8

    /// RFC 4303 A2.2: the only number with this low half that is neither below the window nor 2^32 above its left edge.
    /// Without extended numbers, the low half.
    ///
    /// Both of the appendix's cases in one: the window's left edge says which high half it begins in, and a low half
    /// below the edge's belongs to the next. A sum beyond 2^64 comes out far below the window.
    @inline(__always)
    func number(of low: UInt32) -> UInt64 {
        guard profile.extendedSequenceNumbers else { return UInt64(low) }
        let edge = window.highest &- min(window.highest, window.size &- 1)
        let candidate = edge & ~0xffff_ffff | UInt64(low)
        return candidate >= edge ? candidate : candidate &+ 1 << 32
    }

    /// Whether this packet is one to be tried under another high half.
    mutating func takesCandidate() -> Bool {
        guard failuresInRow >= InboundSecurityAssociation.resynchronizationInterval else { return false }
        packetsInTrouble &+= 1
        return packetsInTrouble % InboundSecurityAssociation.resynchronizationInterval == 1
    }

    /// The number to try a packet under whose low half says `number`: a few times 2^32 above, another one each time.
    /// Nil where there is none below 2^64.
    mutating func nextCandidate(_ number: UInt64) -> UInt64? {
        let attempts = resynchronizationAttempts.load(ordering: .relaxed)
        resynchronizationAttempts.store(attempts &+ 1, ordering: .relaxed)
        let (candidate, isBeyond) = number.addingReportingOverflow(
            (attempts % InboundSecurityAssociation.resynchronizationReach &+ 1) << 32)
        return isBeyond ? nil : candidate
    }

    /// Remembers whether a packet was authentic, and whether it was under a high half that it was tried with.
    mutating func noteIntegrity(_ isAuthentic: Bool, ofCandidate isCandidate: Bool) {
        guard isAuthentic else {
            if failuresInRow < .max { failuresInRow += 1 }
            return
        }
        (failuresInRow, packetsInTrouble) = (0, 0)
        if isCandidate {
            resynchronizations.store(resynchronizations.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        }
    }
}
