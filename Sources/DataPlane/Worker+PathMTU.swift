// Routers' word on how large packets to a peer may be. RFC 1191, RFC 8201, RFC 4301 section 8.2; how such a word is
// forged: RFC 5927 section 7.
//
// Believed is who quotes a packet that the gateway sent within the last second, and only downwards. What follows from
// it comes with the next tables.

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// The least that is believed of a path: what hosts take in one piece (RFC 791 section 3.1), and every IPv6 link.
    static let leastPathMTU = (v4: 576, v6: 1280)

    /// Whether a clear packet from the unprotected side is an ICMP error about a packet under one
    /// of our SAs; then it has been dealt with.
    @inline(never)
    mutating func learnPathMTU(_ slot: PacketSlot) -> Bool {
        guard let quote = Worker.quote(slot), let tunnel = find(quote) else { return false }
        let entry = tunnels[tunnel]
        guard entry.flags.contains(.learnsPathMTU), let outbound = entry.outbound else { return false }
        guard Int(entry.owner) == index else {
            hand(slot.mbuf, to: rings[Int(entry.owner)].outside)
            return true
        }
        let isOurs = outbound.with {
            Worker.matches($0, quote.protection) && $0.sentRecently(quote.sequenceNumber, tenth: tenth)
        }
        guard isOurs else { return false }
        guard pathMessages.take(now: now) else {
            drop(slot.mbuf, .rateLimited)
            return true
        }
        let least = quote.source.family == .v4 ? Worker.leastPathMTU.v4 : Worker.leastPathMTU.v6
        let (id, spi) = outbound.with { (Int($0.id), $0.spi) }
        _ = notices.post(.pathMTU(spi: spi, association: id, octets: max(quote.mtuOctets, least)))
        block.add(1, to: .consumed)
        slot.mbuf.free()
        return true
    }

    /// The tunnel whose packet is quoted, by its SPI and both its addresses, in a message to the packet's sender.
    private mutating func find(_ quote: PathMTUQuote) -> Int? {
        let mask = outboundSPIs.count &- 1
        var index = SADView.start(quote.spi, mask: mask)
        while outboundSPIs[index].tunnel != .max {
            let slot = outboundSPIs[index]
            if slot.spi == quote.spi, let outbound = tunnels[Int(slot.tunnel)].outbound,
                outbound.with({ $0.remote == quote.destination && $0.local == quote.source })
            {
                return Int(slot.tunnel)
            }
            index = (index &+ 1) & mask
        }
        return nil
    }

    private static func matches(
        _ association: borrowing OutboundSecurityAssociation, _ protection: PathMTUQuote.Protection
    ) -> Bool {
        let profile = association.profile
        return switch protection {
        case .esp: profile.algorithm.securityProtocol == .esp && !profile.natTraversal
        case .ah: profile.algorithm.securityProtocol == .ah
        case .espInUDP(let port): profile.natTraversal && port == association.remotePort
        }
    }

    private static func quote(_ slot: PacketSlot) -> PathMTUQuote? {
        if slot.isIPv6 {
            guard let header = IPv6Header(slot.ip), let upper = header.walk(), upper.upperProtocol == IPProtocol.icmpv6,
                !upper.isFragment, upper.offset <= slot.ip.count
            else { return nil }
            let message = slot.ip.dropFirst(upper.offset)
            return PathMTUQuote(
                icmpv6: message,
                pseudoHeader: header.pseudoHeader(upperProtocol: IPProtocol.icmpv6, length: message.count))
        }
        guard let header = IPv4Header(slot.ip), header.ipProtocol == IPProtocol.icmp, !header.isFragment else {
            return nil
        }
        return PathMTUQuote(icmpv4: slot.ip.dropFirst(header.headerLength))
    }
}
