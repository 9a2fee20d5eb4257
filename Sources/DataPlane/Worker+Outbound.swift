// From the protected side, or decrypted, or our own. RFC 4301 section 5.1: the route says whether a packet crosses the
// boundary; if it does, the SPD decides, and only then is there a way to an unprotected port.

import CDPDK
import ESP
import IPsec
import Wire

/// What is remembered of a packet while it is in the outbound burst.
struct SendingESP: BitwiseCopyable {
    var mbuf: Mbuf
    /// How a device knows its SA; 0: software encrypts it.
    var handle: UInt64
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
            policies.classify(inside, outboundPolicies, tunnels, lanes, worker: self.index)
            cross()
            if outbound.count > 0 { protect() }
        }
        inside.removeAll()
    }

    @inline(__always)
    private mutating func lookUpRoutes() {
        let list = inside.view
        // Packets that follow each other to one address are asked about once: that saves 18 instructions of librte_fib
        // and a look into its table for each of the others.
        var last: UInt32 = 0, runs = 0, index = 0
        while index < list.count {
            // Of an IPv6 packet too: what comes of that is overwritten.
            let word = list[index].destinationWord
            if word != last || index == 0 {
                addresses[runs] = UInt32(bigEndian: word)
                starts[runs] = UInt32(truncatingIfNeeded: index)
                runs &+= 1
                last = word
            }
            index &+= 1
        }
        unsafe cdpdk_fib_lookup(
            fib, addresses.unsafePointer(at: 0), hops.unsafePointer(at: 0), UInt32(truncatingIfNeeded: runs))
        // Each packet gets the hop of its run; from the last on, as no run begins before its own place. Where each is a
        // run, it has it.
        while runs > 0 && runs < index {
            runs &-= 1
            let start = Int(starts[runs])
            hops.fill(with: hops[runs], from: start, to: index)
            index = start
        }
        if inside.count6 > 0 { lookUpRoutes6() }
    }

    /// Deals with what stays inside, and lists what crosses the boundary.
    @inline(__always)
    private mutating func sortByRoute() {
        policies.removeAll()
        let list = inside.view, routes = self.routes, hops = self.hops.unownedView
        var way = Way()
        var index = 0
        while index < list.count {
            let hop = hops[index], route = routes[Int(hop)], first = index
            // Packets that follow each other by one route are one piece: to look at the route of each, and to list each
            // alone, was twice as long.
            if route.kind == .none || route.kind == .unprotected {
                repeat { index &+= 1 } while index < list.count && hops[index] == hop
                policies.append(from: first, to: index)
            } else if route.kind == .protected {
                index = forward(list, from: index, hop, route, &way)
            } else if route.kind == .local {
                deliver(list[index], route)
                index &+= 1
            } else {
                drop(list[index].mbuf, .martian)
                index &+= 1
            }
        }
    }

    /// Sends the packets of the list inside from `first` on that follow each other by one route to one neighbour: what
    /// is the same for all of them is asked once. Returns where the next one is.
    @inline(__always)
    private mutating func forward(
        _ list: PacketSlotsView, from first: Int, _ hop: UInt64, _ route: RouteEntry, _ way: inout Way
    ) -> Int {
        let neighbor = Int(route.gateway), hops = self.hops.unownedView
        if route.gateway != RouteEntry.onLink, way.neighbor != neighbor || way.changes != neighbors.changes {
            way = self.way(to: neighbor)
        }
        // Who is on the link is a neighbour of its own for each destination.
        guard route.gateway != RouteEntry.onLink, way.isOpen else {
            forward(list, at: first, route, &way)
            return first &+ 1
        }
        let port = way.port, headerFirst = way.headerFirst, headerLast = way.headerLast
        let mtu = ports[Int(route.port)].mtu, room = queues[port].room
        let end = min(list.count, first &+ room.count)
        var index = first, octets = 0
        while index < end, hops[index] == hop, !list[index].isIPv6, list[index].ingress != PacketSlot.originated {
            // Read before the hop is taken: behind that store all of it would be read and checked again.
            let mbuf = list[index].mbuf, ip = list[index].ip, offset = mbuf.offset
            guard ip.count <= mtu, offset >= EthernetHeader.octets, Worker.takesHop(ip) else { break }
            let frame = mbuf.setFrame(around: ip.count, at: offset)
            frame.store(headerFirst, at: 0)
            frame.store(headerLast, at: 6)
            room.put(mbuf, at: index &- first)
            octets &+= ip.count &+ EthernetHeader.octets
            index &+= 1
        }
        guard index > first else {
            forward(list, at: first, route, &way)
            return first &+ 1
        }
        queues[port].extend(by: index &- first)
        queues.octets[port] &+= octets
        return index
    }

    /// The SPD's verdict on each run of packets that cross.
    @inline(__always)
    private mutating func cross() {
        var run = 0
        while run < policies.runs {
            let result = policies.verdict(run)
            let start = policies.start(run), end = policies.start(run &+ 1)
            if result.action == .protect {
                protect(from: start, to: end, tunnels[result.tunnel])
            } else {
                cross(from: start, to: end, result)
            }
            run &+= 1
        }
    }

    /// Those that cross in clear, or not at all.
    @inline(never)
    private mutating func cross(from start: Int, to end: Int, _ result: PolicyResult) {
        var way = Way()
        for index in start..<end {
            let position = Int(policies.positions[index])
            switch result.action {
            case .bypass: forward(inside.view, at: position, routes[Int(hops[position])], &way)
            case .discard, .protect: drop(inside[position].mbuf, .policyDiscard)
            case nil: crossWithoutPolicy(inside[position], routes[Int(hops[position])])
            }
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

    /// Puts a run of packets into the outbound burst. What the tunnel says is asked once for all of them.
    @inline(__always)
    private mutating func protect(from start: Int, to end: Int, _ tunnel: TunnelEntry) {
        guard Int(tunnel.owner) == self.index, let association = tunnel.outbound, tunnel.nextHop != RouteEntry.onLink
        else { return refuse(from: start, to: end, tunnel) }
        association.fetch(line: 0)
        association.fetch(line: 1)
        // None is plain where segments are clamped.
        let plainLimit = tunnel.flags.contains(.clampsMSS) ? 0 : Int(tunnel.innerMTU)
        let offloads = tunnel.flags.contains(.offloadsOutbound)
        let device = offloads ? deviceHandle(tunnel, association) : 0
        let asksEach = offloads && device == 0
        let list = inside.view, positions = policies.positions.unownedView
        // Smaller ones are never too big for a path. Once for all: only the first of a tenth says something.
        var index = start, noteAbove = Worker.leastPathMTU.v4 / 2
        while index < end {
            let position = Int(positions[index])
            let mbuf = list[position].mbuf, ip = list[position].ip
            index &+= 1
            if list[position].isIPv6 || list[position].ingress == PacketSlot.originated || ip.count > plainLimit
                || !Worker.takesHop(ip)
            {
                protectOther(list[position], tunnel, association)
                continue
            }
            if ip.count > noteAbove {
                association.with { $0.noteSending(tenth: tenth) }
                noteAbove = .max
            }
            let handle = asksEach ? handleUnlessHindered(list[position], tunnel, association) : device
            append(mbuf, length: ip.count, tunnel.nextHop, association, handle)
        }
    }

    /// A run whose tunnel does not send, or not here: then all of it goes to where that is, in one piece.
    @inline(never)
    private mutating func refuse(from start: Int, to end: Int, _ tunnel: TunnelEntry) {
        if Int(tunnel.owner) != self.index {
            for index in start..<end { handed.append(inside[Int(policies.positions[index])].mbuf) }
            return hand(to: rings[Int(tunnel.owner)].inside)
        }
        for index in start..<end {
            let slot = inside[Int(policies.positions[index])]
            if tunnel.outbound == nil {
                drop(slot.mbuf, tunnel.refusal)
            } else if takeHop(slot) {
                drop(slot.mbuf, .noRoute)
            }
        }
    }

    /// A packet that is not the plain case: IPv6, our own, to be clamped, too large, or at its last hop.
    @inline(never)
    private mutating func protectOther(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference
    ) {
        guard takeHop(slot) else { return }
        if tunnel.flags.contains(.clampsMSS) { Worker.clampSegments(slot.ip, innerMTU: Int(tunnel.innerMTU)) }
        guard slot.ip.count <= Int(tunnel.innerMTU) else { return protectCut(slot, tunnel, association) }
        if slot.ip.count > Worker.leastPathMTU.v4 / 2 { association.with { $0.noteSending(tenth: tenth) } }
        let handle = tunnel.flags.contains(.offloadsOutbound) ? deviceHandle(slot, tunnel, association) : 0
        append(slot.mbuf, length: slot.ip.count, tunnel.nextHop, association, handle)
    }

    /// RFC 1812 5.3.1: one hop less; false, and nothing done, when none is left.
    @inline(__always)
    private static func takesHop(_ ip: PacketBytes) -> Bool {
        guard let header = IPv4Header(ip), header.timeToLive > 1 else { return false }
        header.decrementTimeToLive()
        return true
    }

    @inline(__always)
    private mutating func append(
        _ mbuf: Mbuf, length: Int, _ nextHop: UInt32, _ association: OutboundAssociationReference, _ handle: UInt64
    ) {
        // Only pieces of packets make more than a pass has.
        if outbound.count == outbound.capacity { protectEarly() }
        let number = outbound.count
        sending[number] = SendingESP(mbuf: mbuf, handle: handle, nextHop: nextHop)
        outbound.append(
            buffer: mbuf.buffer, offset: mbuf.offset, length: length, association: association, tag: number,
            isInline: handle != 0)
    }

    /// RFC 4301 8.1, RFC 4303 3.3.4: what is too large is cut before it is protected, if it may be, so that the peer
    /// need not put ESP together.
    @inline(never)
    private mutating func protectCut(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference
    ) {
        let mtu = Int(tunnel.innerMTU), isTransport = tunnel.flags.contains(.isTransport)
        if Worker.goesInOuterFragments(slot, isTransport: isTransport) {
            return protectThenCut(slot, tunnel, association)
        }
        guard !isTransport else { return refuseTooBig(slot, mtu: mtu) }
        association.with { $0.noteSending(tenth: tenth) }
        let handle = tunnel.flags.contains(.offloadsOutbound) ? deviceHandle(slot, tunnel, association) : 0
        cut(slot, mtu: mtu) { worker, piece in
            worker.append(piece, length: piece.length, tunnel.nextHop, association, handle)
        }
    }

    /// Protects and sends what the burst has so far.
    @inline(never)
    mutating func protectEarly() { protect() }

    /// Header pass, crypto pass, and on to the next hop.
    @inline(__always)
    private mutating func protect() {
        if isObserved { showUnprotected() }
        outbound.prepare()
        crypto.submit(outbound)
        _ = crypto.collect()
        outbound.finish()
        var way = Way()
        var index = 0
        while index < outbound.count {
            if let failure = outbound[index].failure {
                drop(sending[index].mbuf, failure)
                index &+= 1
            } else if outbound[index].isInline {
                index = transmitInline(from: index, &way)
            } else {
                index = transmitProtected(from: index, &way)
            }
        }
        outbound.removeAll()
    }

    /// Sends the packets of the outbound burst from `first` on that follow each other to one neighbour, ready for the
    /// wire: what is the same for all of them is asked once. Returns where the next one is.
    @inline(__always)
    private mutating func transmitProtected(from first: Int, _ way: inout Way) -> Int {
        let sending = self.sending.unownedView
        let hop = sending[first].nextHop
        if way.neighbor != Int(hop) || way.changes != neighbors.changes { way = self.way(to: Int(hop)) }
        let port = way.port, headerFirst = way.headerFirst, headerLast = way.headerLast
        guard way.isOpen else { return transmitAlone(first) }
        let room = queues[port].room
        let end = min(outbound.count, first &+ room.count)
        var index = first, octets = 0
        while index < end, sending[index].handle == 0, sending[index].nextHop == hop, outbound[index].failure == nil,
            outbound[index].offset >= EthernetHeader.octets
        {
            let mbuf = sending[index].mbuf
            let length = outbound[index].length
            let frame = mbuf.setFrame(around: length, at: outbound[index].offset)
            frame.store(headerFirst, at: 0)
            frame.store(headerLast, at: 6)
            room.put(mbuf, at: index &- first)
            octets &+= length &+ EthernetHeader.octets
            index &+= 1
        }
        guard index > first else { return transmitAlone(first) }
        queues[port].extend(by: index &- first)
        queues.octets[port] &+= octets
        return index
    }

    /// The same for a packet that has to wait for its neighbour, is tagged, or finds the queue full.
    @inline(never)
    private mutating func transmitAlone(_ number: Int) -> Int {
        let mbuf = sending[number].mbuf
        mbuf.setPacket(offset: outbound[number].offset, length: outbound[number].length)
        transmit(mbuf, neighbor: Int(sending[number].nextHop))
        return number &+ 1
    }

    /// A packet of the list inside, in clear to a port: to the protected side, or with a verdict of the SPD that allows
    /// it. The plain case is read where it lies: a sixth of this pass was spent waiting for copies of whole slots.
    @inline(__always)
    private mutating func forward(
        _ list: PacketSlotsView, at position: Int, _ route: RouteEntry, _ way: inout Way
    ) {
        let mbuf = list[position].mbuf, ip = list[position].ip
        guard !list[position].isIPv6, list[position].ingress != PacketSlot.originated,
            route.kind == .protected || route.kind == .unprotected, ip.count <= ports[Int(route.port)].mtu,
            Worker.takesHop(ip)
        else { return forward(list[position], route) }
        var neighbor = Int(route.gateway)
        if route.gateway == RouteEntry.onLink {
            let key = NeighborKey(port: route.port, address: ip.uint32(at: IPv4Header.Offset.destination))
            guard let found = neighbors.findOrInsert(key) else { return drop(mbuf, .neighborUnresolved) }
            neighbor = found
        }
        transmit(mbuf, offset: mbuf.offset, length: ip.count, neighbor: neighbor, &way)
    }

    /// The same for any packet.
    @inline(never)
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
    private mutating func transmit(_ mbuf: Mbuf, _ slot: PacketSlot, _ route: RouteEntry) {
        if route.gateway != RouteEntry.onLink { return transmit(mbuf, neighbor: Int(route.gateway)) }
        let key =
            slot.isIPv6
            ? NeighborKey(port: route.port, bits: Worker.destination6(slot))
            : NeighborKey(port: route.port, address: UInt32(bigEndian: slot.destinationWord))
        guard let neighbor = neighbors.findOrInsert(key) else { return drop(mbuf, .neighborUnresolved) }
        transmit(mbuf, neighbor: neighbor)
    }

    /// One hop less; false when none was left, and the packet has been dealt with. Our own take none.
    private mutating func takeHop(_ slot: PacketSlot) -> Bool {
        if slot.isIPv6 { return takeHop6(slot) }
        if slot.ingress == PacketSlot.originated || Worker.takesHop(slot.ip) { return true }
        originateError(about: slot, type: ICMPv4Message.Kind.timeExceeded, code: 0, mtu: 0)
        drop(slot.mbuf, .ttlExpired)
        return false
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
