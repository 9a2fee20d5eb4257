// IPv6 on a link: link-local addresses and the groups that neighbours are found by. RFC 4291 sections 2.5.6 and 2.7.1
// and appendix A, RFC 2464 section 7.

import IPsec
import Wire

extension Topology.Port {
    /// Its link-local address: what the site says or, when it has another IPv6 address, what its MAC address makes; nil
    /// without IPv6.
    func linkLocalAddress(mac: MACAddress) -> IPAddress? {
        let own = addresses.map(\.address).filter { $0.family == .v6 }
        guard !own.isEmpty else { return nil }
        return own.first(where: \.isLinkLocal) ?? IPAddress(linkLocalOf: mac)
    }

    /// The multicast MAC addresses that it takes frames for: all nodes, and the solicited-node groups of its own
    /// addresses. Empty without IPv6.
    func multicastGroups(mac: MACAddress) -> [MACAddress] {
        guard let linkLocal = linkLocalAddress(mac: mac) else { return [] }
        let own = Set((ownAddresses + [linkLocal]).filter { $0.family == .v6 })
        let groups = Set(own.map { MACAddress.solicitedNode(of: $0.rawValue) })
        return [.allNodes] + groups.sorted { $0.rawValue < $1.rawValue }
    }
}

extension IPAddress {
    /// RFC 4291 appendix A: the MAC address with fffe in its middle and its universal bit turned over.
    init(linkLocalOf mac: MACAddress) {
        let upper = mac.rawValue >> 24 ^ 0x02_0000, lower = mac.rawValue & 0xff_ffff
        self.init(v6: 0xfe80 << 112 | UInt128(upper << 40 | 0xff_fe00_0000 | lower))
    }
}

extension MACAddress {
    /// Where frames for all nodes of a link go.
    static var allNodes: MACAddress { MACAddress(rawValue: 0x3333_0000_0001) }

    /// Where frames go that look for the owner of an address.
    static func solicitedNode(of address: UInt128) -> MACAddress {
        NeighborDiscovery.groupMAC(of: NeighborDiscovery.solicitedNode(of: address))
    }
}
