import CDPDK
import IPsec

/// Names a neighbour: an address on the link of a port.
struct NeighborKey: Hashable, BitwiseCopyable {
    var port: UInt16
    /// The number of an IPv6 address; of an IPv4 address, the IPv4-mapped one (RFC 4291 section 2.5.5.2), which no IPv6
    /// neighbour has.
    var bits: UInt128

    private static let mapped: UInt128 = 0xffff_0000_0000

    @inline(__always)
    init(port: UInt16, bits: UInt128) {
        self.port = port
        self.bits = bits
    }

    @inline(__always)
    init(port: UInt16, address: UInt32) { self.init(port: port, bits: NeighborKey.mapped | UInt128(address)) }

    init(port: UInt16, address: IPAddress) {
        self.init(port: port, bits: address.v4.map { NeighborKey.mapped | UInt128($0) } ?? address.rawValue)
    }

    @inline(__always)
    var isIPv4: Bool { bits >> 32 == 0xffff }

    var address: IPAddress {
        isIPv4 ? IPAddress(v4: UInt32(truncatingIfNeeded: bits)) : IPAddress(v6: bits)
    }
}

/// Turns own addresses, connected blocks, static routes and the tunnels' subnets into one longest-prefix table.
///
/// The tunnels' remote subnets are in it because the more specific entry must win between a route out of a protected
/// port and a tunnel: what they lead to is the boundary, where the SPD decides.
///
/// Link-local addresses are in no table: each link has its own, and nothing to or from one is forwarded.
struct RoutePlan {
    private let topology: Topology
    /// Neighbours that something points at by index.
    private(set) var pinned: [NeighborKey] = []
    private var indices: [NeighborKey: UInt32] = [:]
    /// What holds without tunnels: static routes, and connected blocks in front of those of the same prefix.
    private var clear: [IPPrefix: RouteEntry] = [:]

    init(_ topology: Topology) {
        self.topology = topology
        for route in topology.routes {
            clear[route.destination] = entry(port: route.port, gateway: pin(route.port, route.via))
        }
        for (index, port) in topology.ports.enumerated() {
            for address in port.routedAddresses {
                clear[address.prefix] = entry(port: index, gateway: RouteEntry.onLink)
            }
        }
        // A static neighbour must never make room for another, and there may be any number of them.
        for neighbor in topology.neighbors { _ = pin(neighbor.port, neighbor.address) }
    }

    /// The entries and the prefixes that lead to them.
    struct Compiled {
        var entries: [RouteEntry] = [.nowhere]
        var prefixes: [(prefix: IPPrefix, entry: Int)] = []
    }

    /// The table, most general prefixes first.
    func compile() -> Compiled {
        var table = clear
        // A tunnel's subnet sees the boundary; in clear (a bypass policy) the way is what would hold without the
        // tunnel.
        for prefix in topology.tunnels.flatMap(\.remoteSubnets) where table[prefix] == nil {
            let under = longest(prefix.address, atMost: prefix.length)
            table[prefix] = under.flatMap { $0.kind == .unprotected ? $0 : nil } ?? .nowhere
        }
        for (index, port) in topology.ports.enumerated() {
            for address in port.routedAddresses {
                if let broadcast = address.broadcast {
                    table[IPPrefix(broadcast)] = RouteEntry(
                        kind: .broadcast, port: UInt16(index), gateway: RouteEntry.onLink)
                }
            }
            for address in port.ownAddresses {
                table[IPPrefix(address)] = RouteEntry(kind: .local, port: UInt16(index), gateway: RouteEntry.onLink)
            }
        }
        return number(table)
    }

    /// Index of the neighbour that packets to `address` are sent to; `RouteEntry.onLink` when no unprotected way leads
    /// there.
    mutating func nextHop(towards address: IPAddress) -> UInt32 {
        guard let way = longest(address, atMost: address.family.bits), way.kind == .unprotected else {
            return RouteEntry.onLink
        }
        return way.gateway == RouteEntry.onLink ? pin(Int(way.port), address) : way.gateway
    }

    private func entry(port: Int, gateway: UInt32) -> RouteEntry {
        let kind: RouteEntry.Kind = topology.ports[port].role == .protected ? .protected : .unprotected
        return RouteEntry(kind: kind, port: UInt16(port), gateway: gateway)
    }

    private mutating func pin(_ port: Int, _ address: IPAddress) -> UInt32 {
        let key = NeighborKey(port: UInt16(port), address: address)
        if let index = indices[key] { return index }
        let index = UInt32(pinned.count)
        pinned.append(key)
        indices[key] = index
        return index
    }

    private func longest(_ address: IPAddress, atMost: Int) -> RouteEntry? {
        for length in stride(from: atMost, through: 0, by: -1) {
            if let entry = clear[IPPrefix(containing: address, length: length)] { return entry }
        }
        return nil
    }

