// Neighbour discovery: what IPv6 neighbours say, answers and questions. RFC 4861 section 7.2; nothing of routers,
// redirects, or duplicate address detection (RFC 4862 section 5.4): addresses are the site's word.

import CDPDK
import IPsec
import Wire

extension Worker {
    /// Learns from a frame; the last worker answers it if it asks for us.
    @inline(never)
    mutating func receiveND(_ mbuf: Mbuf, _ ethernet: EthernetHeader, _ port: Int) {
        guard let header = IPv6Header(ethernet.payload), header.isWellFormed, let upper = header.walk(),
            let message = NeighborDiscovery(header, offset: upper.offset)
        else { return drop(mbuf, .malformed) }
        let isForUs = message.isSolicitation && isOwn(message.target, on: port)
        if message.isSolicitation {
            learn(from: message, port, insert: isForUs)
        } else {
            learn(advertised: message, port)
        }
        if index + 1 < workers { return hand(mbuf, to: rings[index + 1].discovery) }
        guard isForUs, ports[port].localServices else {
            block.add(1, to: .consumed)
            return mbuf.free()
        }
        guard neighborAnswers.take(now: now) else { return drop(mbuf, .rateLimited) }
        answer(message, ethernet.source, mbuf, port, as: MACAddress(rawValue: ports[port].mac))
    }

    /// Whether an address is one of ours on that link.
    mutating func isOwn(_ address: UInt128, on port: Int) -> Bool {
        if Worker.isLinkLocal(address) { return address == ports[port].linkLocal }
        let route = route(address)
        return route.kind == .local && Int(route.port) == port
    }

    /// Whether somebody on the link may speak for an address: one that is on the link and not ours.
    private mutating func isNeighbor(_ address: UInt128, _ port: Int) -> Bool {
        if Worker.isLinkLocal(address) { return ports[port].linkLocal != 0 && address != ports[port].linkLocal }
        let route = route(address)
        guard route.kind == .protected || route.kind == .unprotected, Int(route.port) == port else { return false }
        return route.gateway == RouteEntry.onLink
            || neighbors.find(NeighborKey(port: UInt16(truncatingIfNeeded: port), bits: address)) != nil
    }

    /// RFC 4861 7.2.3: who asks tells where it is. A new entry is made only for who asks for us.
    private mutating func learn(from message: NeighborDiscovery, _ port: Int, insert: Bool) {
        guard message.source != 0, let mac = message.linkLayerAddress, mac.isHost, isNeighbor(message.source, port)
        else { return }
        let key = NeighborKey(port: UInt16(truncatingIfNeeded: port), bits: message.source)
        guard let index = insert ? neighbors.findOrInsert(key) : neighbors.find(key),
            neighbors.entries[index].state != .permanent
        else { return }
        // That it hears us too is not said.
        if !neighbors.entries[index].isUsable || neighbors.entries[index].destination != mac {
            confirm(index, mac, seconds: NeighborTable.unverifiedSeconds)
        }
        release(index)
    }

    /// RFC 4861 7.2.5: only entries that exist are changed.
    private mutating func learn(advertised message: NeighborDiscovery, _ port: Int) {
        guard isNeighbor(message.target, port),
            let index = neighbors.find(NeighborKey(port: UInt16(truncatingIfNeeded: port), bits: message.target)),
            neighbors.entries[index].state != .permanent
        else { return }
        guard neighbors.entries[index].isUsable else {
            guard let mac = message.linkLayerAddress, mac.isHost else { return }
            confirm(
                index, mac,
                seconds: message.isSolicited ? NeighborTable.reachableSeconds : NeighborTable.unverifiedSeconds)
            return release(index)
        }
        let known = neighbors.entries[index].destination, mac = message.linkLayerAddress ?? known
        if mac != known && !message.overrides {
            // Somebody else claims it: ask the one we know, soon.
            if neighbors.entries[index].state == .reachable { neighbors.entries[index].dueAt = now }
            return
        }
        guard mac.isHost else { return }
        if message.isSolicited {
            confirm(index, mac, seconds: NeighborTable.reachableSeconds)
        } else if mac != known {
            confirm(index, mac, seconds: NeighborTable.unverifiedSeconds)
        } else {
            return
        }
        release(index)
    }

    /// RFC 4861 7.2.4. Who has no address yet is answered by telling everybody, which is how it learns that it may not
    /// have ours.
    mutating func answer(
        _ message: NeighborDiscovery, _ asker: MACAddress, _ mbuf: Mbuf, _ port: Int, as own: MACAddress
    ) {
        let isSolicited = message.source != 0
        let length = EthernetHeader.octets + NeighborDiscovery.packetOctets
        guard mbuf.offset + length <= mbuf.buffer.count else { return drop(mbuf, .noBuffers) }
        mbuf.setPacket(offset: mbuf.offset, length: length)
        EthernetHeader(mbuf.bytes)?.emit(
            destination: isSolicited ? message.linkLayerAddress ?? asker : .allNodes, source: own,
            etherType: EtherType.ipv6)
        NeighborDiscovery.emitAdvertisement(
            mbuf.bytes.dropFirst(EthernetHeader.octets), target: message.target, mac: own,
            destination: isSolicited ? message.source : NeighborDiscovery.allNodes, isSolicited: isSolicited)
        block.add(1, to: .consumed)
        block.add(1, to: .originated)
        enqueue(mbuf, port)
    }

    /// Asks for an IPv6 neighbour; the caller knows that it may. One that is known is asked directly (RFC 4861 7.3.3),
    /// an unknown one through its group.
    mutating func solicit(_ index: Int, _ mbuf: Mbuf) {
        let entry = neighbors.entries[index], port = Int(entry.port)
        let own = MACAddress(rawValue: ports[port].mac)
        mbuf.setPacket(offset: mbuf.offset, length: EthernetHeader.octets + NeighborDiscovery.packetOctets)
        EthernetHeader(mbuf.bytes)?.emit(
            destination: entry.isUsable ? entry.destination : .solicitedNode(of: entry.bits), source: own,
            etherType: EtherType.ipv6)
        NeighborDiscovery.emitSolicitation(
            mbuf.bytes.dropFirst(EthernetHeader.octets), source: ports[port].linkLocal, mac: own, target: entry.bits,
            destination: entry.isUsable ? entry.bits : nil)
    }
}
