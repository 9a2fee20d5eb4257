// Following packets one by one: a burst is taken apart, and each packet goes the whole way alone, by the same passes as
// always. What became of it is then plain to see from the worker's lists.

import CDPDK
import ESP
import IPsec
import Wire

/// Where the worker's lists stood before a packet.
private struct TraceStart {
    var mbuf: Mbuf
    var held: Int
    var ahead: Int
    var crossing: Int
    var fragments: Int
    var consumed: UInt64
    var originated: UInt64
}

/// What of an IP packet is compared with a request.
private struct ObservedHeader {
    var spi: UInt32 = 0
    var source: UInt128 = 0
    var destination: UInt128 = 0

    /// Of an IP packet; nil when it is none.
    init?(ip: PacketBytes) {
        guard ip.count > 0 else { return nil }
        let version = ip.uint8(at: 0) >> 4
        if version == 4, let header = IPv4Header(ip) {
            (source, destination) = (UInt128(header.source), UInt128(header.destination))
            if !header.isLaterFragment { spi = Self.spi(ip, header.ipProtocol, at: header.headerLength) }
        } else if version == 6, let header = IPv6Header(ip) {
            (source, destination) = (header.source, header.destination)
            spi = Self.spi(ip, ip.uint8(at: 6), at: IPv6Header.octets)
        } else {
            return nil
        }
    }

    /// Of a frame.
    init?(frame: PacketBytes) {
        guard let ethernet = EthernetHeader(frame) else { return nil }
        let isTagged = ethernet.etherType == EtherType.vlan && ethernet.payload.count >= 4
        self.init(ip: isTagged ? ethernet.payload.dropFirst(4) : ethernet.payload)
    }

    private static func spi(_ ip: PacketBytes, _ next: UInt8, at start: Int) -> UInt32 {
        let offset =
            switch next {
            case IPProtocol.esp: start
            case IPProtocol.ah: start + 4
            case IPProtocol.udp: start + 8
            default: Int.max - 4
            }
        guard offset <= ip.count - 4 else { return 0 }
        // In UDP only on its port, where a number of 0 is IKE's.
        if next == IPProtocol.udp {
            let port = UDPHeader.natTraversalPort
            guard ip.uint16(at: start) == port || ip.uint16(at: start + 2) == port else { return 0 }
        }
        return ip.uint32(at: offset)
    }

    func has(_ address: UInt128) -> Bool { source == address || destination == address }
}

extension Worker {
    /// Packets a second that are followed, so that who looks does not slow down who sends: beyond them packets go by in
    /// bursts.
    static let tracedPerSecond: UInt64 = 20_000

    /// Whether a burst of so many may be taken apart.
    mutating func mayTrace(_ count: Int) -> Bool {
        var index = 0
        while index < count {
            guard traces.take(now: now) else { return false }
            index &+= 1
        }
        return true
    }

    /// Takes the packets of a burst one by one.
    @inline(never)
    mutating func trace(on port: Int) {
        swap(&frames, &originals)
        var index = 0
        while index < originals.count {
            frames.removeAll()
            frames.append(originals[index])
            guard let start = beginTrace(frames[0]) else { return }
            note { $0.port = UInt16(truncatingIfNeeded: port) }
            if ports[port].isPunt { receivePunted(on: port) } else { receive(on: port) }
            finishTraced()
            endTrace(start)
            index &+= 1
        }
        originals.removeAll()
    }

    /// A packet that another worker passed on is the only one in its list.
    @inline(never)
    mutating func traceHandoff(_ mbuf: Mbuf, _ port: UInt16, isOutside: Bool) {
        guard let start = beginTrace(mbuf) else { return }
        note {
            $0.port = port
            $0.cameFromWorker = true
        }
        if isOutside { takeOutside(mbuf, mbuf.bytes, port) } else { takeInside(mbuf, mbuf.bytes, port) }
        finishTraced()
        endTrace(start)
    }

    private mutating func note(_ change: (inout ObservationRecord) -> Void) {
        guard let tracing else { return }
        var record = tracing.record
        change(&record)
        tracing.record = record
    }

    private mutating func beginTrace(_ mbuf: Mbuf) -> TraceStart? {
        guard let observer else { return nil }
        // So that nothing is released, and forgotten, before this packet's end is known.
        if dropped.count > dropped.capacity / 2 { releaseDropped() }
        showDropped()
        let slot = observer.next() ?? observer.spare
        var record = ObservationRecord()
        record.ticks = now
        record.receivedOctets = UInt32(mbuf.length)
        record.receivedCount = slot.keep(mbuf.bytes, in: 0)
        slot.record = record
        tracing = slot
        return TraceStart(
            mbuf: mbuf, held: heldCount, ahead: ahead.count, crossing: crossing, fragments: fragments.held,
            consumed: block.get(.consumed),
            originated: block.get(.originated))
    }

    /// As `finishPass`, with notes.
    private mutating func finishTraced() {
        if leavingCount > 0 { sendLeaving() }
        if inbound.count > 0 {
            noteAssociation()
            decryptInbound()
            noteOpened()
            admitInbound()
        }
        if outside.count > 0 {
            note { $0.askedInboundPolicies = true }
            admitOutside()
        }
        if inside.count > 0 {
            forwardInside()
            noteForwarded()
        }
        if originated.count > 0 {
            swap(&inside, &originated)
            forwardInside()
        }
    }

    private mutating func noteAssociation() {
        let packet = inbound[0], frame = received[packet.tag]
        let (highest, size) = packet.reference.with { ($0.window.highest, $0.window.size) }
        note {
            ($0.inboundSPI, $0.inboundTunnel) = (frame.spi, frame.tunnel)
            ($0.windowHighest, $0.windowSize) = (highest, size)
        }
    }

