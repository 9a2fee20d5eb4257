// The last steps: the next hop's Ethernet header, the port's queue, the wire.

import CDPDK
import IPsec
import Wire

/// The packets that wait for their port, one list for each. A list that the port did not empty goes on next round.
@safe
struct TransmitQueues: ~Copyable {
    private let lists: UnsafeMutablePointer<MbufList>
    private let count: Int

    init(count: Int) {
        self.count = count
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

extension Worker {
    /// Sends the IP packet in `mbuf` to a neighbour, or holds it until the neighbour is known.
    @inline(__always)
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
            send(port)
            if queues[port].count == queues[port].capacity { return drop(mbuf, .txFull) }
        }
        queues[port].append(mbuf)
    }

    /// Offers a port its queue.
    @inline(__always)
    mutating func send(_ port: Int) {
        guard !ports[port].isPaused else { return }
        let offered = octets(port)
        let sent = queues[port].transmit(port: ports[port].id, queue: ports[port].txQueue)
        guard sent > 0 else { return }
        block.add(sent, to: .transmitted)
        block.add(sent, to: .txPackets, port: port)
        // What was sent may be gone already: count what is left and take the difference.
        block.add(offered &- octets(port), to: .txOctets, port: port)
    }

    @inline(__always)
    private mutating func octets(_ port: Int) -> Int {
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
        for port in 0..<ports.count {
            for _ in 0..<1000 where queues[port].count > 0 { send(port) }
            for index in 0..<queues[port].count { drop(queues[port][index], .txFull) }
            queues[port].removeAll()
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
        var count = heldCount + ahead.count + fragments.held
        for port in 0..<ports.count { count += queues[port].count }
        block.set(count, .inFlight)
    }
}
