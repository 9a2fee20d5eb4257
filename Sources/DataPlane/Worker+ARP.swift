// ARP: what IPv4 neighbours say, answers and questions. RFC 826, RFC 1122 section 2.3.2, RFC 5227.

import CDPDK
import IPsec
import Wire

extension Worker {
    /// Learns from a frame; the last worker answers it if it asks for us.
    @inline(never)
    mutating func receiveARP(_ mbuf: Mbuf, _ port: Int) {
        guard port < ports.count, let packet = ARPPacket(mbuf.bytes.dropFirst(EthernetHeader.octets)) else {
            return drop(mbuf, .malformed)
        }
        let target = route(packet.targetAddress)
        let isForUs = target.kind == .local && Int(target.port) == port
        learn(packet, port, insert: isForUs)
        if index + 1 < workers { return hand(mbuf, to: rings[index + 1].discovery) }
        guard isForUs, packet.operation == ARPPacket.Operation.request, ports[port].localServices else {
            block.add(1, to: .consumed)
            return mbuf.free()
        }
        guard neighborAnswers.take(now: now) else { return drop(mbuf, .rateLimited) }
        answer(packet, mbuf, port, as: MACAddress(rawValue: ports[port].mac))
    }

    /// RFC 826: an entry that exists is updated by anything its address says; a new one is made only for who asks for
    /// us. Nobody speaks for addresses off the link, for ours, or for a static entry.
    private mutating func learn(_ packet: ARPPacket, _ port: Int, insert: Bool) {
        let sender = route(packet.senderAddress)
        guard packet.senderAddress != 0, sender.kind == .protected || sender.kind == .unprotected,
            Int(sender.port) == port, sender.gateway == RouteEntry.onLink || isPinned(packet.senderAddress, port),
            packet.senderMAC.isHost
        else { return }
        let key = NeighborKey(port: UInt16(truncatingIfNeeded: port), address: packet.senderAddress)
        guard let index = insert ? neighbors.findOrInsert(key) : neighbors.find(key),
            neighbors.entries[index].state != .permanent
        else { return }
        confirm(index, packet.senderMAC, seconds: NeighborTable.reachableSeconds)
        release(index)
    }

    private mutating func isPinned(_ address: UInt32, _ port: Int) -> Bool {
        neighbors.find(NeighborKey(port: UInt16(truncatingIfNeeded: port), address: address)) != nil
    }

    /// Turns the question into the answer where it lies.
    mutating func answer(_ packet: ARPPacket, _ mbuf: Mbuf, _ port: Int, as own: MACAddress) {
        let asker = packet.senderMAC
        let (asked, from) = (packet.targetAddress, packet.senderAddress)
        mbuf.setPacket(offset: mbuf.offset, length: EthernetHeader.octets + ARPPacket.octets)
        EthernetHeader(mbuf.bytes)?.emit(destination: asker, source: own, etherType: EtherType.arp)
        packet.emit(
            operation: ARPPacket.Operation.reply, senderMAC: own, senderAddress: asked, targetMAC: asker,
            targetAddress: from)
        block.add(1, to: .consumed)
        block.add(1, to: .originated)
        enqueue(mbuf, port)
    }

    /// Asks for an IPv4 neighbour; the caller knows that it may.
    mutating func askByARP(_ index: Int, _ mbuf: Mbuf) {
        let port = Int(neighbors.entries[index].port)
        mbuf.setPacket(offset: mbuf.offset, length: EthernetHeader.octets + ARPPacket.octets)
        let own = MACAddress(rawValue: ports[port].mac)
        // A stale neighbour is asked directly (RFC 1122 2.3.2.1, way 2), an unknown one through everybody.
        let known = neighbors.entries[index].isUsable
        EthernetHeader(mbuf.bytes)?.emit(
            destination: known ? neighbors.entries[index].destination : .broadcast, source: own,
            etherType: EtherType.arp)
        ARPPacket(mbuf.bytes.dropFirst(EthernetHeader.octets))?.emit(
            operation: ARPPacket.Operation.request, senderMAC: own, senderAddress: ports[port].address,
            targetMAC: MACAddress(rawValue: 0), targetAddress: UInt32(truncatingIfNeeded: neighbors.entries[index].bits)
        )
    }
}
