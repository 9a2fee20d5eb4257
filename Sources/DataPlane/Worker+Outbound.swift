// From the protected side, or decrypted, or our own. RFC 4301 section 5.1: the route says whether a packet crosses the
// boundary; if it does, the SPD decides, and only then is there a way to an unprotected port.

import CDPDK
import ESP
import IPsec
import Wire

/// What is remembered of a packet while it is in the outbound burst.
struct SendingESP: BitwiseCopyable {
    var mbuf: Mbuf
    /// Index of the next hop among the neighbours.
    var nextHop: UInt32
}

extension Worker {
    /// Route pass, policy pass, header pass, crypto pass, and out.
    @inline(__always)
    mutating func forwardInside() {
        lookUpRoutes()
        sortByRoute()
        if policies.count > 0 {
            policies.classify(inside, outboundPolicies, tunnels, worker: self.index)
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
        if inside.count6 > 0 { lookUpRoutes6() }
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
            case .protect: protect(slot, tunnels[result.tunnel])
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
    private mutating func protect(_ slot: PacketSlot, _ tunnel: TunnelEntry) {
        guard Int(tunnel.owner) == index else { return hand(slot.mbuf, to: rings[Int(tunnel.owner)].inside) }
        guard let association = tunnel.outbound else { return drop(slot.mbuf, tunnel.refusal) }
        guard takeHop(slot) else { return }
        guard tunnel.nextHop != RouteEntry.onLink else { return drop(slot.mbuf, .noRoute) }
        if tunnel.flags.contains(.clampsMSS) { Worker.clampSegments(slot.ip, innerMTU: Int(tunnel.innerMTU)) }
        guard slot.ip.count <= Int(tunnel.innerMTU) else { return protectCut(slot, tunnel, association) }
        // Smaller ones are never too big for a path.
        if slot.ip.count > Worker.leastPathMTU.v4 / 2 { association.with { $0.noteSending(tenth: tenth) } }
        let handle = tunnel.flags.contains(.offloadsOutbound) ? deviceHandle(slot, tunnel, association) : 0
        append(slot.mbuf, length: slot.ip.count, tunnel.nextHop, association, handle)
    }

    @inline(__always)
    private mutating func append(
        _ mbuf: Mbuf, length: Int, _ nextHop: UInt32, _ association: OutboundAssociationReference, _ handle: UInt64
    ) {
        // Only pieces of packets make more than a pass has.
        if outbound.count == outbound.capacity { protectEarly() }
        let number = outbound.count
        sending[number] = SendingESP(mbuf: mbuf, nextHop: nextHop)
        if handle != 0 { handles[number] = handle }
        outbound.append(
            buffer: mbuf.buffer, offset: mbuf.offset, length: length, association: association, tag: number,
            isInline: handle != 0)
    }

    /// RFC 4301 8.1, RFC 4303 3.3.4: what is too large is cut before it is protected, so that the peer need not put ESP
    /// together.
    @inline(never)
    private mutating func protectCut(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference
    ) {
        let mtu = Int(tunnel.innerMTU)
        guard !tunnel.flags.contains(.isTransport) else { return refuseTooBig(slot, mtu: mtu) }
        association.with { $0.noteSending(tenth: tenth) }
        let handle = tunnel.flags.contains(.offloadsOutbound) ? deviceHandle(slot, tunnel, association) : 0
        cut(slot, mtu: mtu) { worker, piece in
            worker.append(piece, length: piece.length, tunnel.nextHop, association, handle)
        }
    }

    @inline(never)
    private mutating func protectEarly() { protect() }

    /// Header pass, crypto pass, and on to the next hop.
    @inline(__always)
    private mutating func protect() {
        outbound.prepare()
        crypto.submit(outbound)
        _ = crypto.collect()
        outbound.finish()
        var index = 0
        while index < outbound.count {
            let packet = outbound[index]
            let (mbuf, nextHop) = (sending[index].mbuf, Int(sending[index].nextHop))
            if let failure = packet.failure {
                drop(mbuf, failure)
            } else if packet.isInline {
                transmitInline(packet, index)
            } else {
                mbuf.setPacket(offset: packet.offset, length: packet.length)
                transmit(mbuf, neighbor: nextHop)
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
        guard slot.ip.count <= mtu else { return forwardCut(slot, route, mtu: mtu) }
        transmit(slot.mbuf, slot, route)
    }

    /// RFC 1812 5.2.6: in pieces that fit the way.
    @inline(never)
    private mutating func forwardCut(_ slot: PacketSlot, _ route: RouteEntry, mtu: Int) {
        cut(slot, mtu: mtu) { worker, piece in worker.transmit(piece, slot, route) }
    }

    /// To where a route leads for the destination of `slot`.
    @inline(__always)
    private mutating func transmit(_ mbuf: Mbuf, _ slot: PacketSlot, _ route: RouteEntry) {
        if route.gateway != RouteEntry.onLink { return transmit(mbuf, neighbor: Int(route.gateway)) }
        let key =
            slot.isIPv6
            ? NeighborKey(port: route.port, bits: Worker.destination6(slot))
            : NeighborKey(port: route.port, address: UInt32(bigEndian: slot.key.destination))
        guard let neighbor = neighbors.findOrInsert(key) else { return drop(mbuf, .neighborUnresolved) }
        transmit(mbuf, neighbor: neighbor)
    }

    /// RFC 1812 5.3.1: one hop less; false when none was left, and the packet has been dealt with. Our own take none.
    @inline(__always)
    private mutating func takeHop(_ slot: PacketSlot) -> Bool {
        if slot.isIPv6 { return takeHop6(slot) }
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
    mutating func refuseTooBig(_ slot: PacketSlot, mtu: Int) {
        if slot.isIPv6 {
            tellTooBig6(slot, mtu: mtu)
        } else if let header = IPv4Header(slot.ip), header.dontFragment {
            originateError(
                about: slot, type: ICMPv4Message.Kind.destinationUnreachable, code: ICMPv4Message.fragmentationNeeded,
                mtu: UInt16(truncatingIfNeeded: mtu))
        }
        drop(slot.mbuf, .packetTooBig)
    }
}
