// What of the way out is different for IPv6. RFC 8200, RFC 4443 section 3.

import CDPDK
import IPsec
import Wire

extension Worker {
    /// Looks up the IPv6 packets among those inside; the routes of both families are in one list.
    @inline(never)
    mutating func lookUpRoutes6() {
        var count = 0
        var index = 0
        while index < inside.count {
            if inside[index].isIPv6 {
                let ip = inside[index].ip
                addresses6[count] = WireAddress6(
                    first: ip.word64(at: IPv6Header.Offset.destination),
                    second: ip.word64(at: IPv6Header.Offset.destination &+ 8))
                places6[count] = UInt32(truncatingIfNeeded: index)
                hops6[count] = 0
                count &+= 1
            }
            index &+= 1
        }
        if let fib6 = unsafe fib6 {
            unsafe cdpdk_fib6_lookup(
                fib6, addresses6.unsafePointer(at: 0), hops6.unsafePointer(at: 0), UInt32(truncatingIfNeeded: count))
        }
        index = 0
        while index < count {
            hops[Int(places6[index])] = hops6[index]
            index &+= 1
        }
    }

    @inline(never)
    static func destination6(_ slot: PacketSlot) -> UInt128 { IPv6Header(slot.ip)?.destination ?? 0 }

    /// RFC 8200 3: one hop less; false when none was left, and the packet has been dealt with. Our own take none.
    @inline(never)
    mutating func takeHop6(_ slot: PacketSlot) -> Bool {
        guard slot.ingress != PacketSlot.originated, let header = IPv6Header(slot.ip) else { return true }
        guard header.hopLimit > 1 else {
            originateError6(about: slot, type: ICMPv6Message.Kind.timeExceeded, code: 0, mtu: 0)
            drop(slot.mbuf, .ttlExpired)
            return false
        }
        header.decrementHopLimit()
        return true
    }

    /// RFC 8200 5, RFC 2473 7.1: no sender is asked for packets of less than 1280 octets; to who sends no more than
    /// that there is nothing to say. In tunnel mode such a packet goes out in outer fragments and never comes here.
    mutating func tellTooBig6(_ slot: PacketSlot, mtu: Int) {
        guard slot.ip.count > IPv6Header.minimumMTUOctets else { return }
        originateError6(
            about: slot, type: ICMPv6Message.Kind.packetTooBig, code: 0,
            mtu: UInt32(max(mtu, IPv6Header.minimumMTUOctets)))
    }
}
