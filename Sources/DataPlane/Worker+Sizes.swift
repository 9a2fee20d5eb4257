// Packets of the wrong size: those that are cut, fragments of ESP that are put together before it is opened, TCP's
// segment size. RFC 791 section 3.2, RFC 4301 section 8, RFC 4303 section 3.3.4, RFC 2473 section 7, RFC 6691.
//
//   tunnel mode     IPv4 without DF          cut before it is protected, so that the peer need not put ESP together
//                   IPv6, at most 1280       cut behind it: its sender may not be told to send less
//   transport mode  IPv4 without DF          cut behind it: ESP and AH protect whole packets
//   otherwise                                its sender hears how much fits

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// Most pieces that a packet is cut into.
    static let pieceLimit = 64

    /// Cuts an IPv4 packet that may be cut, and calls `send` with each piece in order; otherwise its sender hears of
    /// it.
    @inline(never)
    mutating func cut(_ slot: PacketSlot, mtu: Int, _ send: (inout Worker, Mbuf) -> Void) {
        guard !slot.isIPv6, let header = IPv4Header(slot.ip), !header.dontFragment,
            let fragmenter = Fragmenter(slot.ip, mtuOctets: mtu), fragmenter.count <= Worker.pieceLimit
        else { return refuseTooBig(slot, mtu: mtu) }
        cut(slot.mbuf, by: fragmenter, send)
    }

    /// Calls `send` with each piece of the packet in `mbuf`, in order. The first stands for the packet, the others are
    /// our own (originated).
    @inline(never)
    mutating func cut(_ mbuf: Mbuf, by fragmenter: Fragmenter, _ send: (inout Worker, Mbuf) -> Void) {
        guard pieces.allocate(fragmenter.count, from: pool) else { return drop(mbuf, .noBuffers) }
        block.add(fragmenter.count &- 1, to: .originated)
        var index = 0
        while index < fragmenter.count {
            let piece = pieces[index], plan = fragmenter.plan(index)
            piece.setPacket(offset: piece.offset, length: plan.header &+ plan.payload)
            piece.timestamp = mbuf.timestamp
            // Its buffer is one of our own; who keeps what came in must not take it for another packet's.
            piece.port = Mbuf.originatedPort
            fragmenter.write(index, into: piece.bytes)
            index &+= 1
        }
        mbuf.free()
        index = 0
        while index < fragmenter.count {
            send(&self, pieces[index])
            index &+= 1
        }
        pieces.removeAll()
    }

    /// A fragment of ESP, AH or ESP in UDP from the unprotected side, for us (RFC 4303 section 3.4.1): the packet that
    /// it completes goes on as if it had come whole.
    @inline(never)
    mutating func gather(_ mbuf: Mbuf, _ port: Int) {
        // Each may come in by another worker's queue; the first worker has them all.
        guard index == 0 else { return hand(mbuf, to: rings[0].outside) }
        let outcome = fragments.take(mbuf, now: now)
        // Others may have made room for it.
        dropLosses()
        switch outcome {
        case .held, .refused: break
        case .whole(let whole, let merged):
            block.add(merged, to: .consumed)
            let bytes = whole.bytes
            if bytes.uint8(at: 0) >> 4 == 6 {
                sortOutside6(whole, bytes, port)
            } else {
                sortOutside(whole, bytes, port)
            }
        }
    }

    /// Drops what the fragment table gave up.
    mutating func dropLosses() {
        for position in 0..<fragments.losses.count { drop(fragments.losses[position], .reassemblyFailed) }
        fragments.losses.removeAll()
    }

    /// Lowers the segment size that a TCP connection's first packets name to what a tunnel carries in one piece.
    @inline(never)
    static func clampSegments(_ ip: PacketBytes, innerMTU: Int) {
        if ip.uint8(at: 0) >> 4 == 6 {
            guard let upper = IPv6Header(ip)?.walk(), upper.upperProtocol == IPProtocol.tcp, !upper.isLaterFragment,
                upper.offset <= ip.count
            else { return }
            TCPHeader(ip.dropFirst(upper.offset))?.clampMaximumSegmentSize(
                to: TCPHeader.maximumSegmentSize(mtuOctets: innerMTU, ipHeaderOctets: IPv6Header.octets))
        } else {
            guard let header = IPv4Header(ip), header.ipProtocol == IPProtocol.tcp, !header.isLaterFragment else {
                return
            }
            TCPHeader(ip.dropFirst(header.headerLength))?.clampMaximumSegmentSize(
                to: TCPHeader.maximumSegmentSize(mtuOctets: innerMTU, ipHeaderOctets: IPv4Header.minimumOctets))
        }
    }
}
