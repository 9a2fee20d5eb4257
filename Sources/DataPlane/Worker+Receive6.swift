// Frames that are not the plain case: tagged ones (IEEE 802.1Q), and IPv6 (RFC 8200, RFC 2464).

import CDPDK
import IPsec
import Wire

/// An IPv6 address as it lies in a packet.
struct WireAddress6: BitwiseCopyable {
    var first: UInt64
    var second: UInt64
}

extension Worker {
    @inline(never)
    mutating func receiveOther(_ mbuf: Mbuf, _ received: EthernetHeader, _ port: Int) {
        var ethernet = received
        if ports[port].vlan != 0 {
            guard let inner = Worker.removeTag(mbuf, ports[port].vlan) else { return drop(mbuf, .notForUs) }
            ethernet = inner
        }
        switch ethernet.etherType {
        case EtherType.ipv4: receiveTagged(mbuf, ethernet, port)
        case EtherType.ipv6: receiveIPv6(mbuf, ethernet, port)
        case EtherType.arp:
            guard let packet = ARPPacket(ethernet.payload), packet.isIPv4OverEthernet else {
                return drop(mbuf, .malformed)
            }
            guard isForUs(ethernet.destination, port) else { return drop(mbuf, .notForUs) }
            passRound(mbuf, port)
        case EtherType.vlan: drop(mbuf, .notForUs)
        default: drop(mbuf, .unsupportedEthertype)
        }
    }

    /// Takes a frame's tag off; nil when it has none, or another VLAN's. Priorities say nothing to us.
    private static func removeTag(_ mbuf: Mbuf, _ vlan: UInt16) -> EthernetHeader? {
        guard let tag = VLANTag(frame: mbuf.bytes), tag.vlan == vlan else { return nil }
        let rest = VLANTag.remove(from: mbuf.bytes)
        mbuf.setPacket(offset: mbuf.offset &+ VLANTag.octets, length: rest.count)
        return EthernetHeader(rest)
    }

    /// Puts a tag into a frame; false when there is no room in front of it.
    @inline(never)
    static func addTag(_ mbuf: Mbuf, _ vlan: UInt16) -> Bool {
        let offset = mbuf.offset &- VLANTag.octets
        guard offset >= 0, mbuf.length >= EthernetHeader.octets else { return false }
        mbuf.setPacket(offset: offset, length: mbuf.length &+ VLANTag.octets)
        VLANTag(vlan: vlan).insert(into: mbuf.bytes)
        return true
    }

    private mutating func receiveTagged(_ mbuf: Mbuf, _ ethernet: EthernetHeader, _ port: Int) {
        var accepted = AcceptedFront()
        guard let ip = acceptIPv4(mbuf, ethernet, port, &accepted) else { return }
        if ports[port].isProtected {
            inside.append(PacketSlot(mbuf: mbuf, ip: ip, ingress: UInt16(truncatingIfNeeded: port)))
        } else {
            sortOutside(mbuf, ip, port)
        }
    }

    /// All workers must learn what a frame says of neighbours: it starts its round at the first of them.
    private mutating func passRound(_ mbuf: Mbuf, _ port: Int) {
        if index == 0 { receiveDiscovery(mbuf, port) } else { hand(mbuf, to: rings[0].discovery) }
    }

    /// 1. Header and chain of extension headers. RFC 5095: routing headers of type 0 are gone.
    /// 2. Is it for us? Is it between neighbours?
    /// 3. Then as IPv4.
    @inline(never)
    mutating func receiveIPv6(_ mbuf: Mbuf, _ ethernet: EthernetHeader, _ port: Int) {
        guard let whole = IPv6Header(ethernet.payload), whole.isWellFormed,
            let header = IPv6Header(whole.bytes.prefix(whole.totalLength)), let upper = header.walk(),
            !upper.hasRoutingType0
        else { return drop(mbuf, .malformed) }
        guard isForUs(ethernet.destination, port) || isJoined(ethernet.destination, port) else {
            return drop(mbuf, .notForUs)
        }
        if isDiscovery(header, upper, port) {
            // RFC 4861 7.1: a packet that a router sent on has less, and fragments are not looked at (RFC 6980).
            guard header.hopLimit == NeighborDiscovery.hopLimit, !upper.hasFragmentHeader else {
                return drop(mbuf, .malformed)
            }
            return passRound(mbuf, port)
        }
        guard !isMartian(header) else { return drop(mbuf, .martian) }
        mbuf.setPacket(offset: mbuf.offset &+ EthernetHeader.octets, length: header.bytes.count)
        if Worker.isLinkLocal(header.source) || Worker.isLinkLocal(header.destination) {
            return serveLink(mbuf, header, upper, port)
        }
        if ports[port].isProtected {
            inside.append(
                PacketSlot(ipv6: mbuf, ip: header.bytes, ingress: UInt16(truncatingIfNeeded: port)),
                key: PacketSlot.flowKey(of: header, upper))
        } else {
            sortOutside(mbuf, header, upper, port)
        }
    }

