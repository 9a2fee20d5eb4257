// To the kernel and back, by a port of its own: what the gateway does not answer itself, and IKE. This is how an IKE
// daemon lives beside the gateway, with the gateway's own addresses on the kernel's end of the port.
//
// The way is no way around the SPD: to the kernel goes only what was let in, and IKE that no policy discards; from it
// only IKE from the gateway's own addresses, everything else is `noPolicy`.

import CDPDK
import IPsec
import Wire

extension Worker {
    static let noPort = Int.max

    /// Gives a packet to the kernel.
    @inline(never)
    mutating func punt(_ mbuf: Mbuf, _ ip: PacketBytes) {
        guard puntPort != Worker.noPort else { return drop(mbuf, .noPolicy) }
        guard puntedPackets.take(now: now) else { return drop(mbuf, .rateLimited) }
        let offset = mbuf.offset &- EthernetHeader.octets
        guard offset >= 0 else { return drop(mbuf, .noBuffers) }
        mbuf.setPacket(offset: offset, length: ip.count &+ EthernetHeader.octets)
        let isIPv6 = ip.uint8(at: 0) >> 4 == 6
        EthernetHeader(mbuf.bytes)?.emit(
            destination: MACAddress(rawValue: ports[puntPort].mac), source: puntNeighbor,
            etherType: isIPv6 ? EtherType.ipv6 : EtherType.ipv4)
        enqueue(mbuf, puntPort)
    }

    /// RFC 4301 4.4.1: IKE comes in even where no policy lets it. Whether clear text from outside, which none refused,
    /// is IKE for the gateway; then it has been dealt with.
    @inline(never)
    mutating func puntKeyExchange(_ slot: PacketSlot) -> Bool {
        guard puntPort != Worker.noPort else { return false }
        let datagram: PacketBytes
        if slot.isIPv6 {
            guard let header = IPv6Header(slot.ip), let upper = header.walk(), upper.upperProtocol == IPProtocol.udp,
                !upper.isFragment, upper.offset <= slot.ip.count, isOwn(header.destination)
            else { return false }
            datagram = slot.ip.dropFirst(upper.offset)
        } else {
            guard let header = IPv4Header(slot.ip), header.ipProtocol == IPProtocol.udp, !header.isFragment,
                isOwn(header.destination)
            else { return false }
            datagram = slot.ip.dropFirst(header.headerLength)
        }
        guard let udp = UDPHeader(datagram), Worker.isKeyExchange(datagram, port: udp.destinationPort) else {
            return false
        }
        punt(slot.mbuf, slot.ip)
        return true
    }

    /// Who the kernel believes all its neighbours to be.
    private var puntNeighbor: MACAddress {
        mutating get { MACAddress(rawValue: ports[puntPort].mac ^ 1) }
    }

    /// A burst of frames from the kernel.
    @inline(never)
    mutating func receivePunted(on port: Int) {
        block.add(frames.count, to: .received)
        block.add(frames.count, to: .rxPackets, port: port)
        for index in 0..<frames.count {
            let mbuf = frames[index]
            block.add(mbuf.length, to: .rxOctets, port: port)
            if mbuf.isChained && !mbuf.linearize() { drop(mbuf, .noBuffers) } else { receivePunted(mbuf) }
        }
    }

    private mutating func receivePunted(_ mbuf: Mbuf) {
        guard let ethernet = EthernetHeader(mbuf.bytes) else { return drop(mbuf, .malformed) }
        switch ethernet.etherType {
        case EtherType.arp: answerForNeighbors(mbuf, ethernet)
        case EtherType.ipv4: receivePuntedIPv4(mbuf, ethernet)
        case EtherType.ipv6: receivePuntedIPv6(mbuf, ethernet)
        default: drop(mbuf, .unsupportedEthertype)
        }
    }

