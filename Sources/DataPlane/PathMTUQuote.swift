// What a router quotes of a packet of ours that was too big for its next link. RFC 1191 sections 3 to 5 and 7 (IPv4),
// RFC 4443 section 3.2 and RFC 8201 section 4 (IPv6); what IPsec makes of it: RFC 4301 section 8.2.
//
//   ICMP, 8 octets | quoted outer IP header | ESP: SPI, sequence number
//                                           | UDP: ports, length, checksum | SPI, sequence number
//                                           | AH: next header, length, 0   | SPI, sequence number
//
// Anybody can send one. So that a liar has to have seen a packet, the SPI and the sequence number are wanted; a router
// that quotes less (RFC 792's eight octets, of UDP or AH) is not believed.

import IPsec
import Wire

/// A router's word that a protected packet of ours was too big.
struct PathMTUQuote: Equatable {
    /// What the packet was protected with.
    enum Protection: Equatable {
        case esp, ah
        /// ESP in UDP, from the gateway's port 4500 to this one.
        case espInUDP(destinationPort: UInt16)
    }

    /// The packet's outer source: ours, if the word is true.
    let source: IPAddress
    /// Its outer destination: a tunnel's remote address.
    let destination: IPAddress
    /// Octets that the next hop takes, outer header included. At least 68, of IPv6 1280.
    let mtuOctets: Int
    let protection: Protection
    let spi: UInt32
    /// The low half of it.
    let sequenceNumber: UInt32

    // RFC 1191 section 7.1, table 7-1: MTUs that there are, largest first.
    private static let plateaus = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68]
    // RFC 791 section 3.2: every link takes as much.
    private static let minimumIPv4MTU = 68

    /// Reads an ICMP message of type 3, code 4. Nil for others, a wrong checksum, an MTU below 68, and for a quote that
    /// is no packet of ours: not ESP, AH or ESP in UDP, a later fragment, or cut before the sequence number.
    ///
    /// An MTU of 0 is that of a router from before RFC 1191: the next plateau below the packet's length is taken for
    /// it, because ignoring it would leave a tunnel whose large packets all vanish.
    init?(icmpv4 bytes: PacketBytes) {
        guard let message = ICMPv4Message(bytes), message.type == ICMPv4Message.Kind.destinationUnreachable,
            message.code == ICMPv4Message.fragmentationNeeded, message.isIntact
        else { return nil }
        let quote = bytes.dropFirst(ICMPv4Message.headerOctets)
        // The quote's checksum is not looked at: routers count the TTL down before they quote.
        guard let header = IPv4Header(quote), header.version == 4, header.headerLength >= IPv4Header.minimumOctets,
            header.headerLength <= quote.count, !header.isLaterFragment
        else { return nil }
        let reported = Int(bytes.uint16(at: 6)), length = header.totalLength
        let mtu = reported > 0 ? reported : PathMTUQuote.plateaus.first { $0 < length } ?? 0
        guard mtu >= PathMTUQuote.minimumIPv4MTU else { return nil }
        self.init(
            source: IPAddress(v4: header.source), destination: IPAddress(v4: header.destination), mtuOctets: mtu,
            ipProtocol: header.ipProtocol, payload: quote.dropFirst(header.headerLength))
    }

    /// Reads an ICMPv6 packet too big; `pseudoHeader` is that of the packet it came in. Nil as for ICMPv4, and for an
    /// MTU below 1280, which RFC 8201 section 4 says to ignore.
    init?(icmpv6 bytes: PacketBytes, pseudoHeader: UInt64) {
        guard let message = ICMPv6Message(bytes), message.type == ICMPv6Message.Kind.packetTooBig,
            message.isIntact(pseudoHeader: pseudoHeader), message.mtu >= IPv6Header.minimumMTUOctets
        else { return nil }
        // The quote may be cut: the walk looks only at what there is.
        let quote = message.data
        guard let header = IPv6Header(quote), header.version == 6, let upper = header.walk(), !upper.isLaterFragment,
            upper.offset <= quote.count
        else { return nil }
        self.init(
            source: IPAddress(v6: header.source), destination: IPAddress(v6: header.destination),
            mtuOctets: Int(min(message.mtu, 0xffff)), ipProtocol: upper.upperProtocol,
            payload: quote.dropFirst(upper.offset))
    }

    private init?(source: IPAddress, destination: IPAddress, mtuOctets: Int, ipProtocol: UInt8, payload: PacketBytes) {
        let start: Int
        switch ipProtocol {
        case IPProtocol.esp:
            protection = .esp
            start = 0
        case IPProtocol.ah:
            protection = .ah
            start = 4
        case IPProtocol.udp:
            guard let header = UDPHeader(payload), header.sourcePort == UDPHeader.natTraversalPort else { return nil }
            protection = .espInUDP(destinationPort: header.destinationPort)
            start = UDPHeader.octets
        default: return nil
        }
        guard payload.count >= start + 8 else { return nil }
        self.source = source
        self.destination = destination
        self.mtuOctets = mtuOctets
        spi = payload.uint32(at: start)
        sequenceNumber = payload.uint32(at: start + 4)
        // RFC 4303 section 2.1: below 256 there are no SAs; 0 behind UDP is IKE (RFC 3948 section 2.2).
        guard spi > 255 else { return nil }
    }
}
