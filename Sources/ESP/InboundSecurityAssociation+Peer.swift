// Who may send under an inbound SA. RFC 4301 section 5.2; RFC 7296 section 2.23 for a peer that moves.

import IPsec
import Wire

extension InboundSecurityAssociation {
    /// Where its packets go.
    public var local: IPAddress { address(localNumber) }
    /// Where its packets come from. Of an SA with NAT traversal, only for its owner, because it changes.
    public var remote: IPAddress { address(remoteNumber) }
    /// The port that a peer behind NAT sends from, likewise.
    public var remotePort: UInt16 { remotePortNumber }

    private func address(_ number: UInt128) -> IPAddress {
        family == .v4 ? IPAddress(v4: UInt32(truncatingIfNeeded: number)) : IPAddress(v6: number)
    }

    /// Whether a packet with this outer header is addressed to it.
    @inlinable
    @inline(__always)
    public func isDestination(of header: IPv4Header) -> Bool { header.destination == localWord && family == .v4 }

    /// Whether a packet with this outer header comes from its peer. Never, for an SA whose ESP travels in UDP: who
    /// sends it bare did not agree on that (RFC 3948 section 2.1).
    @inlinable
    @inline(__always)
    public func isSource(of header: IPv4Header) -> Bool { header.source == remoteWord && family == .v4 }

    /// As for IPv4.
    @inlinable
    public func isDestination(of header: IPv6Header) -> Bool { header.destination == localNumber && family == .v6 }

    /// As for IPv4.
    @inlinable
    public func isSource(of header: IPv6Header) -> Bool {
        header.source == remoteNumber && family == .v6 && !profile.natTraversal
    }

    /// Whether ESP in UDP with this source, a number of the outer header's family, comes from its peer.
    public func isPeer(_ number: UInt128, port: UInt16) -> Bool { isPeer(Peer(number: number, port: port)) }

    /// Expects packets from another address and port of a peer behind NAT. Only its owner may; traps for another family
    /// and for an SA without NAT traversal.
    public mutating func moveRemote(to address: IPAddress, port: UInt16) {
        precondition(profile.natTraversal && address.family == family)
        remoteNumber = address.rawValue
        remotePortNumber = port
    }
}

// What an authentic packet says of where its peer is.
extension InboundSecurityAssociation {
    /// An address as a number of the SA's family, and a port.
    struct Peer: BitwiseCopyable, Equatable {
        var number: UInt128
        var port: UInt16
    }

    /// Where `packet` comes from, whose UDP header ends at `start`. Nil where there is no UDP, or another family.
    func peer(of packet: PacketBytes, start: Int) -> Peer? {
        let octets = family == .v4 ? IPv4Header.minimumOctets : IPv6Header.octets
        guard start >= octets &+ UDPHeader.octets, packet.count >= start, packet.uint8(at: 0) >> 4 == family.rawValue,
            let udp = UDPHeader(packet.dropFirst(start &- UDPHeader.octets))
        else { return nil }
        switch family {
        case .v4: return IPv4Header(packet).map { Peer(number: UInt128($0.source), port: udp.sourcePort) }
        case .v6: return IPv6Header(packet).map { Peer(number: $0.source, port: udp.sourcePort) }
        }
    }

    /// Whether it is the one that packets are expected from.
    func isPeer(_ peer: Peer) -> Bool { peer == Peer(number: remoteNumber, port: remotePortNumber) }

    /// Whether an authentic packet from elsewhere, with this number, shows that the peer has moved: only the latest
    /// does, because anybody may send an earlier one again from anywhere; and not more than once a second.
    func mayMove(with number: UInt64, now: UInt64) -> Bool {
        profile.natTraversal && number > window.highest && now >= moveNotBefore
    }

    /// Expects packets from there.
    mutating func move(to peer: Peer, notBefore: UInt64) {
        remoteNumber = peer.number
        remotePortNumber = peer.port
        moveNotBefore = notBefore
    }
}
