// Packets that are too large for the way to a peer and can be neither cut nor refused: they are protected whole, and
// the outer packet is cut. RFC 2473 section 7.1 and RFC 4213 section 3.2.1 (IPv6 inside, of the 1280 octets that every
// link takes), RFC 4303 section 3.3.4 (transport mode), RFC 4301 section 8.1.

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// Whether a packet that is too large goes out in fragments of the outer packet.
    static func goesInOuterFragments(_ slot: PacketSlot, isTransport: Bool) -> Bool {
        // Of an IPv6 packet in transport mode the outer header is the sender's, who alone may cut it.
        if slot.isIPv6 { return !isTransport && slot.ip.count <= IPv6Header.minimumMTUOctets }
        return isTransport && IPv4Header(slot.ip).map { !$0.dontFragment } ?? false
    }

    /// Protects a packet by itself and sends it in pieces that are no larger than the largest packet that fits.
    @inline(never)
    mutating func protectThenCut(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference
    ) {
        // What came before it stays before it.
        if outbound.count > 0 { protectEarly() }
        association.with { $0.noteSending(tenth: tenth) }
        if tunnel.flags.contains(.offloadsOutbound) {
            Worker.countInSoftware(association)
            if crossing > 0 { fetchCrossing() }
        }
        let mbuf = slot.mbuf
        outbound.append(
            buffer: mbuf.buffer, offset: mbuf.offset, length: slot.ip.count, association: association, tag: 0)
        outbound.prepare()
        crypto.submit(outbound)
        _ = crypto.collect()
        outbound.finish()
        let packet = outbound[0]
        outbound.removeAll()
        if let failure = packet.failure { return drop(mbuf, failure) }
        mbuf.setPacket(offset: packet.offset, length: packet.length)
        let largest = association.with {
            $0.profile.outerOctets(innerOctets: Int(tunnel.innerMTU), outer: $0.local.family)
        }
        sendCut(mbuf, mtu: largest, nextHop: Int(tunnel.nextHop))
    }

    /// A device does nothing for a packet that is cut behind its cryptography.
    private static func countInSoftware(_ association: OutboundAssociationReference) {
        association.with {
            if $0.deviceHandle.load(ordering: .acquiring) == 0 {
                $0.fallbacks.countStanding()
            } else {
                $0.fallbacks.count(.fragment)
            }
        }
    }

    private mutating func sendCut(_ mbuf: Mbuf, mtu: Int, nextHop: Int) {
        guard mbuf.length > mtu else { return transmit(mbuf, neighbor: nextHop) }
        Worker.clearDontFragment(mbuf.bytes)
        outerIdentification &+= 1
        guard let fragmenter = Fragmenter(mbuf.bytes, mtuOctets: mtu, identification: outerIdentification),
            fragmenter.count <= Worker.pieceLimit
        else { return drop(mbuf, .packetTooBig) }
        cut(mbuf, by: fragmenter) { worker, piece in worker.transmit(piece, neighbor: nextHop) }
    }

    /// Of an outer IPv4 header: a router behind us may cut it further. ESP does not cover it, and for AH it counts as
    /// clear (RFC 4302 section 3.3.3.1.1.1).
    private static func clearDontFragment(_ packet: PacketBytes) {
        guard let header = IPv4Header(packet), header.version == 4, header.dontFragment else { return }
        packet.store(header.fragmentField & ~IPv4Header.Fragment.dontFragment, at: IPv4Header.Offset.fragment)
        packet.store(0 as UInt16, at: IPv4Header.Offset.checksum)
        packet.store(
            word: ~InternetChecksum.sum(packet.prefix(header.headerLength)), at: IPv4Header.Offset.checksum)
    }
}
