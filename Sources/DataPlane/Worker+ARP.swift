// ARP: answers, questions, and the packets that wait for an answer. RFC 826, RFC 1122 section 2.3.2, RFC 5227.

import CDPDK
import IPsec
import Wire

/// A packet that waits for a neighbour.
struct HeldPacket: BitwiseCopyable {
    var mbuf: Mbuf
    var neighbor: Int
}

extension MACAddress {
    /// What replay sends to when no entry says better.
    static var placeholder: MACAddress { MACAddress(rawValue: 0x0200_0000_0001) }
}

extension Worker {
    /// Learns from a frame, answers it if it asks for us, and passes it on to the next worker.
    @inline(never)
    mutating func receiveARP(_ mbuf: Mbuf, _ port: Int) {
        guard port < ports.count, let packet = ARPPacket(mbuf.bytes.dropFirst(EthernetHeader.octets)) else {
            return drop(mbuf, .malformed)
        }
        let target = route(packet.targetAddress)
        let isForUs = target.kind == .local && Int(target.port) == port
        learn(packet, port, insert: isForUs)
        if index + 1 < workers { return hand(mbuf, to: rings[index + 1].arp) }
        guard isForUs, packet.operation == ARPPacket.Operation.request, ports[port].localServices else {
            block.add(1, to: .consumed)
            return mbuf.free()
        }
        guard arpAnswers.take(now: now) else { return drop(mbuf, .rateLimited) }
        answer(packet, mbuf, port)
    }

    /// RFC 826: an entry that exists is updated by anything its address says; a new one is made only for who asks for
    /// us. Nobody speaks for addresses off the link, for ours, or for a static entry.
    private mutating func learn(_ packet: ARPPacket, _ port: Int, insert: Bool) {
        let sender = route(packet.senderAddress)
        guard packet.senderAddress != 0, sender.kind == .protected || sender.kind == .unprotected,
            Int(sender.port) == port, sender.gateway == RouteEntry.onLink || isPinned(packet.senderAddress, port),
            Worker.isUnicast(packet.senderMAC)
        else { return }
        let key = NeighborKey(port: UInt16(truncatingIfNeeded: port), address: packet.senderAddress)
        guard let index = insert ? neighbors.findOrInsert(key) : neighbors.find(key),
            neighbors.entries[index].state != .permanent
        else { return }
        neighbors.entries[index].setHeader(
            destination: packet.senderMAC, source: MACAddress(rawValue: ports[port].mac))
        neighbors.entries[index].state = .reachable
        neighbors.entries[index].dueAt = now + NeighborTable.reachableSeconds * ticksPerSecond
        release(index)
    }

    private mutating func isPinned(_ address: UInt32, _ port: Int) -> Bool {
        neighbors.find(NeighborKey(port: UInt16(truncatingIfNeeded: port), address: address)) != nil
    }

    private static func isUnicast(_ mac: MACAddress) -> Bool { mac.rawValue != 0 && mac.rawValue >> 40 & 1 == 0 }

