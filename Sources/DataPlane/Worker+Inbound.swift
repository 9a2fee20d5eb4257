// From the unprotected side. RFC 4301 section 5.2: ESP for us is opened and held against its SA's selectors; everything
// else is clear text, which needs a bypass policy to come in.

import CDPDK
import ESP
import IPsec
import Wire

/// What is remembered of an ESP packet while it is in the inbound burst.
struct ReceivedESP: BitwiseCopyable {
    var mbuf: Mbuf
    /// Where the inner packet starts in the buffer.
    var payload: UInt32
    var spi: UInt32
    /// Index of the tunnel whose selectors hold for the inner packet.
    var tunnel: UInt32
    var port: UInt16
    /// Of the outer header.
    var typeOfService: UInt8
}

extension Worker {
    /// Puts a packet into the inbound burst or the clear-text list.
    @inline(__always)
    mutating func sortOutside(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        if ip.uint8(at: IPv4Header.Offset.ipProtocol) == IPProtocol.esp {
            receiveESP(mbuf, ip, port)
        } else {
            outside.append(PacketSlot(mbuf: mbuf, ip: ip, ingress: UInt16(truncatingIfNeeded: port)))
        }
    }

    /// RFC 4301 4.1: the SA is found by SPI and destination; the outer source must be the peer's.
    @inline(__always)
    private mutating func receiveESP(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        let start = Int(ip.uint8(at: 0) & 0x0f) &* 4
        guard let header = IPv4Header(ip), !header.isFragment, start &+ ESPHeader.headerOctets <= ip.count else {
            return refuseESP(mbuf, ip, port)
        }
        let slot = sad.find(ip.uint32(at: start))
        guard let association = slot.association else { return refuseESP(mbuf, ip, port) }
        let (local, remote, owner) = association.with { ($0.local, $0.remote, Int($0.owner)) }
        guard header.destination == local else { return refuseESP(mbuf, ip, port) }
        guard header.source == remote else { return drop(mbuf, .tunnelAddressMismatch) }
        guard owner == index else { return hand(mbuf, to: rings[owner].outside) }
        received[inbound.count] = ReceivedESP(
            mbuf: mbuf,
            payload: UInt32(truncatingIfNeeded: mbuf.offset &+ start &+ ESPHeader.headerOctets &+ ESPHeader.ivOctets),
            spi: slot.spi, tunnel: slot.tunnel, port: UInt16(truncatingIfNeeded: port),
            typeOfService: header.typeOfService)
        inbound.append(bytes: ip.dropFirst(start), association: association, tag: inbound.count)
    }

    /// ESP that is for none of our SAs: for us and wrong, or on its way elsewhere and so clear text to us.
    @inline(never)
    private mutating func refuseESP(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        guard let header = IPv4Header(ip), isOwn(header.destination) else {
            return outside.append(PacketSlot(mbuf: mbuf, ip: ip, ingress: UInt16(truncatingIfNeeded: port)))
        }
        if header.isFragment { return drop(mbuf, .reassemblyFailed) }
        if ip.count < header.headerLength + ESPHeader.headerOctets { return drop(mbuf, .malformed) }
        drop(mbuf, .unknownSPI)
    }

    /// Opens the inbound burst and passes what is authentic and allowed on to the inside.
    @inline(__always)
    mutating func openInbound() {
        inbound.prepare()
        crypto.submit(inbound)
        _ = crypto.collect()
        inbound.finish()
        admitInbound()
    }

    /// Passes on what the inbound burst let through.
    @inline(__always)
    mutating func admitInbound() {
        var index = 0
        while index < inbound.count {
            let packet = inbound[index]
            let frame = received[packet.tag]
            if let failure = packet.failure {
                if failure == .ahead { hold(packet, frame) } else { drop(frame.mbuf, failure) }
            } else if ahead.count > 0 && ahead.holds(tunnel: frame.tunnel) {
                hold(packet, frame)
            } else if let refused = admit(packet.bytes, frame) {
                drop(frame.mbuf, refused)
            }
            index &+= 1
        }
        inbound.removeAll()
    }

    /// 1. Is it an IPv4 packet? What is behind it is padding for traffic flow confidentiality (RFC 4303 2.7).
    /// 2. The outer congestion mark (RFC 6040 4.2).
    /// 3. Is it what its SA is for (RFC 4301 5.2, step 4)?
    @inline(__always)
    mutating func admit(_ bytes: PacketBytes, _ frame: ReceivedESP) -> DropReason? {
        guard let header = IPv4Header(bytes), header.isWellFormed else { return .malformed }
        guard !isMartian(header) else { return .martian }
        if (frame.typeOfService ^ header.typeOfService) & 3 != 0 && !Worker.combineECN(header, frame.typeOfService & 3)
        {
            return .ecnViolation
        }
        let tunnel = tunnels[Int(frame.tunnel)]
        guard allows(tunnel, header) else { return .selectorMismatch }
        let ip = bytes.prefix(header.totalLength)
        frame.mbuf.setPacket(offset: Int(frame.payload), length: ip.count)
        var slot = PacketSlot(mbuf: frame.mbuf, ip: ip, ingress: frame.port)
        slot.tunnel = frame.tunnel
        inside.append(slot)
        return nil
    }

    /// RFC 6040 4.2, figure 4. False when the outer mark says congestion and the inner packet can't carry that.
    @inline(never)
    private static func combineECN(_ inner: IPv4Header, _ outer: UInt8) -> Bool {
        switch (inner.typeOfService & 3, outer) {
        case (0, 3): return false
        case (0, _): return true
        case (_, 3): inner.setECN(3)
        case (2, 1): inner.setECN(1)
        default: break
        }
        return true
    }

    /// Seen from outside: source in the remote subnets, destination in the local ones.
    @inline(__always)
    private mutating func allows(_ tunnel: TunnelEntry, _ header: IPv4Header) -> Bool {
        let local = Int(tunnel.firstSelector), remote = local &+ Int(tunnel.localSelectors)
        return contains(header.destination, local, Int(tunnel.localSelectors))
            && contains(header.source, remote, Int(tunnel.remoteSelectors))
    }

    @inline(__always)
    private mutating func contains(_ address: UInt32, _ first: Int, _ count: Int) -> Bool {
        var index = first
        while index < first &+ count {
            if selectors[index].contains(address) { return true }
            index &+= 1
        }
        return false
    }

    /// RFC 4301 5.2, step 3: clear text comes in only where a policy says bypass; and echo for a port's own address.
    @inline(never)
    mutating func admitOutside() {
        policies.removeAll()
        var index = 0
        while index < outside.count {
            policies.append(index)
            index &+= 1
        }
        unsafe policies.classify(outside, inboundPolicies)
        index = 0
        while index < outside.count {
            let slot = outside[index]
            switch policies.verdict(index).action {
            case .bypass: inside.append(slot)
            case .discard: drop(slot.mbuf, .policyDiscard)
            case .protect: drop(slot.mbuf, .unprotected)
            case nil: serveOutside(slot)
            }
            index &+= 1
        }
        outside.removeAll()
    }
}
