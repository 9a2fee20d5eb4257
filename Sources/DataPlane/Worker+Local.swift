// What is for the gateway itself, and the ICMP errors it sends. RFC 1122 section 3.2.2, RFC 1812 section 4.3.

import CDPDK
import IPsec
import Wire

extension Worker {
    /// A packet for an own address that came from inside, through a tunnel, or by a bypass policy: its answer goes
    /// through the route table and the SPD like any packet.
    @inline(never)
    mutating func deliver(_ slot: PacketSlot, _ route: RouteEntry) {
        guard ports[Int(route.port)].localServices,
            slot.isIPv6 ? Worker.isEchoRequest6(slot) : Worker.isEchoRequest(slot)
        else { return punt(slot.mbuf, slot.ip) }
        if slot.isIPv6 {
            answerEcho6(slot, answersPort: PacketSlot.noPort)
        } else {
            answerEcho(slot, answersPort: PacketSlot.noPort)
        }
    }

    /// Clear text from the unprotected side that no policy covers: echo for the port's own address, and nothing else.
    ///
    /// Its source must be out there too: the answer to a forged question would carry a stranger's data to the inside.
    @inline(never)
    mutating func serveOutside(_ slot: PacketSlot) {
        let route = route(UInt32(bigEndian: slot.destinationWord))
        guard route.kind != .broadcast else { return drop(slot.mbuf, .martian) }
        let back = self.route(slot.ip.uint32(at: IPv4Header.Offset.source))
        guard route.kind == .local, route.port == slot.ingress, ports[Int(route.port)].localServices,
            back.kind == .unprotected, back.port == slot.ingress, Worker.isEchoRequest(slot)
        else { return drop(slot.mbuf, .noPolicy) }
        answerEcho(slot, answersPort: slot.ingress)
    }

    private static func isEchoRequest(_ slot: PacketSlot) -> Bool {
        guard let header = IPv4Header(slot.ip), header.ipProtocol == IPProtocol.icmp, !header.isFragment,
            let message = ICMPv4Message(slot.ip.dropFirst(header.headerLength))
        else { return false }
        return message.type == ICMPv4Message.Kind.echoRequest && message.code == 0 && message.isIntact
    }

    /// Turns the question into the answer where it lies: one packet consumed, one originated.
    private mutating func answerEcho(_ slot: PacketSlot, answersPort: UInt16) {
        guard echoAnswers.take(now: now), originated.count < originated.capacity, let header = IPv4Header(slot.ip)
        else {
            return drop(slot.mbuf, .rateLimited)
        }
        let (source, destination) = (header.source, header.destination)
        ICMPv4Message(slot.ip.dropFirst(header.headerLength))?.becomeEchoReply()
        // Options stay: an echo reply returns them (RFC 1122 3.2.2.6). The checksum is made anew over all of it.
        let bytes = slot.ip
        bytes.store(destination, at: IPv4Header.Offset.source)
        bytes.store(source, at: IPv4Header.Offset.destination)
        bytes.store(UInt8(64), at: IPv4Header.Offset.timeToLive)
        bytes.store(UInt16(0), at: IPv4Header.Offset.checksum)
        bytes.store(
            word: ~InternetChecksum.sum(bytes.prefix(header.headerLength)), at: IPv4Header.Offset.checksum)
        block.add(1, to: .consumed)
        originate(slot.mbuf, bytes, answersPort: answersPort)
    }

    /// Gives a packet of our own to the next pass.
    mutating func originate(_ mbuf: Mbuf, _ ip: PacketBytes, answersPort: UInt16) {
        block.add(1, to: .originated)
        // Another worker that gets it must know that it is ours.
        mbuf.port = Mbuf.originatedPort
        var slot = PacketSlot(mbuf: mbuf, ip: ip, ingress: PacketSlot.originated)
        slot.answersPort = answersPort
        originated.append(slot)
    }

    /// Tells a packet's sender why it will be dropped; at most so often, and never about an error, a later fragment, a
    /// packet of our own, or a source that is no host (RFC 1122 section 3.2.2).
    @inline(never)
    mutating func originateError(about slot: PacketSlot, type: UInt8, code: UInt8, mtu: UInt16) {
        guard slot.ingress != PacketSlot.originated, let cause = IPv4Header(slot.ip), !cause.isLaterFragment,
            !Worker.tellsOfError(cause), originated.count < originated.capacity
        else { return }
        let from = sourceOfError(slot)
        guard from != 0, errorMessages.take(now: now), let mbuf = pool.allocate() else { return }
        let quote = min(slot.ip.count, ICMPv4Message.quoteLimitOctets)
        let total = IPv4Header.minimumOctets + ICMPv4Message.headerOctets + quote
        guard mbuf.offset + total <= mbuf.buffer.count else { return mbuf.free() }
        mbuf.setPacket(offset: mbuf.offset, length: total)
        mbuf.timestamp = slot.mbuf.timestamp
        let bytes = mbuf.bytes
        bytes.copy(slot.ip, count: quote, to: total - quote)
        IPv4Header(bytes)?.emit(
            typeOfService: 0xc0, totalLength: total, timeToLive: 64, ipProtocol: IPProtocol.icmp, source: from,
            destination: cause.source)  // RFC 1812 4.3.2.5: precedence 6
        ICMPv4Message(bytes.dropFirst(IPv4Header.minimumOctets))?.emitError(type: type, code: code, nextHopMTU: mtu)
        originate(mbuf, bytes, answersPort: PacketSlot.noPort)
    }

    private static func tellsOfError(_ header: IPv4Header) -> Bool {
        guard header.ipProtocol == IPProtocol.icmp,
            let message = ICMPv4Message(header.bytes.dropFirst(header.headerLength))
        else { return false }
        return ICMPv4Message.Kind.isError(message.type)
    }

    /// The address of the port the cause came in by; for what came through a tunnel, one that the tunnel covers.
    private mutating func sourceOfError(_ slot: PacketSlot) -> UInt32 {
        if slot.tunnel != PacketSlot.noTunnel { return tunnels[Int(slot.tunnel)].ownAddress }
        return ports[Int(slot.ingress)].address
    }
}
