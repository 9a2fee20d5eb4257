import IPsec

@testable import DataPlane

/// Makes IPv6 sites of IPv4 ones: all 32 bits of an address stand somewhere in the 128, everything else is the same for
/// all, so that what lay in a block, or over another, still does.
struct Lift {
    /// Bits in front.
    let base: Int

    func address(_ address: IPAddress) -> IPAddress {
        let number = UInt128(address.v4Number) << UInt128(96 - base)
        // The top of a documentation address, as far as it goes.
        let top: UInt128 = base == 0 ? 0 : ((0x2001_0db8 << 96) >> UInt128(128 - base)) << UInt128(128 - base)
        return IPAddress(v6: top | number | (base < 64 ? 0x77 : 0))
    }

    func prefix(_ block: IPPrefix) -> IPPrefix {
        IPPrefix(containing: address(block.address), length: block.length == 32 ? 128 : base + block.length)
    }

    func own(_ own: IPInterfaceAddress) -> IPInterfaceAddress {
        IPInterfaceAddress(address: address(own.address), length: prefix(own.prefix).length)
    }

    /// Protocol numbers that mean an extension header in IPv6, and ICMP's.
    static func ipProtocol(_ number: UInt8) -> UInt8 { number == 0 ? 253 : number == 1 ? 58 : number }

    func selector(_ selector: TrafficSelector) -> TrafficSelector {
        var lifted = selector
        lifted.source = prefix(selector.source)
        lifted.destination = prefix(selector.destination)
        lifted.ipProtocol = selector.ipProtocol.map(Lift.ipProtocol)
        return lifted
    }

    func callAsFunction(_ site: Topology) -> Topology {
        var lifted = site
        for index in site.ports.indices { lifted.ports[index].addresses = site.ports[index].addresses.map(own) }
        for index in site.routes.indices {
            lifted.routes[index].destination = prefix(site.routes[index].destination)
            lifted.routes[index].via = address(site.routes[index].via)
        }
        for index in site.tunnels.indices {
            lifted.tunnels[index].localAddress = address(site.tunnels[index].localAddress)
            lifted.tunnels[index].remoteAddress = address(site.tunnels[index].remoteAddress)
            lifted.tunnels[index].localSubnets = site.tunnels[index].localSubnets.map(prefix)
            lifted.tunnels[index].remoteSubnets = site.tunnels[index].remoteSubnets.map(prefix)
        }
        for index in site.policies.indices {
            lifted.policies[index].selector = selector(site.policies[index].selector)
        }
        return lifted
    }

    /// Both at once. Tunnels keep their IPv4 ends.
    func both(_ site: Topology) -> Topology {
        let lifted = self(site)
        var both = site
        for index in site.ports.indices { both.ports[index].addresses += lifted.ports[index].addresses }
        both.routes += lifted.routes
        for index in site.tunnels.indices {
            both.tunnels[index].localSubnets += lifted.tunnels[index].localSubnets
            both.tunnels[index].remoteSubnets += lifted.tunnels[index].remoteSubnets
        }
        both.policies += lifted.policies
        return both
    }
}