    /// The kernel may ask for anybody but itself: behind the port everybody is the gateway.
    private mutating func answerForNeighbors(_ mbuf: Mbuf, _ ethernet: EthernetHeader) {
        guard let packet = ARPPacket(ethernet.payload), packet.isIPv4OverEthernet else { return drop(mbuf, .malformed) }
        guard packet.operation == ARPPacket.Operation.request, !isOwn(packet.targetAddress) else {
            block.add(1, to: .consumed)
            return mbuf.free()
        }
        answer(packet, mbuf, puntPort, as: puntNeighbor)
    }

    private mutating func receivePuntedIPv4(_ mbuf: Mbuf, _ ethernet: EthernetHeader) {
        guard let header = IPv4Header(ethernet.payload), header.isWellFormed else { return drop(mbuf, .malformed) }
        let ip = header.bytes.prefix(header.totalLength)
        guard isOwn(header.source), !isOwn(header.destination), header.ipProtocol == IPProtocol.udp, !header.isFragment,
            Worker.comesFromKeyExchange(ip.dropFirst(header.headerLength))
        else { return drop(mbuf, .noPolicy) }
        mbuf.setPacket(offset: mbuf.offset &+ EthernetHeader.octets, length: ip.count)
        // The kernel is part of this host: its packets are our own, and take no hop.
        let slot = PacketSlot(mbuf: mbuf, ip: ip, ingress: PacketSlot.originated)
        let route = route(header.destination)
        guard route.kind == .unprotected || route.kind == .protected else { return drop(mbuf, .noRoute) }
        forward(slot, route)
    }

    private mutating func receivePuntedIPv6(_ mbuf: Mbuf, _ ethernet: EthernetHeader) {
        guard let whole = IPv6Header(ethernet.payload), whole.isWellFormed,
            let header = IPv6Header(whole.bytes.prefix(whole.totalLength)), let upper = header.walk()
        else { return drop(mbuf, .malformed) }
        let ip = header.bytes
        // RFC 6980: fragments of such a message are not looked at.
        if upper.upperProtocol == IPProtocol.icmpv6, !upper.hasFragmentHeader,
            let asked = NeighborDiscovery(header, offset: upper.offset)
        {
            guard asked.isSolicitation, !isOwn(asked.target) else {
                block.add(1, to: .consumed)
                return mbuf.free()
            }
            return answer(asked, ethernet.source, mbuf, puntPort, as: puntNeighbor)
        }
        guard isOwn(header.source), !isOwn(header.destination), upper.upperProtocol == IPProtocol.udp,
            !upper.isFragment, Worker.comesFromKeyExchange(ip.dropFirst(min(upper.offset, ip.count)))
        else { return drop(mbuf, .noPolicy) }
        mbuf.setPacket(offset: mbuf.offset &+ EthernetHeader.octets, length: ip.count)
        let slot = PacketSlot(ipv6: mbuf, ip: ip, ingress: PacketSlot.originated)
        let route = route(header.destination)
        guard route.kind == .unprotected || route.kind == .protected else { return drop(mbuf, .noRoute) }
        forward(slot, route)
    }

    /// IKE, or a keepalive, which an IKE daemon sends as well. ESP from there would be somebody else's under our
    /// address.
    private static func comesFromKeyExchange(_ datagram: PacketBytes) -> Bool {
        guard let udp = UDPHeader(datagram) else { return false }
        if isKeyExchange(datagram, port: udp.sourcePort) { return true }
        let octets = UDPHeader.octets
        return udp.sourcePort == UDPHeader.natTraversalPort && udp.length == octets + 1 && datagram.count > octets
            && datagram.uint8(at: octets) == 0xff
    }

    /// UDP whose end at IKE has this port: 500, or 4500 with the marker of four zeros (RFC 3948 section 2.2).
    private static func isKeyExchange(_ datagram: PacketBytes, port: UInt16) -> Bool {
        guard let udp = UDPHeader(datagram), udp.length >= UDPHeader.octets, udp.length <= datagram.count else {
            return false
        }
        if port == UDPHeader.internetKeyExchangePort { return true }
        let payload = datagram.prefix(udp.length).dropFirst(UDPHeader.octets)
        return port == UDPHeader.natTraversalPort && payload.count >= 4 && payload.uint32(at: 0) == 0
    }
}
