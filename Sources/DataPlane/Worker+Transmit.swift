// The last steps: the next hop's Ethernet header, the port's queue, the wire.

import CDPDK
import IPsec
import Wire

/// The packets that wait for their port, one list for each. A list that the port did not empty goes on next round.
@safe
struct TransmitQueues: ~Copyable {
    private let lists: UnsafeMutablePointer<MbufList>
    private let count: Int
    /// Octets in each list. Counted as packets come: two looks at each of them, before and after the port took some,
    /// cost more.
    let octets: FixedArray<Int>

    init(count: Int) {
        self.count = count
        octets = FixedArray(repeating: 0, count: count)
        unsafe lists = .allocate(capacity: max(1, count))
        for index in 0..<count { unsafe (lists + index).initialize(to: MbufList(capacity: 2 * Worker.passCapacity)) }
    }

    deinit {
        unsafe lists.deinitialize(count: count)
        unsafe lists.deallocate()
    }

    subscript(_ index: Int) -> MbufList {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(lists + index)
        }
        nonmutating unsafeMutableAddress {
            precondition(index >= 0 && index < count)
            return unsafe lists + index
        }
    }
}

/// Where packets that follow each other go: a neighbour as it was when `changes` were the table's.
struct Way: BitwiseCopyable {
    /// Its index; -1 for none.
    let neighbor: Int
    let changes: UInt64
    /// The first 8 octets of the Ethernet header and, from the sixth on, the last 8: numbers in network order.
    let headerFirst: UInt64
    let headerLast: UInt64
    let port: Int
    /// Whether packets can go there, and without a tag.
    let isOpen: Bool

    /// Where no packet went.
    @inline(__always)
    init() { (neighbor, changes, headerFirst, headerLast, port, isOpen) = (-1, 0, 0, 0, 0, false) }

    /// Whether IPv6 packets go there.
    @inline(__always)
    var isIPv6: Bool { UInt16(truncatingIfNeeded: headerLast) == EtherType.ipv6 }

    init(_ entry: Neighbor, at index: Int, changes: UInt64, isOpen: Bool) {
        neighbor = index
        self.changes = changes
        headerFirst = entry.headerFirst
        headerLast = entry.headerFirst << 48 | UInt64(entry.headerSecond) << 16 | UInt64(entry.etherType)
        port = Int(entry.port)
        self.isOpen = isOpen
    }
}

extension Worker {
    /// Sends the IP packet of `length` octets at `offset` of the buffer, which need not say so yet, to a neighbour.
    /// `way` is where the packet before it went: of those that follow each other to one neighbour only the first asks
    /// about it.
    @inline(__always)
    mutating func transmit(_ mbuf: Mbuf, offset: Int, length: Int, neighbor index: Int, _ way: inout Way) {
        if way.neighbor != index || way.changes != neighbors.changes { way = self.way(to: index) }
        let start = offset &- EthernetHeader.octets
        guard way.isOpen, start >= 0, queues[way.port].count < queues[way.port].capacity else {
            mbuf.setPacket(offset: offset, length: length)
            return transmit(mbuf, neighbor: index)
        }
        mbuf.setPacket(offset: start, length: length &+ EthernetHeader.octets)
        let frame = mbuf.buffer.dropFirst(start).prefix(EthernetHeader.octets)
        frame.store(way.headerFirst, at: 0)
        frame.store(way.headerLast, at: 6)
        queues[way.port].append(mbuf)
        queues.octets[way.port] &+= length &+ EthernetHeader.octets
    }

    @inline(never)
    mutating func way(to index: Int) -> Way {
        let neighbor = neighbors.entries[index]
        if neighbor.isUsable { neighbors.entries[index].usedAt = now }
        return Way(
            neighbor, at: index, changes: neighbors.changes,
            isOpen: neighbor.isUsable && ports[Int(neighbor.port)].vlan == 0)
    }

    /// Sends the IP packet in `mbuf` to a neighbour, or holds it until the neighbour is known.
    @inline(never)
    mutating func transmit(_ mbuf: Mbuf, neighbor index: Int) {
        guard neighbors.entries[index].isUsable else { return hold(mbuf, for: index) }
        let offset = mbuf.offset &- EthernetHeader.octets
        guard offset >= 0 else { return drop(mbuf, .noBuffers) }
        mbuf.setPacket(offset: offset, length: mbuf.length &+ EthernetHeader.octets)
        let bytes = mbuf.bytes
        bytes.store(neighbors.entries[index].headerFirst, at: 0)
        bytes.store(neighbors.entries[index].headerSecond, at: 8)
        bytes.store(neighbors.entries[index].etherType, at: 12)
        neighbors.entries[index].usedAt = now
        enqueue(mbuf, Int(neighbors.entries[index].port))
    }

    /// Puts a frame into a port's queue, with the tag of the port's VLAN. A full queue is offered to the port first;
    /// what then finds no place is dropped.
    @inline(__always)
    mutating func enqueue(_ mbuf: Mbuf, _ port: Int) {
        if ports[port].vlan != 0 && !Worker.addTag(mbuf, ports[port].vlan) { return drop(mbuf, .noBuffers) }
        if queues[port].count == queues[port].capacity {
            makeRoom(port)
            if queues[port].count == queues[port].capacity { return drop(mbuf, .txFull) }
        }
        queues[port].append(mbuf)
        queues.octets[port] &+= mbuf.length
    }

    @inline(never)
    private mutating func makeRoom(_ port: Int) { send(port) }

    /// Offers a port its queue.
    @inline(__always)
    mutating func send(_ port: Int) {
        guard !ports[port].isPaused else { return }
        let sent =
            isObserved
            ? transmitObserved(port) : queues[port].transmit(port: ports[port].id, queue: ports[port].txQueue)
        guard sent > 0 else { return }
        block.add(sent, to: .transmitted)
        block.add(sent, to: .txPackets, port: port)
        // What was sent may be gone already: count what is left and take the difference.
        let left = queues[port].count == 0 ? 0 : octetsLeft(port)
        block.add(queues.octets[port] &- left, to: .txOctets, port: port)
        queues.octets[port] = left
    }

    @inline(never)
    mutating func octetsLeft(_ port: Int) -> Int {
        var octets = 0
        var index = 0
        while index < queues[port].count {
            octets &+= queues[port][index].length
            index &+= 1
        }
        return octets
    }

    /// Sends what can still be sent and gives everything else a reason, so that nothing is in flight any more. With
    /// `keepingDropped`, dropped packets stay in `dropped` for the caller to look at.
    public mutating func drain(keepingDropped: Bool = false) {
        if crossing > 0 { endCrossing() }
        for port in 0..<ports.count {
            for _ in 0..<1000 where queues[port].count > 0 { send(port) }
            for index in 0..<queues[port].count { drop(queues[port][index], .txFull) }
            queues[port].removeAll()
            queues.octets[port] = 0
        }
        for index in 0..<heldCount { drop(held[index].mbuf, .neighborUnresolved) }
        heldCount = 0
        dropAhead(where: { _ in true })
        fragments.giveUpAll()
        dropLosses()
        if !keepingDropped { releaseDropped() }
        showInFlight()
    }

    /// Publishes how many packets the worker holds.
    mutating func showInFlight() {
        var count = heldCount + ahead.count + fragments.held + crossing
        for port in 0..<ports.count { count += queues[port].count }
        block.set(count, .inFlight)
    }
}
