// ESP in UDP, and what shares its port. RFC 3948 sections 2 and 4; peers that move: RFC 7296 section 2.23.
//
//   UDP, destination port 4500 | 0xff                            keepalive
//                              | 0 0 0 0 | IKE                   clear text, which the SPD may refuse: Worker+Punt
//                              | SPI | sequence number | …       ESP
//
// A peer that moved is the inbound SA's at once: what it sends is taken. What goes to it follows with the tables that
// the control plane makes of the notice.

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// Without other packets a NAT forgets an address after half a minute or so (RFC 3948 section 4).
    static let keepaliveSeconds: UInt64 = 20

    /// A whole UDP datagram from the unprotected side for an own address, whose header is at `start`. False when it is
    /// clear text like any other.
    mutating func takeDatagram(_ mbuf: Mbuf, _ ip: PacketBytes, _ start: Int, _ port: Int) -> Bool {
        guard let udp = UDPHeader(ip.dropFirst(min(start, ip.count))),
            udp.destinationPort == UDPHeader.natTraversalPort
        else { return false }
        let length = udp.length
        guard length >= UDPHeader.octets, start &+ length <= ip.count else {
            drop(mbuf, .malformed)
            return true
        }
        let payload = ip.dropFirst(start).prefix(length).dropFirst(UDPHeader.octets)
        if payload.count == 1 && payload.uint8(at: 0) == 0xff {
            // RFC 3948 section 2.3: nobody answers it, and nothing follows from it.
            block.add(1, to: .consumed)
            mbuf.free()
        } else if payload.count < 4 {
            drop(mbuf, .malformed)
        } else if payload.uint32(at: 0) == 0 {
            return false
        } else {
            receiveESPInUDP(mbuf, ip.prefix(start &+ length), start &+ UDPHeader.octets, udp.sourcePort, port)
        }
        return true
    }

    /// `ip` ends with the datagram; ESP begins at `start`.
    private mutating func receiveESPInUDP(
        _ mbuf: Mbuf, _ ip: PacketBytes, _ start: Int, _ sourcePort: UInt16, _ port: Int
    ) {
        guard start &+ ESPHeader.headerOctets <= ip.count else { return drop(mbuf, .malformed) }
        let slot = sad.find(ip.uint32(at: start))
        // RFC 3948 section 2.1: an SA travels in UDP or does not; who sends the other way did not agree on that.
        guard let association = slot.association, association.with({ $0.profile.natTraversal }) else {
            return drop(mbuf, .unknownSPI)
        }
        let isDestination: Bool, source: UInt128, typeOfService: UInt8
        if ip.uint8(at: 0) >> 4 == 6 {
            guard let header = IPv6Header(ip) else { return drop(mbuf, .malformed) }
            // RFC 8200 section 8.1: over IPv6 there is always a checksum; that of ESP in UDP says no more than the ICV.
            guard UDPHeader(ip.dropFirst(start &- UDPHeader.octets))?.checksum != 0 else {
                return drop(mbuf, .malformed)
            }
            isDestination = association.with { $0.isDestination(of: header) }
            (source, typeOfService) = (header.source, header.trafficClass)
        } else {
            guard let header = IPv4Header(ip) else { return drop(mbuf, .malformed) }
            isDestination = association.with { $0.isDestination(of: header) }
            (source, typeOfService) = (UInt128(header.source), header.typeOfService)
        }
        guard isDestination else { return drop(mbuf, .unknownSPI) }
        let owner = association.with { Int($0.owner) }
        guard owner == index else { return leave(mbuf, to: owner) }
        let sourceDiffers = association.with { !$0.isPeer(source, port: sourcePort) }
        received[inbound.count] = ReceivedESP(
            mbuf: mbuf, outer: UInt32(truncatingIfNeeded: mbuf.offset), spi: slot.spi, tunnel: slot.tunnel,
            port: UInt16(truncatingIfNeeded: port), typeOfService: typeOfService, isAuthentication: false)
        inbound.append(
            packet: ip, start: start, association: association, tag: inbound.count,
            sourceDiffers: sourceDiffers)
    }

    /// Tells the control plane where the peer of an SA is now, which the SA knows already.
    @inline(never)
    mutating func tellPeerMoved(_ packet: InboundPacket, _ frame: ReceivedESP) {
        let (id, address, port) = packet.reference.with { (Int($0.id), $0.remote, $0.remotePort) }
        // A notice that finds no room comes again when the peer moves again; what is sent meanwhile goes to where it
        // was.
        _ = notices.post(.peerMoved(spi: frame.spi, association: id, to: address, port: port))
    }

    /// Ten times a second, a tenth of the tunnels whose ESP travels in UDP: those that sent nothing for a while send a
    /// keepalive, so that a NAT on the way does not forget them (RFC 3948 section 4).
    mutating func keepPeers() {
        // In replay nothing is said unasked, unless it resolves neighbours as a gateway on a link does.
        guard resolves, peers.count > 0 else { return }
        keepaliveTenth = keepaliveTenth &+ 1 < 10 ? keepaliveTenth &+ 1 : 0
        var index = keepaliveTenth
        while index < peers.count {
            let tunnel = tunnels[Int(peers[index].tunnel)]
            if Int(tunnel.owner) == self.index, tunnel.nextHop != RouteEntry.onLink, let outbound = tunnel.outbound,
                outbound.with({ $0.isKeepaliveDue(now: now, interval: Worker.keepaliveSeconds * ticksPerSecond) })
            {
                sendKeepalive(outbound, nextHop: Int(tunnel.nextHop))
            }
            index &+= 10
        }
    }

    private mutating func sendKeepalive(_ outbound: OutboundAssociationReference, nextHop: Int) {
        guard let mbuf = pool.allocate() else { return }
        let (local, remote, port) = outbound.with { ($0.local, $0.remote, $0.remotePort) }
        let header = local.family == .v4 ? IPv4Header.minimumOctets : IPv6Header.octets
        mbuf.setPacket(offset: mbuf.offset, length: header + UDPHeader.octets + 1)
        mbuf.timestamp = now
        mbuf.port = Mbuf.originatedPort
        let bytes = mbuf.bytes, datagram = bytes.dropFirst(header)
        datagram.store(UInt8(0xff), at: UDPHeader.octets)
        if let source = local.v4, let destination = remote.v4 {
            IPv4Header(bytes)?.emit(
                totalLength: bytes.count, timeToLive: 64, ipProtocol: IPProtocol.udp, source: source,
                destination: destination)
            UDPHeader(datagram)?.emit(
                sourcePort: UDPHeader.natTraversalPort, destinationPort: port, length: datagram.count)
        } else {
            IPv6Header(bytes)?.emit(
                payloadLength: datagram.count, nextHeader: IPProtocol.udp, hopLimit: 64, source: local.rawValue,
                destination: remote.rawValue)
            UDPHeader(datagram)?.emit(
                sourcePort: UDPHeader.natTraversalPort, destinationPort: port, length: datagram.count)
            if let ip = IPv6Header(bytes) {
                UDPHeader(datagram)?.fillChecksum(
                    pseudoHeader: ip.pseudoHeader(upperProtocol: IPProtocol.udp, length: datagram.count))
            }
        }
        block.add(1, to: .originated)
        transmit(mbuf, neighbor: nextHop)
    }

    /// Between two rounds: SAs of a peer that moved send to where it is. Where it is expected the inbound SAs know.
    mutating func movePeers() {
        var index = 0
        while index < peers.count {
            let peer = peers[index], tunnel = tunnels[Int(peer.tunnel)]
            if peer.hasMoved, Int(tunnel.owner) == self.index, let outbound = tunnel.outbound {
                outbound.with { $0.moveRemote(to: peer.address, port: peer.port) }
            }
            index &+= 1
        }
    }
}
