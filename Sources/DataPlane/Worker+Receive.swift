import CDPDK
import ESP
import IPsec
import Wire

/// A packet on its way to the worker that owns its SA.
struct LeavingPacket: BitwiseCopyable {
    var mbuf: Mbuf
    /// Index of that worker.
    var owner: UInt16
}

/// What was found right of the packet before, as it lies there: of those that follow each other from one neighbour
/// between the same two addresses it is asked once, which saves most of 30 instructions a packet.
struct AcceptedFront: BitwiseCopyable {
    /// The first 8 octets of the frame: whom it is for, and a part of who it is from. At first the broadcast address,
    /// which is always for us.
    var ethernet = UInt64.max
    /// Source and destination that are no martians; 0, which is one, for none.
    var addresses: UInt64 = 0
}

extension Worker {
    /// Sorts a burst of frames by side. RFC 4301 section 5: what comes in by a protected port is on its way out.
    @inline(__always)
    mutating func receive(on port: Int) {
        block.add(frames.count, to: .received)
        block.add(frames.count, to: .rxPackets, port: port)
        var octets = 0
        var index = 0
        var accepted = AcceptedFront(), known = KnownAssociation()
        let isProtected = ports[port].isProtected, shortType = ports[port].shortType, frames = self.frames.view
        while index < frames.count {
            if index &+ 4 < frames.count { frames[index &+ 4].prefetchPacket() }
            if !isProtected && index &+ 2 < frames.count { fetchAssociation(frames[index &+ 2], after: known.slot.spi) }
            let mbuf = frames[index]
            octets &+= mbuf.length
            if let ip = accept(mbuf, port, shortType, &accepted) {
                if isProtected {
                    inside.append(PacketSlot(mbuf: mbuf, ip: ip, ingress: UInt16(truncatingIfNeeded: port)))
                } else if ip.uint8(at: IPv4Header.Offset.ipProtocol) == IPProtocol.esp {
                    receiveESP(mbuf, ip, port, &known)
                } else {
                    sortOutside(mbuf, ip, port)
                }
            }
            index &+= 1
        }
        block.add(octets, to: .rxOctets, port: port)
    }

    /// Fetches the SA of an ESP packet that comes soon, if it is not that of `spi`: with many SAs in random order it
    /// would be waited for. Of a packet that is something else nothing is believed.
    @inline(__always)
    private mutating func fetchAssociation(_ mbuf: Mbuf, after spi: UInt32) {
        let bytes = mbuf.bytes, start = EthernetHeader.octets &+ IPv4Header.minimumOctets
        guard start &+ ESPHeader.headerOctets <= bytes.count else { return }
        let next = bytes.uint32(at: start)
        guard next != spi, let association = sad.find(next).association else { return }
        association.fetch(line: 0)
    }

    /// The IPv4 packet of a frame, with its buffer holding nothing else; nil when the frame was something else or bad,
    /// and has been dealt with.
    @inline(__always)
    private mutating func accept(
        _ mbuf: Mbuf, _ port: Int, _ shortType: UInt32, _ accepted: inout AcceptedFront
    ) -> PacketBytes? {
        if mbuf.isChained && !mbuf.linearize() {
            drop(mbuf, .noBuffers)
            return nil
        }
        guard let ethernet = EthernetHeader(mbuf.bytes) else {
            drop(mbuf, .malformed)
            return nil
        }
        guard UInt32(ethernet.etherType) == shortType else {
            receiveOther(mbuf, ethernet, port)
            return nil
        }
        return acceptIPv4(mbuf, ethernet, port, &accepted)
    }

    /// `accepted` is what was found right of the packet before it.
    @inline(__always)
    mutating func acceptIPv4(
        _ mbuf: Mbuf, _ ethernet: EthernetHeader, _ port: Int, _ accepted: inout AcceptedFront
    ) -> PacketBytes? {
        guard let header = IPv4Header(ethernet.payload), header.isWellFormed else {
            drop(mbuf, .malformed)
            return nil
        }
        let front = ethernet.firstWord
        if front != accepted.ethernet {
            guard isForUs(ethernet.destination, port) else {
                drop(mbuf, .notForUs)
                return nil
            }
            accepted.ethernet = front
        }
        let addresses = header.bytes.word64(at: IPv4Header.Offset.source)
        if addresses != accepted.addresses || addresses == 0 {
            guard !isMartian(header) else {
                drop(mbuf, .martian)
                return nil
            }
            accepted.addresses = addresses
        }
        let ip = header.bytes.prefix(header.totalLength)
        mbuf.setPacket(offset: mbuf.offset &+ EthernetHeader.octets, length: ip.count)
        return ip
    }

    @inline(__always)
    mutating func isForUs(_ destination: MACAddress, _ port: Int) -> Bool {
        (destination.rawValue ^ ports[port].mac) & macMask == 0 || destination == .broadcast
    }

