// From the unprotected side. RFC 4301 section 5.2: ESP for us is opened and held against its SA's selectors; everything
// else is clear text, which needs a bypass policy to come in.

import CDPDK
import ESP
import IPsec
import Wire

/// What is remembered of an ESP packet while it is in the inbound burst.
struct ReceivedESP: BitwiseCopyable {
    var mbuf: Mbuf
    /// Where the IP packet that it came in starts in the buffer.
    var outer: UInt32
    var spi: UInt32
    /// Index of the tunnel whose selectors hold for the inner packet.
    var tunnel: UInt32
    var port: UInt16
    /// Of the outer header.
    var typeOfService: UInt8
    /// Whether it is AH and not ESP.
    var isAuthentication: Bool
}

extension Worker {
    /// Puts a packet into the inbound burst or the clear-text list.
    @inline(__always)
    mutating func sortOutside(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        let ipProtocol = ip.uint8(at: IPv4Header.Offset.ipProtocol)
        if ipProtocol == IPProtocol.esp {
            receiveESP(mbuf, ip, port)
        } else if ipProtocol == IPProtocol.ah {
            receiveAH(mbuf, ip, port)
        } else if ipProtocol == IPProtocol.udp && takesDatagrams && receiveDatagram(mbuf, ip, port) {
            return
        } else {
            outside.append(PacketSlot(mbuf: mbuf, ip: ip, ingress: UInt16(truncatingIfNeeded: port)))
        }
    }

    /// RFC 4301 4.1: the SA is found by SPI and destination; the outer source must be the peer's.
    @inline(__always)
    private mutating func receiveESP(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        let start = Int(ip.uint8(at: 0) & 0x0f) &* 4
        guard let header = IPv4Header(ip), !header.isFragment, start &+ ESPHeader.headerOctets <= ip.count else {
            return refuse(mbuf, ip, port)
        }
        take(mbuf, header, start, sad.find(ip.uint32(at: start)), isAuthentication: false, port)
    }

    /// The same for AH (RFC 4302 section 2), whose SPI comes after four octets.
    @inline(never)
    private mutating func receiveAH(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        let start = Int(ip.uint8(at: 0) & 0x0f) &* 4
        guard let header = IPv4Header(ip), !header.isFragment, start &+ AHHeader.fixedOctets <= ip.count
        else { return refuse(mbuf, ip, port) }
        take(mbuf, header, start, authentications.find(ip.uint32(at: start &+ 4)), isAuthentication: true, port)
    }

    @inline(__always)
    private mutating func take(
        _ mbuf: Mbuf, _ header: IPv4Header, _ start: Int, _ slot: SADSlot, isAuthentication: Bool, _ port: Int
    ) {
        guard let association = slot.association else { return refuse(mbuf, header.bytes, port) }
        let (isDestination, isSource, owner) = association.with {
            ($0.isDestination(of: header), $0.isSource(of: header), Int($0.owner))
        }
        guard isDestination else { return refuse(mbuf, header.bytes, port) }
        guard isSource else { return drop(mbuf, .tunnelAddressMismatch) }
        guard owner == index else { return hand(mbuf, to: rings[owner].outside) }
        let verdict = hasDevices ? judge(mbuf, slot, association, start: start, port) : .software
        guard verdict != .refused else { return }
        received[inbound.count] = ReceivedESP(
            mbuf: mbuf, outer: UInt32(truncatingIfNeeded: mbuf.offset), spi: slot.spi, tunnel: slot.tunnel,
            port: UInt16(truncatingIfNeeded: port), typeOfService: header.typeOfService,
            isAuthentication: isAuthentication)
        inbound.append(packet: header.bytes, start: start, association: association, tag: inbound.count)
        if verdict == .opened { inbound.setOpened() }
    }

    /// A UDP datagram from the unprotected side. False when it is clear text like any other.
    @inline(never)
    private mutating func receiveDatagram(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) -> Bool {
        guard let header = IPv4Header(ip), isOwn(header.destination) else { return false }
        guard !header.isFragment else {
            gather(mbuf, port)
            return true
        }
        return takeDatagram(mbuf, ip, header.headerLength, port)
    }

    /// ESP or AH that is for none of our SAs: for us and wrong, or on its way elsewhere and so clear text to us.
    @inline(never)
    private mutating func refuse(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        guard let header = IPv4Header(ip) else { return drop(mbuf, .malformed) }
        guard !mbuf.isOpened else { return drop(mbuf, .offloadFailed) }
        let isForUs = isOwn(header.destination)
        if header.isFragment && (isForUs || hasTransport) { return gather(mbuf, port) }
        guard isForUs else {
            return outside.append(PacketSlot(mbuf: mbuf, ip: ip, ingress: UInt16(truncatingIfNeeded: port)))
        }
        let isESP = header.ipProtocol == IPProtocol.esp
        let needed = isESP ? ESPHeader.headerOctets : AHHeader.fixedOctets
        drop(mbuf, ip.count < header.headerLength + needed ? .malformed : .unknownSPI)
    }

    /// Opens the inbound burst and passes what is authentic and allowed on to the inside.
    @inline(__always)
    mutating func openInbound() {
        decryptInbound()
        admitInbound()
    }

    @inline(__always)
    mutating func decryptInbound() {
        inbound.prepare()
        inbound.resynchronize(&crypto)
        crypto.submit(inbound)
        _ = crypto.collect()
        inbound.finish(now: now)
        if deviceFailures > 0 { judgeDevice() }
    }