    private mutating func noteOpened() {
        let packet = inbound[0]
        var number = packet.number
        // The short way does not say it of what it refuses early.
        let offset = packet.offset &+ (received[packet.tag].isAuthentication ? 8 : 4)
        if number == 0 && packet.failure != nil && offset <= packet.bytes.count &- 4 {
            number = UInt64(packet.bytes.uint32(at: offset))
        }
        note { $0.number = number }
        guard packet.failure == nil || packet.failure == .ahead, let tracing else { return }
        let count = packet.failure == nil ? tracing.keep(packet.bytes, in: 1) : 0
        note {
            $0.innerOctets = packet.failure == nil ? UInt32(packet.bytes.count) : 0
            $0.innerCount = count
        }
    }

    /// Of the packet that was inside alone: what the passes have left in their arrays.
    private mutating func noteForwarded() {
        let route = routes[Int(hops[0])]
        let crossed = policies.count > 0 ? policies.verdict(0) : nil
        var hop = route.gateway
        if let crossed, crossed.action == .protect { hop = tunnels[crossed.tunnel].nextHop }
        let tunnel = crossed.map { $0.action == .protect ? lanes.tunnel(of: $0.tunnel) : 0 } ?? 0
        let bits = hop == RouteEntry.onLink ? 0 : neighbors.entries[Int(hop)].bits
        note {
            ($0.routeKind, $0.routePort) = (route.kind.rawValue + 1, route.port)
            $0.nextHopBits = bits
            guard let crossed else { return }
            $0.verdict = UInt8(truncatingIfNeeded: (crossed.action?.rawValue ?? 0) + 1)
            if crossed.action == .protect { $0.outboundTunnel = UInt32(tunnel) }
        }
    }

    /// Finds out how it ended, and passes the record on if it is wanted.
    private mutating func endTrace(_ start: TraceStart) {
        if !noteDrop(start.mbuf) && !noteSent(start.mbuf) {
            let fate: ObservationRecord.Fate =
                if crossing > start.crossing {
                    .waitsForDevice
                } else if heldCount > start.held {
                    .waitsForNeighbor
                } else if ahead.count > start.ahead {
                    .waitsForDisk
                } else if fragments.held > start.fragments {
                    .waitsForFragments
                } else if block.get(.consumed) > start.consumed {
                    .consumed
                } else if block.get(.originated) > start.originated {
                    .cut
                } else {
                    .handed
                }
            note { $0.fate = fate }
        }
        if let tracing { passOn(tracing) }
        tracing = nil
        showDropped()
    }

    private mutating func noteDrop(_ mbuf: Mbuf) -> Bool {
        while lookedAtDropped < dropped.count {
            let isIt = dropped[lookedAtDropped].isSame(as: mbuf), reason = reasons[lookedAtDropped]
            guard isIt else {
                // Of a packet that it brought about, or that it drove out.
                traceDropped(dropped[lookedAtDropped], reason)
                lookedAtDropped &+= 1
                continue
            }
            lookedAtDropped &+= 1
            note { ($0.fate, $0.reasonNumber) = (.dropped, reason.rawValue) }
            return true
        }
        return false
    }

    private mutating func noteSent(_ mbuf: Mbuf) -> Bool {
        var port = 0
        while port < ports.count {
            var index = queues[port].count
            while index > 0 {
                index &-= 1
                guard queues[port][index].isSame(as: mbuf), let tracing else { continue }
                let count = tracing.keep(mbuf.bytes, in: 2)
                note {
                    $0.fate = .sent
                    $0.outPort = UInt16(truncatingIfNeeded: port)
                    ($0.sentCount, $0.sentOctets) = (count, UInt32(mbuf.length))
                }
                return true
            }
            port &+= 1
        }
        return false
    }

    /// A packet whose way ended later than it was looked at, or that was made here.
    mutating func traceDropped(_ mbuf: Mbuf, _ reason: DropReason) {
        guard let observer else { return }
        let slot = observer.spare
        var record = ObservationRecord()
        record.hasBegun = false
        record.ticks = now
        (record.fate, record.reasonNumber) = (.dropped, reason.rawValue)
        record.innerOctets = UInt32(mbuf.length)
        record.innerCount = slot.keep(mbuf.bytes, in: 1)
        slot.record = record
        guard let place = observer.next(), tracing == nil else {
            if isWanted(slot) { observer.miss() }
            return
        }
        place.record = record
        _ = place.keep(slot.kept(Int(record.innerCount), in: 1), in: 1)
        passOn(place)
    }

    private mutating func passOn(_ slot: ObservationSlot) {
        guard let observer, isWanted(slot) else { return }
        // A record that lies where no reader comes.
        if observer.next() == nil { observer.miss() } else { observer.publish() }
    }

    private mutating func isWanted(_ slot: ObservationSlot) -> Bool {
        guard let plan = observer?.plan else { return false }
        let record = slot.record
        if plan.reason != .max && (record.fate != .dropped || record.reasonNumber != plan.reason) { return false }
        guard plan.spi != 0 || plan.hasAddress else { return true }
        let came = slot.kept(Int(record.receivedCount), in: 0)
        let received = record.cameFromWorker ? ObservedHeader(ip: came) : ObservedHeader(frame: came)
        let inner = ObservedHeader(ip: slot.kept(Int(record.innerCount), in: 1))
        let sent = ObservedHeader(frame: slot.kept(Int(record.sentCount), in: 2))
        if plan.spi != 0 && plan.spi != record.inboundSPI && plan.spi != received?.spi && plan.spi != inner?.spi
            && plan.spi != sent?.spi
        {
            return false
        }
        let address = plan.address
        return !plan.hasAddress || received?.has(address) == true || inner?.has(address) == true
            || sent?.has(address) == true
    }
}
