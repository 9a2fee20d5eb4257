// What of the way in is different for IPv6, outside and inside of ESP.

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// Puts a packet into the inbound burst or the clear-text list. The SA is found as for IPv4.
    @inline(never)
    mutating func sortOutside(_ mbuf: Mbuf, _ header: IPv6Header, _ upper: IPv6Upper, _ port: Int) {
        let ip = header.bytes, isESP = upper.upperProtocol == IPProtocol.esp
        guard isESP || upper.upperProtocol == IPProtocol.ah else {
            if upper.upperProtocol == IPProtocol.udp, takesDatagrams, isOwn(header.destination) {
                if upper.isFragment { return gather(mbuf, port) }
                if takeDatagram(mbuf, ip, upper.offset, port) { return }
            }
            return appendOutside(mbuf, header, upper, port)
        }
        let needed = isESP ? ESPHeader.headerOctets : AHHeader.fixedOctets
        guard !upper.isFragment, upper.offset &+ needed <= ip.count else { return refuse(mbuf, header, upper, port) }
        let slot =
            isESP ? sad.find(ip.uint32(at: upper.offset)) : authentications.find(ip.uint32(at: upper.offset &+ 4))
        guard let association = slot.association else { return refuse(mbuf, header, upper, port) }
        let (isDestination, isSource, owner) = association.with {
            ($0.isDestination(of: header), $0.isSource(of: header), Int($0.owner))
        }
        guard isDestination else { return refuse(mbuf, header, upper, port) }
        guard isSource else { return drop(mbuf, .tunnelAddressMismatch) }
        guard owner == index else { return leave(mbuf, to: owner) }
        let verdict = hasDevices ? judge(mbuf, slot, association, start: upper.offset, port) : .software
        guard verdict != .refused else { return }
        received[inbound.count] = ReceivedESP(
            mbuf: mbuf, outer: UInt32(truncatingIfNeeded: mbuf.offset), spi: slot.spi, tunnel: slot.tunnel,
            port: UInt16(truncatingIfNeeded: port), typeOfService: header.trafficClass, isAuthentication: !isESP)
        inbound.append(packet: ip, start: upper.offset, association: association, tag: inbound.count)
        if verdict == .opened { inbound.setOpened() }
    }

    private mutating func appendOutside(_ mbuf: Mbuf, _ header: IPv6Header, _ upper: IPv6Upper, _ port: Int) {
        outside.append(
            PacketSlot(ipv6: mbuf, ip: header.bytes, ingress: UInt16(truncatingIfNeeded: port)),
            key: PacketSlot.flowKey(of: header, upper))
    }

    /// ESP or AH that is for none of our SAs, as for IPv4.
    private mutating func refuse(_ mbuf: Mbuf, _ header: IPv6Header, _ upper: IPv6Upper, _ port: Int) {
        guard !mbuf.isOpened else { return drop(mbuf, .offloadFailed) }
        let isForUs = isOwn(header.destination)
        if upper.isFragment && (isForUs || hasTransport) { return gather(mbuf, port) }
        guard isForUs else { return appendOutside(mbuf, header, upper, port) }
        let needed = upper.upperProtocol == IPProtocol.esp ? ESPHeader.headerOctets : AHHeader.fixedOctets
        drop(mbuf, header.bytes.count < upper.offset + needed ? .malformed : .unknownSPI)
    }

    /// As `admit`, for an inner IPv6 packet. Nothing to or from a link-local address comes through a tunnel.
    @inline(never)
    mutating func admit6(_ bytes: PacketBytes, at offset: Int, _ frame: ReceivedESP) -> DropReason? {
        guard let whole = IPv6Header(bytes), whole.isWellFormed,
            let header = IPv6Header(bytes.prefix(whole.totalLength)), let upper = header.walk(),
            !upper.hasRoutingType0
        else { return .malformed }
        let source = header.source, destination = header.destination
        guard !isMartian(header), !Worker.isLinkLocal(source), !Worker.isLinkLocal(destination) else {
            return .martian
        }
        let mark = frame.typeOfService & 3
        if mark != header.trafficClass & 3 {
            switch Worker.combinedECN(inner: header.trafficClass & 3, outer: mark) {
            case nil: return .ecnViolation
            case let combined?: if combined != header.trafficClass & 3 { header.setECN(combined) }
            }
        }
        let entry = tunnels6[Int(frame.tunnel)]
        let local = Int(entry.firstSelector), remote = local &+ Int(entry.localSelectors)
        guard contains(destination, local, Int(entry.localSelectors)),
            contains(source, remote, Int(entry.remoteSelectors))
        else { return .selectorMismatch }
        let tunnel = tunnels[Int(frame.tunnel)]
        if tunnel.flags.contains(.clampsMSS) { Worker.clampSegments(header.bytes, innerMTU: Int(tunnel.innerMTU)) }
        frame.mbuf.setPacket(offset: Int(frame.outer) &+ offset, length: header.bytes.count)
        var slot = PacketSlot(ipv6: frame.mbuf, ip: header.bytes, ingress: frame.port)
        slot.tunnel = frame.tunnel
        inside.append(slot, key: PacketSlot.flowKey(of: header, upper))
        return nil
    }

    private mutating func contains(_ address: UInt128, _ first: Int, _ count: Int) -> Bool {
        var index = first
        while index < first &+ count {
            if selectors6[index].contains(address) { return true }
            index &+= 1
        }
        return false
    }
}