    /// Turns the question into the answer where it lies.
    private mutating func answer(_ packet: ARPPacket, _ mbuf: Mbuf, _ port: Int) {
        let own = MACAddress(rawValue: ports[port].mac), asker = packet.senderMAC
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

    /// Keeps a packet until its neighbour is known, and asks for it; with too many waiting it is dropped. In replay
    /// without ARP every neighbour answers to the placeholder address at once.
    @inline(never)
    mutating func hold(_ mbuf: Mbuf, for index: Int) {
        guard resolves else {
            let source = MACAddress(rawValue: ports[Int(neighbors.entries[index].port)].mac)
            neighbors.entries[index].setHeader(destination: .placeholder, source: source)
            neighbors.entries[index].state = .reachable  // and so makes room when there are very many
            return transmit(mbuf, neighbor: index)
        }
        guard heldCount < Worker.heldLimit, neighbors.entries[index].waiting < Worker.heldPerNeighbor else {
            return drop(mbuf, .neighborUnresolved)
        }
        held[heldCount] = HeldPacket(mbuf: mbuf, neighbor: index)
        heldCount += 1
        neighbors.entries[index].waiting += 1
        neighbors.entries[index].usedAt = now
        guard neighbors.entries[index].requestsLeft == 0 else { return }
        neighbors.entries[index].requestsLeft = NeighborTable.requestLimit
        ask(index)
    }

    /// Sends a request and says when the next is due.
    private mutating func ask(_ index: Int) {
        neighbors.entries[index].requestsLeft -= 1
        neighbors.entries[index].dueAt = now + ticksPerSecond
        let port = Int(neighbors.entries[index].port)
        let length = EthernetHeader.octets + ARPPacket.octets
        // Who sends to many addresses that nobody has must not make a storm of it.
        guard arpRequests.take(now: now), let mbuf = pool.allocate() else { return }
        mbuf.setPacket(offset: mbuf.offset, length: length)
        mbuf.timestamp = now
        let own = MACAddress(rawValue: ports[port].mac)
        // A stale neighbour is asked directly (RFC 1122 2.3.2.1, way 2), an unknown one through everybody.
        let known = neighbors.entries[index].isUsable
        EthernetHeader(mbuf.bytes)?.emit(
            destination: known ? neighbors.entries[index].destination : .broadcast, source: own,
            etherType: EtherType.arp)
        ARPPacket(mbuf.bytes.dropFirst(EthernetHeader.octets))?.emit(
            operation: ARPPacket.Operation.request, senderMAC: own, senderAddress: ports[port].address,
            targetMAC: MACAddress(rawValue: 0), targetAddress: neighbors.entries[index].address)
        block.add(1, to: .originated)
        enqueue(mbuf, port)
    }

    /// Sends what waited for a neighbour that is known now, oldest first.
    mutating func release(_ index: Int) {
        neighbors.entries[index].requestsLeft = 0
        takeHeld(index) { worker, mbuf in worker.transmit(mbuf, neighbor: index) }
    }

    private mutating func takeHeld(_ index: Int, _ take: (inout Worker, Mbuf) -> Void) {
        guard neighbors.entries[index].waiting > 0 else { return }
        neighbors.entries[index].waiting = 0
        var kept = 0
        let count = heldCount
        for position in 0..<count {
            let packet = held[position]
            if packet.neighbor == index {
                take(&self, packet.mbuf)
            } else {
                held[kept] = packet
                kept += 1
            }
        }
        heldCount = kept
    }

    /// Ten times a second: requests that are due, neighbours that nobody answered for, entries to look at again.
    @inline(never)
    mutating func keepHouse() {
        housekeepingAt = now + ticksPerSecond / 10
        showInFlight()
        giveUpAhead()
        if census.isWanted(by: index) {
            census.answer(index, neighbors, now: now, ticksPerSecond: ticksPerSecond)
        }
        guard resolves else { return }
        for index in 0..<neighbors.count where neighbors.entries[index].dueAt <= now { keep(index) }
    }

    private mutating func keep(_ index: Int) {
        let entry = neighbors.entries[index]
        switch entry.state {
        case .incomplete where entry.requestsLeft > 0, .stale where entry.requestsLeft > 0: ask(index)
        case .incomplete:
            takeHeld(index) { worker, mbuf in worker.drop(mbuf, .neighborUnresolved) }
        case .stale:
            neighbors.entries[index].state = .incomplete
        case .reachable where now - min(now, entry.usedAt) < NeighborTable.reachableSeconds * ticksPerSecond:
            neighbors.entries[index].state = .stale
            neighbors.entries[index].requestsLeft = NeighborTable.requestLimit
            ask(index)
        case .reachable: neighbors.entries[index].state = .incomplete
        case .free, .permanent: break
        }
    }

    /// Before the first packet: static entries.
    mutating func learnStaticNeighbors(_ topology: Topology) {
        for neighbor in topology.neighbors {
            let key = NeighborKey(port: UInt16(neighbor.port), address: neighbor.address.v4Number)
            guard let index = neighbors.findOrInsert(key) else { continue }
            neighbors.entries[index].setHeader(
                destination: neighbor.mac, source: MACAddress(rawValue: ports[neighbor.port].mac))
            neighbors.entries[index].state = .permanent
        }
    }
}