    /// What another worker passed on, which has looked at it already.
    mutating func takeInside6(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: UInt16) {
        guard let header = IPv6Header(ip), let upper = header.walk() else { return drop(mbuf, .malformed) }
        inside.append(PacketSlot(ipv6: mbuf, ip: ip, ingress: port), key: PacketSlot.flowKey(of: header, upper))
    }

    /// Likewise.
    mutating func sortOutside6(_ mbuf: Mbuf, _ ip: PacketBytes, _ port: Int) {
        guard let header = IPv6Header(ip), let upper = header.walk() else { return drop(mbuf, .malformed) }
        sortOutside(mbuf, header, upper, port)
    }

    /// Whether a multicast frame is for a group that the port is in.
    private mutating func isJoined(_ destination: MACAddress, _ port: Int) -> Bool {
        let linkLocal = ports[port].linkLocal
        guard linkLocal != 0 else { return false }
        if destination == .allNodes || destination == .solicitedNode(of: linkLocal) { return true }
        var index = 0
        while index < own6.count {
            if Int(own6[index].port) == port && destination == .solicitedNode(of: own6[index].address) {
                return true
            }
            index &+= 1
        }
        return false
    }

    /// Whether a packet is a solicitation or an advertisement for this link; one for somebody else is like any packet.
    private mutating func isDiscovery(_ header: IPv6Header, _ upper: IPv6Upper, _ port: Int) -> Bool {
        guard upper.upperProtocol == IPProtocol.icmpv6, !upper.isLaterFragment, upper.offset < header.bytes.count else {
            return false
        }
        let type = header.bytes.uint8(at: upper.offset), destination = header.destination
        guard type == ICMPv6Message.Kind.neighborSolicitation || type == ICMPv6Message.Kind.neighborAdvertisement
        else { return false }
        return NeighborDiscovery.isMulticast(destination) || Worker.isLinkLocal(destination) || isOwn(destination)
    }

    @inline(__always)
    static func isLinkLocal(_ address: UInt128) -> Bool { address >> 118 == 0xfe80 >> 6 }

    /// RFC 4291 2.5 and 2.7: addresses that no packet on a link may carry as its source, or as the destination of what
    /// we forward; and our own as a source. Multicast is not forwarded.
    mutating func isMartian(_ header: IPv6Header) -> Bool {
        let source = header.source, destination = header.destination
        if NeighborDiscovery.isMulticast(source) || NeighborDiscovery.isMulticast(destination) { return true }
        // ::, ::1 and IPv4-mapped addresses, which mean something inside of a host only.
        if source <= 1 || destination <= 1 || source >> 32 == 0xffff || destination >> 32 == 0xffff { return true }
        return ownFilter6 & Worker.filterBit(source) != 0 && isOwn(source)
    }

    /// Whether an address is one of the gateway's that the route table knows.
    mutating func isOwn(_ address: UInt128) -> Bool { route(address).kind == .local }

    /// One address in the IPv6 route table.
    @inline(never)
    mutating func route(_ address: UInt128) -> RouteEntry {
        guard let fib6 = unsafe fib6 else { return .nowhere }
        var octets = address.bigEndian
        var hop: UInt64 = 0
        unsafe cdpdk_fib6_lookup(fib6, &octets, &hop, 1)
        return routes[Int(hop)]
    }
}
