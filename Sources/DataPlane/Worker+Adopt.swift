// Going over to other tables, between two rounds: no burst is under way, so nothing that this worker does any more
// looks at the old ones.

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// Takes the latest tables and tells so, upon which the older ones may go.
    @inline(never)
    mutating func adopt() {
        let begun = rte_rdtsc()
        if crossing > 0 { finishCrossingForGood() }
        let (address, reference) = unsafe cell.read()
        let tables = unsafe reference.takeUnretainedValue()
        let routing = unsafe UnsafeRawPointer(Unmanaged.passUnretained(tables.routing).toOpaque())
        tablesAddress = address
        unsafe fib = tables.routing.fib
        unsafe fib6 = tables.routing.fib6
        let counters = tables.policies.counters(of: index)
        outboundPolicies = PolicyView(tables.policies.outbound, counters.outbound)
        inboundPolicies = PolicyView(tables.policies.inbound, counters.inbound)
        routes = tables.routing.entries.unownedView
        tunnels = tables.tunnels.unownedView
        lanes = tables.lanes.view
        selectors = tables.selectors.unownedView
        tunnels6 = tables.tunnels6.unownedView
        selectors6 = tables.selectors6.unownedView
        sad = SADView(slots: tables.associations.unownedView)
        authentications = SADView(slots: tables.authentications.unownedView)
        own6 = tables.own6.unownedView
        peers = tables.peers.unownedView
        outboundSPIs = tables.outboundSPIs.unownedView
        hasTransport = tables.hasTransport
        takesDatagrams = tables.takesDatagrams
        ownFilter = tables.ownFilter
        ownFilter6 = tables.ownFilter6
        for (index, port) in tables.topology.ports.enumerated() { ports[index].take(port) }
        if unsafe routing != self.routing {
            unsafe self.routing = unsafe routing
            moveNeighbors(tables)
        }
        keepAhead()
        movePeers()
        block.adopted(tables.generation, ticks: rte_rdtsc() - begun)
    }

    /// A new table of neighbours for new routes, whose pinned ones have other indices; what is known stays known, and
    /// who waits goes on to wait.
    private mutating func moveNeighbors(_ tables: ForwardingTables) {
        var next = NeighborTable(pinned: tables.routing.pinned)
        for index in 0..<neighbors.count {
            var entry = neighbors.entries[index]
            guard entry.state != .free, Int(entry.port) < ports.count else { continue }
            // One that nobody needs may find no place among thousands; who waits for it is dropped below.
            guard entry.isUsable || entry.waiting > 0, let place = next.findOrInsert(entry.key) else { continue }
            if entry.state == .permanent { (entry.state, entry.dueAt) = (.reachable, now) }
            next.entries[place] = entry
        }
        let count = heldCount
        heldCount = 0
        for index in 0..<count {
            let packet = held[index], old = neighbors.entries[packet.neighbor]
            if let place = next.find(old.key) {
                held[heldCount] = HeldPacket(mbuf: packet.mbuf, neighbor: place)
                heldCount += 1
            } else {
                drop(packet.mbuf, .neighborUnresolved)
            }
        }
        neighbors = next
        learnStaticNeighbors(tables.topology)
        // A neighbour that has become static has an answer for those who wait.
        for index in 0..<neighbors.count
        where neighbors.entries[index].state == .permanent && neighbors.entries[index].waiting > 0 {
            release(index)
        }
    }

    /// Packets that wait for a ceiling: under SAs that are gone they are dropped, the others may be another tunnel's.
    private mutating func keepAhead() {
        var kept = 0
        for position in 0..<ahead.count {
            var packet = ahead[position]
            let slot =
                packet.frame.isAuthentication ? authentications.find(packet.frame.spi) : sad.find(packet.frame.spi)
            if slot.association == packet.association {
                packet.frame.tunnel = slot.tunnel
                ahead[kept] = packet
                kept += 1
            } else {
                drop(packet.frame.mbuf, .unknownSPI)
            }
        }
        ahead.cut(to: kept)
    }
}
