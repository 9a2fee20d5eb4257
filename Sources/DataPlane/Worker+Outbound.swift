// From the protected side, or decrypted, or our own. RFC 4301 section 5.1: the route says whether a packet crosses the
// boundary; if it does, the SPD decides, and only then is there a way to an unprotected port.

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// Route pass, policy pass, header pass, crypto pass, and out.
    @inline(__always)
    mutating func forwardInside() {
        lookUpRoutes()
        sortByRoute()
        if policies.count > 0 {
            unsafe policies.classify(inside, outboundPolicies)
            cross()
            if outbound.count > 0 { protect() }
        }
        inside.removeAll()
    }

    @inline(__always)
    private mutating func lookUpRoutes() {
        var index = 0
        while index < inside.count {
            addresses[index] = UInt32(bigEndian: inside[index].key.destination)
            index &+= 1
        }
        unsafe cdpdk_fib_lookup(
            fib, addresses.unsafePointer(at: 0), hops.unsafePointer(at: 0), UInt32(truncatingIfNeeded: inside.count))
    }

    /// Deals with what stays inside, and lists what crosses the boundary.
    @inline(__always)
    private mutating func sortByRoute() {
        policies.removeAll()
        var index = 0
        while index < inside.count {
            let route = routes[Int(hops[index])]
            switch route.kind {
            case .none, .unprotected: policies.append(index)
            case .protected: forward(inside[index], route)
            case .local: deliver(inside[index], route)
            case .broadcast: drop(inside[index].mbuf, .martian)
            }
            index &+= 1
        }
    }

    /// The SPD's verdict on each packet that crosses.
    @inline(__always)
    private mutating func cross() {
        var index = 0
        while index < policies.count {
            let position = Int(policies.positions[index])
            let slot = inside[position]
            let result = policies.verdict(index)
            switch result.action {
            case .protect: protect(slot, position, tunnels[result.tunnel])
            case .discard: drop(slot.mbuf, .policyDiscard)
            case .bypass: forward(slot, routes[Int(hops[position])])
            case nil: crossWithoutPolicy(slot, routes[Int(hops[position])])
            }
            index &+= 1
        }
    }

    /// RFC 4301 4.4.1: no policy means discard; but the answer of a port's local service goes back where the question
    /// came from.
    @inline(never)
    private mutating func crossWithoutPolicy(_ slot: PacketSlot, _ route: RouteEntry) {
        guard slot.answersPort != PacketSlot.noPort, route.kind == .unprotected, route.port == slot.answersPort else {
            return drop(slot.mbuf, .noPolicy)
        }
        forward(slot, route)
    }

    /// Puts a packet into the outbound burst.
    @inline(__always)
    private mutating func protect(_ slot: PacketSlot, _ position: Int, _ tunnel: TunnelEntry) {
        guard Int(tunnel.owner) == index else { return hand(slot.mbuf, to: rings[Int(tunnel.owner)].inside) }
        guard let association = tunnel.outbound else { return drop(slot.mbuf, tunnel.refusal) }
        guard takeHop(slot) else { return }
        guard tunnel.nextHop != RouteEntry.onLink else { return drop(slot.mbuf, .noRoute) }
        guard slot.ip.count <= Int(tunnel.innerMTU) else { return refuseTooBig(slot, mtu: Int(tunnel.innerMTU)) }
        outboundHops[outbound.count] = tunnel.nextHop
        outbound.append(
            buffer: slot.mbuf.buffer, offset: slot.mbuf.offset, length: slot.ip.count, association: association,
            tag: position)
    }

    /// Header pass, crypto pass, and on to the next hop.
    @inline(__always)
    private mutating func protect() {
        outbound.prepare()
        crypto.submit(outbound)
        _ = crypto.collect()
        var index = 0
        while index < outbound.count {
            let packet = outbound[index]
            let mbuf = inside[packet.tag].mbuf
            if let failure = packet.failure {
                drop(mbuf, failure)
            } else {
                mbuf.setPacket(offset: packet.offset, length: packet.length)
                transmit(mbuf, neighbor: Int(outboundHops[index]))
            }
            index &+= 1
        }
        outbound.removeAll()
    }

    /// In clear to a port: to the protected side, or with a verdict of the SPD that allows it.
    @inline(__always)
    mutating func forward(_ slot: PacketSlot, _ route: RouteEntry) {
        guard takeHop(slot) else { return }
        guard route.kind == .protected || route.kind == .unprotected else { return drop(slot.mbuf, .noRoute) }
        let mtu = ports[Int(route.port)].mtu
        guard slot.ip.count <= mtu else { return refuseTooBig(slot, mtu: mtu) }
        if route.gateway != RouteEntry.onLink { return transmit(slot.mbuf, neighbor: Int(route.gateway)) }
        let key = NeighborKey(port: route.port, address: UInt32(bigEndian: slot.key.destination))
        guard let neighbor = neighbors.findOrInsert(key) else { return drop(slot.mbuf, .neighborUnresolved) }
        transmit(slot.mbuf, neighbor: neighbor)
    }

    /// RFC 1812 5.3.1: one hop less; false when none was left, and the packet has been dealt with. Our own take none.
    @inline(__always)
    private mutating func takeHop(_ slot: PacketSlot) -> Bool {
        guard slot.ingress != PacketSlot.originated, let header = IPv4Header(slot.ip) else { return true }
        guard header.timeToLive > 1 else {
            originateError(about: slot, type: ICMPv4Message.Kind.timeExceeded, code: 0, mtu: 0)
            drop(slot.mbuf, .ttlExpired)
            return false
        }
        header.decrementTimeToLive()
        return true
    }

    @inline(never)
    private mutating func refuseTooBig(_ slot: PacketSlot, mtu: Int) {
        if let header = IPv4Header(slot.ip), header.dontFragment {
            originateError(
                about: slot, type: ICMPv4Message.Kind.destinationUnreachable, code: ICMPv4Message.fragmentationNeeded,
                mtu: UInt16(truncatingIfNeeded: mtu))
        }
        drop(slot.mbuf, .packetTooBig)
    }
}