    /// Equal entries share a number: there may be more prefixes than the table has numbers for next hops.
    private func number(_ table: [IPPrefix: RouteEntry]) -> Compiled {
        struct Identity: Hashable { var kind: RouteEntry.Kind, port: UInt16, gateway: UInt32 }
        var compiled = Compiled()
        var numbers: [Identity: Int] = [Identity(kind: .none, port: 0, gateway: RouteEntry.onLink): 0]
        let ordered = table.sorted { ($0.key.length, $0.key.address) < ($1.key.length, $1.key.address) }
        for (prefix, entry) in ordered {
            let identity = Identity(kind: entry.kind, port: entry.port, gateway: entry.gateway)
            let number = numbers[identity] ?? compiled.entries.count
            if number == compiled.entries.count {
                compiled.entries.append(entry)
                numbers[identity] = number
            }
            compiled.prefixes.append((prefix, number))
        }
        return compiled
    }
}

extension RoutePlan.Compiled {
    private func prefixes(_ family: IPFamily) -> [(prefix: IPPrefix, entry: Int)] {
        prefixes.filter { $0.prefix.family == family }
    }

    private func check() throws(DataPlaneError) {
        guard entries.count < 32768 else { throw .table(what: "routes to more than 32767 next hops", error: 0) }
    }

    /// DPDK's table of the IPv4 part.
    func makeFIB(name: String) throws(DataPlaneError) -> UnsafeMutableRawPointer {
        try check()
        let prefixes = prefixes(.v4)
        let parted = Set(prefixes.lazy.filter { $0.prefix.length > 24 }.map { $0.prefix.address.v4Number >> 8 })
        let fib = unsafe cdpdk_fib_create(
            name, UInt32(prefixes.count + 256), UInt32(entries.count), UInt32(parted.count))
        guard let fib = unsafe fib else {
            throw .noMemory(what: "the route table", error: cdpdk_errno())
        }
        for (prefix, entry) in prefixes {
            let error = unsafe cdpdk_fib_add(fib, prefix.address.v4Number, UInt8(prefix.length), UInt64(entry))
            guard error == 0 else {
                unsafe cdpdk_fib_free(fib)
                throw .table(what: "route \(prefix)", error: error)
            }
        }
        return unsafe fib
    }

    /// DPDK's table of the IPv6 part; nil when there is none.
    func makeFIB6(name: String) throws(DataPlaneError) -> UnsafeMutableRawPointer? {
        try check()
        let prefixes = prefixes(.v6)
        guard !prefixes.isEmpty else { return nil }
        let tables = UInt32(RoutePlan.Compiled.tables(prefixes.map(\.prefix)))
        guard let fib = unsafe cdpdk_fib6_create("\(name)-6", UInt32(prefixes.count + 256), tables) else {
            throw .noMemory(what: "the IPv6 route table", error: cdpdk_errno())
        }
        for (prefix, entry) in prefixes {
            var address = prefix.address.rawValue.bigEndian
            let error = unsafe withUnsafeBytes(of: &address) { octets in
                unsafe cdpdk_fib6_add(
                    fib, octets.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt8(prefix.length), UInt64(entry))
            }
            guard error == 0 else {
                unsafe cdpdk_fib6_free(fib)
                throw .table(what: "route \(prefix)", error: error)
            }
        }
        return unsafe fib
    }

    /// Tables of 256 that DPDK's trie sets aside for these: behind the first 24 bits, one for each 8 of a prefix.
    fileprivate static func tables(_ prefixes: [IPPrefix]) -> Int {
        prefixes.reduce(256) { $0 + max(0, ($1.length + 7) / 8 - 3) }
    }
}

extension Topology {
    /// Octets of DPDK's memory that the IPv6 route table takes at most; 0 for a site without IPv6.
    public var routeTable6Octets: Int {
        let prefixes = RoutePlan(self).compile().prefixes.map(\.prefix).filter { $0.family == .v6 }
        guard !prefixes.isEmpty else { return 0 }
        let tables = RoutePlan.Compiled.tables(prefixes)
        return ((1 << 24) + tables * 256) * (tables <= 32767 ? 2 : 4) + prefixes.count * 256
    }
}

extension Topology.Port {
    /// Its addresses but for link-local ones, which the route table does not know.
    var routedAddresses: [IPInterfaceAddress] { addresses.filter { !$0.address.isLinkLocal } }

    /// What it answers to: its addresses, and the subnet-router anycast address of each of its IPv6 blocks (RFC 4291
    /// section 2.6.1) that has one (RFC 6164 section 6).
    var ownAddresses: [IPAddress] {
        let anycast = routedAddresses.filter { $0.prefix.family == .v6 && $0.prefix.length < 127 }
        return anycast.map(\.prefix.address) + routedAddresses.map(\.address)
    }
}