    /// RFC 1812 5.3.7: addresses that no packet on a link may carry; and our own as a source, which somebody forged.
    @inline(__always)
    mutating func isMartian(_ header: IPv4Header) -> Bool {
        let source = header.source, destination = header.destination
        let first = source >> 24, last = destination >> 24
        // 0/8 wraps round to the largest number; 224/4 and above are multicast and reserved.
        if first &- 1 >= 223 || last &- 1 >= 223 || first == 127 || last == 127 { return true }
        return ownFilter & Worker.filterBit(source) != 0 && isOwn(source)
    }

    /// Whether an address is one of the gateway's.
    @inline(never)
    mutating func isOwn(_ address: UInt32) -> Bool { route(address).kind == .local }

    /// One address in the route table, for the rare cases; bursts look theirs up together.
    @inline(never)
    mutating func route(_ address: UInt32) -> RouteEntry {
        var address = address
        var hop: UInt64 = 0
        unsafe cdpdk_fib_lookup(fib, &address, &hop, 1)
        return routes[Int(hop)]
    }

    /// Takes what other workers passed on.
    @inline(never)
    mutating func takeHandoffs() {
        frames.dequeue(rings[index].inside, limit: Worker.burst)
        takeEach(isOutside: false) { worker, mbuf, ip, port in worker.takeInside(mbuf, ip, port) }
        frames.dequeue(rings[index].outside, limit: Worker.burst)
        takeEach(isOutside: true) { worker, mbuf, ip, port in worker.takeOutside(mbuf, ip, port) }
        frames.dequeue(rings[index].discovery, limit: Worker.burst)
        block.add(frames.count, to: .takenOver)
        var taken = 0
        while taken < frames.count {
            receiveDiscovery(frames[taken], Int(portIndex(of: frames[taken])))
            taken &+= 1
        }
    }

    @inline(__always)
    mutating func takeInside(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: UInt16) {
        guard ip.uint8(at: 0) >> 4 == 4 else { return takeInside6(mbuf, ip, port) }
        inside.append(PacketSlot(mbuf: mbuf, ip: ip, ingress: port))
    }

    @inline(__always)
    mutating func takeOutside(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: UInt16) {
        guard ip.uint8(at: 0) >> 4 == 4 else { return sortOutside6(mbuf, ip, Int(port)) }
        sortOutside(mbuf, ip, Int(port))
    }

    @inline(__always)
    private mutating func takeEach(
        isOutside: Bool, _ take: (inout Worker, Mbuf, PacketBytes, UInt16) -> Void
    ) {
        guard frames.count > 0 else { return }
        hasWorked = true
        block.add(frames.count, to: .takenOver)
        if isObserved { return takeHandoffsObserved(isOutside: isOutside) }
        var taken = 0
        while taken < frames.count {
            let mbuf = frames[taken]
            take(&self, mbuf, mbuf.bytes, portIndex(of: mbuf))
            taken &+= 1
        }
        finishPass()
    }

    /// The same while somebody looks.
    @inline(never)
    private mutating func takeHandoffsObserved(isOutside: Bool) {
        let isTraced = observer?.plan.kind == .trace && mayTrace(frames.count)
        var taken = 0
        while taken < frames.count {
            let mbuf = frames[taken], port = portIndex(of: mbuf)
            taken &+= 1
            if isTraced {
                traceHandoff(mbuf, port, isOutside: isOutside)
            } else if isOutside {
                takeOutside(mbuf, mbuf.bytes, port)
            } else {
                takeInside(mbuf, mbuf.bytes, port)
            }
        }
        if !isTraced { finishObserved() }
    }

    /// Our index of the port that a buffer says it came in by.
    private mutating func portIndex(of mbuf: Mbuf) -> UInt16 {
        var index = 0
        while index < ports.count {
            if ports[index].id == mbuf.port { return UInt16(truncatingIfNeeded: index) }
            index &+= 1
        }
        return PacketSlot.originated
    }

    /// Lists a packet from outside whose SA is another worker's: at the end of the pass, all of a worker's go together.
    @inline(never)
    mutating func leave(_ mbuf: Mbuf, to owner: Int) {
        if leavingCount == leaving.count { sendLeaving() }
        leaving[leavingCount] = LeavingPacket(mbuf: mbuf, owner: UInt16(truncatingIfNeeded: owner))
        leavingCount &+= 1
    }

    /// Passes on those that are listed.
    @inline(never)
    mutating func sendLeaving() {
        while leavingCount > 0 {
            let owner = leaving[0].owner
            var kept = 0, index = 0
            while index < leavingCount {
                if leaving[index].owner == owner {
                    handed.append(leaving[index].mbuf)
                } else {
                    leaving[kept] = leaving[index]
                    kept &+= 1
                }
                index &+= 1
            }
            leavingCount = kept
            hand(to: rings[Int(owner)].outside)
        }
    }

    /// Passes a packet to the worker that reads `ring`.
    @inline(never)
    mutating func hand(_ mbuf: Mbuf, to ring: PacketRing) {
        handed.append(mbuf)
        hand(to: ring)
    }

    /// The same for those in `handed`.
    @inline(never)
    mutating func hand(to ring: PacketRing) {
        block.add(handed.enqueue(ring), to: .handedOver)
        var index = 0
        while index < handed.count {
            drop(handed[index], .handoffFull)
            index &+= 1
        }
        handed.removeAll()
    }
}
