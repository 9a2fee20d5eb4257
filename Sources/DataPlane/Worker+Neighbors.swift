// Neighbours of both families: questions that are due, and the packets that wait for an answer. Who answers is found
// out by Worker+ARP and Worker+NeighborDiscovery.

import CDPDK
import IPsec
import Wire

/// A packet that waits for a neighbour.
struct HeldPacket: BitwiseCopyable {
    var mbuf: Mbuf
    var neighbor: Int
}

extension MACAddress {
    /// Whether it may be one host's: not a group's and not zero.
    var isHost: Bool { rawValue != 0 && rawValue >> 40 & 1 == 0 }

    /// What replay sends to when no entry says better.
    static var placeholder: MACAddress { MACAddress(rawValue: 0x0200_0000_0001) }
}

extension Worker {
    /// Learns from a frame of ARP or neighbour discovery, and passes it on to the next worker.
    @inline(never)
    mutating func receiveDiscovery(_ mbuf: Mbuf, _ port: Int) {
        guard port < ports.count, let ethernet = EthernetHeader(mbuf.bytes) else { return drop(mbuf, .malformed) }
        if ethernet.etherType == EtherType.arp { receiveARP(mbuf, port) } else { receiveND(mbuf, ethernet, port) }
    }

    /// A neighbour has this MAC address, and is not asked again for so many seconds.
    mutating func confirm(_ index: Int, _ mac: MACAddress, seconds: UInt64) {
        let port = Int(neighbors.entries[index].port)
        neighbors.entries[index].setHeader(destination: mac, source: MACAddress(rawValue: ports[port].mac))
        neighbors.entries[index].state = .reachable
        neighbors.entries[index].dueAt = now + seconds * ticksPerSecond
    }

    /// Keeps a packet until its neighbour is known, and asks for it; with too many waiting it is dropped. In replay
    /// without `resolve` every neighbour answers to the placeholder address at once.
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

    /// Sends a question and says when the next is due.
    private mutating func ask(_ index: Int) {
        neighbors.entries[index].requestsLeft -= 1
        neighbors.entries[index].dueAt = now + ticksPerSecond
        // Who sends to many addresses that nobody has must not make a storm of it.
        guard neighborRequests.take(now: now), let mbuf = pool.allocate() else { return }
        mbuf.timestamp = now
        if neighbors.entries[index].key.isIPv4 { askByARP(index, mbuf) } else { solicit(index, mbuf) }
        block.add(1, to: .originated)
        enqueue(mbuf, Int(neighbors.entries[index].port))
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
        giveUpAhead()
        fragments.expire(now: now)
        dropLosses()
        keepPeers()
        showInFlight()
        if observations.isOther(than: observerAddress) { adoptObserver() }
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
            let key = NeighborKey(port: UInt16(neighbor.port), address: neighbor.address)
            guard let index = neighbors.findOrInsert(key) else { continue }
            neighbors.entries[index].setHeader(
                destination: neighbor.mac, source: MACAddress(rawValue: ports[neighbor.port].mac))
            neighbors.entries[index].state = .permanent
        }
    }
}
