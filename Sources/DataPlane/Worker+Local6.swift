// What is for the gateway itself over IPv6, and the ICMPv6 errors it sends. RFC 4443.

import CDPDK
import IPsec
import Wire

extension Worker {
    /// As `serveOutside`: echo for the port's own address, for a source that is out there too.
    @inline(never)
    mutating func serveOutside6(_ slot: PacketSlot) {
        guard let header = IPv6Header(slot.ip) else { return drop(slot.mbuf, .malformed) }
        let route = route(header.destination), back = self.route(header.source)
        guard route.kind == .local, route.port == slot.ingress, ports[Int(route.port)].localServices,
            back.kind == .unprotected, back.port == slot.ingress
        else { return drop(slot.mbuf, .noPolicy) }
        answerEcho6(slot, answersPort: slot.ingress)
    }

    /// To or from a link-local address, which never leaves its link: an echo request for the port is answered on it, to
    /// whom it came from, and everything else ends here.
    mutating func serveLink(_ mbuf: Mbuf, _ header: IPv6Header, _ upper: IPv6Upper, _ port: Int) {
        let source = header.source
        guard isOwn(header.destination, on: port), Worker.isLinkLocal(source), source != ports[port].linkLocal else {
            return drop(mbuf, .martian)
        }
        guard ports[port].localServices, let request = Worker.echoRequest(header, upper) else {
            return drop(mbuf, .noPolicy)
        }
        guard echoAnswers.take(now: now) else { return drop(mbuf, .rateLimited) }
        let key = NeighborKey(port: UInt16(truncatingIfNeeded: port), bits: source)
        guard let neighbor = neighbors.findOrInsert(key) else { return drop(mbuf, .neighborUnresolved) }
        _ = Worker.becomeEchoReply(mbuf, header, request, upper)
        block.add(1, to: .consumed)
        block.add(1, to: .originated)
        mbuf.port = Mbuf.originatedPort
        transmit(mbuf, neighbor: neighbor)
    }

    static func isEchoRequest6(_ slot: PacketSlot) -> Bool {
        guard let header = IPv6Header(slot.ip), let upper = header.walk() else { return false }
        return echoRequest(header, upper) != nil
    }

    /// Nil when it is anything else, or damaged.
    private static func echoRequest(_ header: IPv6Header, _ upper: IPv6Upper) -> ICMPv6Message? {
        guard upper.upperProtocol == IPProtocol.icmpv6, !upper.isFragment, upper.offset <= header.bytes.count,
            let message = ICMPv6Message(header.bytes.dropFirst(upper.offset)),
            message.type == ICMPv6Message.Kind.echoRequest, message.code == 0
        else { return nil }
        let length = header.bytes.count - upper.offset
        // The destination in the header is the final one, or this fails.
        let pseudoHeader = header.pseudoHeader(upperProtocol: IPProtocol.icmpv6, length: length)
        return message.isIntact(pseudoHeader: pseudoHeader) ? message : nil
    }

    /// Turns the question into the answer where it lies, without the question's extension headers. Returns it.
    private static func becomeEchoReply(
        _ mbuf: Mbuf, _ header: IPv6Header, _ request: ICMPv6Message, _ upper: IPv6Upper
    ) -> PacketBytes {
        let (source, destination, trafficClass) = (header.source, header.destination, header.trafficClass)
        let length = header.bytes.count - upper.offset, passed = upper.offset - IPv6Header.octets
        request.becomeEchoReply(
            pseudoHeader: header.pseudoHeader(upperProtocol: IPProtocol.icmpv6, length: length))
        mbuf.setPacket(offset: mbuf.offset + passed, length: IPv6Header.octets + length)
        let bytes = mbuf.bytes
        IPv6Header(bytes)?.emit(
            trafficClass: trafficClass, payloadLength: length, nextHeader: IPProtocol.icmpv6, hopLimit: 64,
            source: destination, destination: source)
        return bytes
    }

    /// Answers an echo request, and drops everything else: one packet consumed, one originated.
    mutating func answerEcho6(_ slot: PacketSlot, answersPort: UInt16) {
        guard let header = IPv6Header(slot.ip), let upper = header.walk(),
            let request = Worker.echoRequest(header, upper)
        else { return drop(slot.mbuf, .noPolicy) }
        guard echoAnswers.take(now: now), originated.count < originated.capacity else {
            return drop(slot.mbuf, .rateLimited)
        }
        let bytes = Worker.becomeEchoReply(slot.mbuf, header, request, upper)
        block.add(1, to: .consumed)
        originate6(slot.mbuf, bytes, answersPort: answersPort)
    }

    private mutating func originate6(_ mbuf: Mbuf, _ ip: PacketBytes, answersPort: UInt16) {
        guard let header = IPv6Header(ip), let upper = header.walk() else { return }
        block.add(1, to: .originated)
        mbuf.port = Mbuf.originatedPort
        var slot = PacketSlot(ipv6: mbuf, ip: ip, ingress: PacketSlot.originated)
        slot.answersPort = answersPort
        originated.append(slot, key: PacketSlot.flowKey(of: header, upper))
    }

    /// RFC 4443 2.4: tells a packet's sender why it will be dropped; at most so often, and never about an error, a
    /// redirect, what may be one (a later fragment), or a packet of our own. Its source and destination are hosts', or
    /// it would not have come here.
    @inline(never)
    mutating func originateError6(about slot: PacketSlot, type: UInt8, code: UInt8, mtu: UInt32) {
        guard slot.ingress != PacketSlot.originated, let cause = IPv6Header(slot.ip), let upper = cause.walk(),
            !Worker.tellsOfError(cause, upper), originated.count < originated.capacity
        else { return }
        let from =
            slot.tunnel != PacketSlot.noTunnel
            ? tunnels6[Int(slot.tunnel)].ownAddress : ports[Int(slot.ingress)].address6
        guard from != 0, errorMessages.take(now: now), let mbuf = pool.allocate() else { return }
        let quote = min(slot.ip.count, ICMPv6Message.quoteLimitOctets)
        let length = ICMPv6Message.headerOctets + quote, total = IPv6Header.octets + length
        guard mbuf.offset + total <= mbuf.buffer.count else { return mbuf.free() }
        mbuf.setPacket(offset: mbuf.offset, length: total)
        mbuf.timestamp = slot.mbuf.timestamp
        let bytes = mbuf.bytes
        bytes.copy(slot.ip, count: quote, to: total - quote)
        IPv6Header(bytes)?.emit(
            payloadLength: length, nextHeader: IPProtocol.icmpv6, hopLimit: 64, source: from,
            destination: cause.source)
        ICMPv6Message(bytes.dropFirst(IPv6Header.octets))?.emitError(
            type: type, code: code, mtu: mtu,
            pseudoHeader: IPv6Header(bytes)?.pseudoHeader(upperProtocol: IPProtocol.icmpv6, length: length) ?? 0)
        originate6(mbuf, bytes, answersPort: PacketSlot.noPort)
    }

    private static func tellsOfError(_ header: IPv6Header, _ upper: IPv6Upper) -> Bool {
        guard upper.upperProtocol == IPProtocol.icmpv6 else { return false }
        guard !upper.isLaterFragment, upper.offset < header.bytes.count else { return true }
        let type = header.bytes.uint8(at: upper.offset)
        return ICMPv6Message.Kind.isError(type) || type == 137
    }
}