    /// Passes on what the inbound burst let through.
    @inline(__always)
    mutating func admitInbound() {
        var index = 0
        while index < inbound.count {
            // Each field on its own: a copy of the whole packet waits for all that was written to it.
            let frame = received[inbound[index].tag]
            if inbound[index].movesPeer { tellPeerMoved(inbound[index], frame) }
            if let failure = inbound[index].failure {
                if failure == .ahead { hold(inbound[index], frame) } else { drop(frame.mbuf, failure) }
            } else if ahead.count > 0 && ahead.holds(tunnel: frame.tunnel) {
                hold(inbound[index], frame)
            } else if let refused = admit(inbound[index].bytes, at: inbound[index].offset, frame) {
                drop(frame.mbuf, refused)
            }
            index &+= 1
        }
        inbound.removeAll()
    }

    /// Passes an opened packet on to the inside, or says why not. `offset` is where `bytes` begin in the packet as it
    /// came.
    @inline(__always)
    mutating func admit(_ bytes: PacketBytes, at offset: Int, _ frame: ReceivedESP) -> DropReason? {
        bytes.uint8(at: 0) >> 4 == 6 ? admit6(bytes, at: offset, frame) : admit4(bytes, at: offset, frame)
    }

    /// 1. Is it an IPv4 packet? What is behind it is padding for traffic flow confidentiality (RFC 4303 2.7).
    /// 2. The outer congestion mark (RFC 6040 4.2).
    /// 3. Is it what its SA is for (RFC 4301 5.2, step 4)?
    @inline(__always)
    private mutating func admit4(_ bytes: PacketBytes, at offset: Int, _ frame: ReceivedESP) -> DropReason? {
        guard let header = IPv4Header(bytes), header.isWellFormed else { return .malformed }
        guard !isMartian(header) else { return .martian }
        if (frame.typeOfService ^ header.typeOfService) & 3 != 0 && !Worker.combineECN(header, frame.typeOfService & 3)
        {
            return .ecnViolation
        }
        let tunnel = tunnels[Int(frame.tunnel)]
        guard allows(tunnel, header) else { return .selectorMismatch }
        let ip = bytes.prefix(header.totalLength)
        if tunnel.flags.contains(.clampsMSS) { Worker.clampSegments(ip, innerMTU: Int(tunnel.innerMTU)) }
        frame.mbuf.setPacket(offset: Int(frame.outer) &+ offset, length: ip.count)
        var slot = PacketSlot(mbuf: frame.mbuf, ip: ip, ingress: frame.port)
        slot.tunnel = frame.tunnel
        inside.append(slot)
        return nil
    }

    /// Leaves the outer header's mark in the inner one. False when that can't be.
    @inline(never)
    private static func combineECN(_ inner: IPv4Header, _ outer: UInt8) -> Bool {
        guard let combined = combinedECN(inner: inner.typeOfService & 3, outer: outer) else { return false }
        if combined != inner.typeOfService & 3 { inner.setECN(combined) }
        return true
    }

    /// RFC 6040 4.2, figure 4. Nil when the outer mark says congestion and the inner packet can't carry that.
    @inline(__always)
    static func combinedECN(inner: UInt8, outer: UInt8) -> UInt8? {
        switch (inner, outer) {
        case (0, 3): nil
        case (0, _): 0
        case (_, 3): 3
        case (2, 1): 1
        default: inner
        }
    }

    /// Seen from outside: source in the remote subnets, destination in the local ones.
    @inline(__always)
    private mutating func allows(_ tunnel: TunnelEntry, _ header: IPv4Header) -> Bool {
        let local = Int(tunnel.firstSelector), remote = local &+ Int(tunnel.localSelectors)
        return contains(header.destination, local, Int(tunnel.localSelectors))
            && contains(header.source, remote, Int(tunnel.remoteSelectors))
    }

    @inline(__always)
    private mutating func contains(_ address: UInt32, _ first: Int, _ count: Int) -> Bool {
        var index = first
        while index < first &+ count {
            if selectors[index].contains(address) { return true }
            index &+= 1
        }
        return false
    }

    /// RFC 4301 5.2, step 3: clear text comes in only where a policy says bypass; and echo for a port's own address.
    @inline(never)
    mutating func admitOutside() {
        policies.removeAll()
        var index = 0
        while index < outside.count {
            policies.append(index)
            index &+= 1
        }
        policies.classify(outside, inboundPolicies, tunnels, worker: nil)
        var run = 0
        while run < policies.runs {
            let action = policies.verdict(run).action, end = policies.start(run &+ 1)
            index = policies.start(run)
            while index < end {
                admitOutside(index, action)
                index &+= 1
            }
            run &+= 1
        }
        outside.removeAll()
    }

    /// What becomes of one of them.
    private mutating func admitOutside(_ index: Int, _ action: PolicyResult.Action?) {
        let slot = outside[index]
        switch action {
        case .bypass where slot.isIPv6: inside.append(slot, key: outside.key6(index))
        case .bypass: inside.append(slot)
        case .discard: drop(slot.mbuf, .policyDiscard)
        case .protect: if !learnPathMTU(slot) && !puntKeyExchange(slot) { drop(slot.mbuf, .unprotected) }
        case nil where learnPathMTU(slot) || puntKeyExchange(slot): break
        case nil: if slot.isIPv6 { serveOutside6(slot) } else { serveOutside(slot) }
        }
    }
}
