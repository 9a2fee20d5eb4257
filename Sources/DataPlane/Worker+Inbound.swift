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

/// The SA of the ESP packet before, which those take too that follow it with the same SPI between the same two outer
/// addresses: to look for it and to hold the addresses against it for each took 25 instructions.
struct KnownAssociation: BitwiseCopyable {
    /// Outer source and destination, as they lie in the header.
    var addresses: UInt64 = 0
    /// Without an association for none.
    var slot = SADSlot(spi: 0, tunnel: 0, association: nil)
}

/// What was found out about the packet before: those that follow each other from one tunnel between the same two
/// addresses are held against martians and selectors once, which saves 50 of a packet's 180 instructions there.
struct AdmittedPair: BitwiseCopyable {
    /// Source and destination as they lie in the header; 0, which is martian, for none.
    var addresses: UInt64 = 0
    var tunnel: UInt32 = 0
    /// Of the tunnel: whether segments are clamped, and to what.
    var clamps = false
    var innerMTU = 0
}

extension Worker {
    /// Puts a packet into the inbound burst or the clear-text list.
    @inline(never)
    mutating func sortOutside(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        let ipProtocol = ip.uint8(at: IPv4Header.Offset.ipProtocol)
        if ipProtocol == IPProtocol.esp {
            var known = KnownAssociation()
            receiveESP(mbuf, ip, port, &known)
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
    mutating func receiveESP(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int, _ known: inout KnownAssociation) {
        let start = Int(ip.uint8(at: 0) & 0x0f) &* 4
        guard let header = IPv4Header(ip), !header.isFragment, start &+ ESPHeader.headerOctets <= ip.count else {
            return refuse(mbuf, ip, port)
        }
        let spi = ip.uint32(at: start), addresses = ip.word64(at: IPv4Header.Offset.source)
        if spi != known.slot.spi || addresses != known.addresses || known.slot.association == nil {
            known = KnownAssociation(addresses: addresses, slot: sad.find(spi))
            guard isOurs(mbuf, header, known.slot, port) else {
                known.slot.association = nil
                return
            }
            tunnels.fetch(Int(known.slot.tunnel))
        }
        guard let association = known.slot.association else { preconditionFailure("ours has an association") }
        take(mbuf, header, start, known.slot, association, isAuthentication: false, port)
    }

    /// The same for AH (RFC 4302 section 2), whose SPI comes after four octets.
    @inline(never)
    private mutating func receiveAH(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        let start = Int(ip.uint8(at: 0) & 0x0f) &* 4
        guard let header = IPv4Header(ip), !header.isFragment, start &+ AHHeader.fixedOctets <= ip.count
        else { return refuse(mbuf, ip, port) }
        let slot = authentications.find(ip.uint32(at: start &+ 4))
        guard isOurs(mbuf, header, slot, port), let association = slot.association else { return }
        take(mbuf, header, start, slot, association, isAuthentication: true, port)
    }

    /// Whether a packet is for the SA of `slot`, and that this worker's; if not, it has been dealt with.
    @inline(__always)
    private mutating func isOurs(_ mbuf: Mbuf, _ header: IPv4Header, _ slot: SADSlot, _ port: Int) -> Bool {
        guard let association = slot.association else {
            refuse(mbuf, header.bytes, port)
            return false
        }
        let (isDestination, isSource, owner) = association.with {
            ($0.isDestination(of: header), $0.isSource(of: header), Int($0.owner))
        }
        guard isDestination else {
            refuse(mbuf, header.bytes, port)
            return false
        }
        guard isSource else {
            drop(mbuf, .tunnelAddressMismatch)
            return false
        }
        guard owner == index else {
            leave(mbuf, to: owner)
            return false
        }
        return true
    }

    @inline(__always)
    private mutating func take(
        _ mbuf: Mbuf, _ header: IPv4Header, _ start: Int, _ slot: SADSlot, _ association: InboundAssociationReference,
        isAuthentication: Bool, _ port: Int
    ) {
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
        var known = AdmittedPair()
        while index < inbound.count {
            // Each field on its own: a copy of the whole packet waits for all that was written to it.
            let frame = received[inbound[index].tag]
            if inbound[index].movesPeer { tellPeerMoved(inbound[index], frame) }
            if let failure = inbound[index].failure {
                if failure == .ahead { hold(inbound[index], frame) } else { drop(frame.mbuf, failure) }
            } else if ahead.count > 0 && ahead.holds(tunnel: frame.tunnel) {
                hold(inbound[index], frame)
            } else if let refused = admit(inbound[index].bytes, at: inbound[index].offset, frame, &known) {
                drop(frame.mbuf, refused)
            }
            index &+= 1
        }
        inbound.removeAll()
    }

    /// Passes an opened packet on to the inside, or says why not. `offset` is where `bytes` begin in the packet as it
    /// came.
    @inline(__always)
    mutating func admit(
        _ bytes: PacketBytes, at offset: Int, _ frame: ReceivedESP, _ known: inout AdmittedPair
    ) -> DropReason? {
        bytes.uint8(at: 0) >> 4 == 6 ? admit6(bytes, at: offset, frame) : admit4(bytes, at: offset, frame, &known)
    }

    /// 1. Is it an IPv4 packet? What is behind it is padding for traffic flow confidentiality (RFC 4303 2.7).
    /// 2. Is it what its SA is for (RFC 4301 5.2, step 4)?
    /// 3. The outer congestion mark (RFC 6040 4.2).
    @inline(__always)
    private mutating func admit4(
        _ bytes: PacketBytes, at offset: Int, _ frame: ReceivedESP, _ known: inout AdmittedPair
    ) -> DropReason? {
        guard let header = IPv4Header(bytes), header.isWellFormed else { return .malformed }
        let addresses = bytes.word64(at: IPv4Header.Offset.source)
        if addresses != known.addresses || frame.tunnel != known.tunnel || addresses == 0 {
            if let refused = look(header, addresses, frame.tunnel, &known) { return refused }
        }
        if (frame.typeOfService ^ header.typeOfService) & 3 != 0 && !Worker.combineECN(header, frame.typeOfService & 3)
        {
            return .ecnViolation
        }
        let ip = bytes.prefix(header.totalLength)
        if known.clamps { Worker.clampSegments(ip, innerMTU: known.innerMTU) }
        frame.mbuf.setPacket(offset: Int(frame.outer) &+ offset, length: ip.count)
        var slot = PacketSlot(mbuf: frame.mbuf, ip: ip, ingress: frame.port)
        slot.tunnel = frame.tunnel
        inside.append(slot)
        return nil
    }

    /// The addresses of a packet that comes from elsewhere than the one before: nil when they may come from the tunnel.
    @inline(never)
    private mutating func look(
        _ header: IPv4Header, _ addresses: UInt64, _ number: UInt32, _ known: inout AdmittedPair
    ) -> DropReason? {
        guard !isMartian(header) else { return .martian }
        let tunnel = tunnels[Int(number)]
        guard allows(tunnel, header) else { return .selectorMismatch }
        known = AdmittedPair(
            addresses: addresses, tunnel: number, clamps: tunnel.flags.contains(.clampsMSS),
            innerMTU: Int(tunnel.innerMTU))
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
        policies.classify(outside, inboundPolicies, tunnels, lanes, worker: nil)
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
