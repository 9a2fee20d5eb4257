// Where peers are and how large packets to them may be, as far as workers found that out. Nothing of it is on disk:
// after a restart it is found out again.

import DataPlane
import IPsec

extension TunnelBook {
    /// Where a peer behind a NAT was seen last (RFC 7296 section 2.23).
    struct Peer: Sendable, Hashable, CustomStringConvertible {
        let address: IPAddress
        /// UDP port.
        let port: UInt16

        /// "198.51.100.1:4500", "[2001:db8::1]:4500".
        var description: String { address.family == .v4 ? "\(address):\(port)" : "[\(address)]:\(port)" }
    }

    /// What a router said of the way to a peer (RFC 1191, RFC 8201).
    struct Path: Sendable, Hashable {
        /// After these it is forgotten (RFC 1191 section 6.3), and found out again if it still holds.
        static let lifetimeSeconds: Int64 = 600

        /// The largest outer packet.
        let mtuOctets: Int
        /// In seconds since 1970.
        let learnedAt: Int64

        var endsAt: Int64 { learnedAt + Path.lifetimeSeconds }
    }

    /// Takes in what a worker found out about an SA that may have gone since; tells what that changed.
    mutating func heed(_ notice: WorkerNotice, _ topology: Topology, now: Int64) -> [Event] {
        let inbound = notice.kind == .peerMoved
        for (index, entry) in entries.enumerated() {
            for child in entry.children {
                guard let pair = child.pair else { continue }
                let (id, spi) =
                    inbound
                    ? (pair.inbound.id, child.description.inbound.spi)
                    : (pair.outbound.id, child.description.outbound.spi)
                guard id == Int(notice.association), spi.rawValue == notice.spi else { continue }
                return inbound ? move(index, notice, spi) : narrow(index, notice, spi, topology, now)
            }
        }
        return []
    }

    private mutating func move(_ index: Int, _ notice: WorkerNotice, _ spi: SPI) -> [Event] {
        let peer = Peer(address: notice.peerAddress, port: notice.port)
        guard entries[index].peer != peer else { return [] }
        entries[index].peer = peer
        return [
            Event(
                kind: .peerMoved, tunnel: entries[index].name, direction: .inbound, spi: spi,
                detail: peer.description)
        ]
    }

    private mutating func narrow(
        _ index: Int, _ notice: WorkerNotice, _ spi: SPI, _ topology: Topology, _ now: Int64
    ) -> [Event] {
        let path = Path(mtuOctets: Int(notice.mtuOctets), learnedAt: now)
        // Only downwards: who says that more fits may be anybody.
        guard topology.tunnels[index].learnsPathMTU, entries[index].path.map({ path.mtuOctets < $0.mtuOctets }) ?? true
        else { return [] }
        entries[index].path = path
        return [
            Event(
                kind: .pathMTU, tunnel: entries[index].name, direction: .outbound, spi: spi,
                detail: "\(path.mtuOctets) octets")
        ]
    }

    /// Forgets paths whose time is over.
    mutating func forgetPaths(_ now: Int64) {
        for index in entries.indices {
            if let path = entries[index].path, path.endsAt <= now { entries[index].path = nil }
        }
    }

    /// A topology as tables are to see it: peers where they were found, inner packets of a size that fits the way.
    func applied(to topology: Topology) -> Topology {
        var topology = topology
        for (index, entry) in entries.enumerated() where entry.peer != nil || entry.path != nil {
            if let peer = entry.peer {
                topology.tunnels[index].remoteAddress = peer.address
                topology.tunnels[index].remotePort = peer.port
                topology.tunnels[index].peerHasMoved = true
            }
            if let path = entry.path {
                let tunnel = topology.tunnels[index]
                let fits = tunnel.profile.innerMTUOctets(
                    linkMTU: path.mtuOctets, outer: tunnel.remoteAddress.family)
                topology.tunnels[index].innerMTUOctets = min(tunnel.innerMTUOctets, fits)
            }
        }
        return topology
    }
}
