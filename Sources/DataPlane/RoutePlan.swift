import CDPDK
import IPsec

/// Names a neighbour: an IPv4 address on the link of a port.
struct NeighborKey: Hashable, BitwiseCopyable {
    var port: UInt16
    var address: UInt32
}

/// Turns own addresses, connected blocks, static routes and the tunnels' subnets into one longest-prefix table.
///
/// The tunnels' remote subnets are in it because the more specific entry must win between a route out of a protected
/// port and a tunnel: what they lead to is the boundary, where the SPD decides.
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
            for address in port.addresses { clear[address.prefix] = entry(port: index, gateway: RouteEntry.onLink) }
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
            for address in port.addresses {
                if let broadcast = address.broadcast {
                    table[host(broadcast)] = RouteEntry(
                        kind: .broadcast, port: UInt16(index), gateway: RouteEntry.onLink)
                }
                table[host(address.address)] = RouteEntry(kind: .local, port: UInt16(index), gateway: RouteEntry.onLink)
            }
        }
        return number(table)
    }

    /// Index of the neighbour that packets to `address` are sent to; `RouteEntry.onLink` when no unprotected way leads
    /// there.
    mutating func nextHop(towards address: IPAddress) -> UInt32 {
        guard let way = longest(address, atMost: 32), way.kind == .unprotected else { return RouteEntry.onLink }
        return way.gateway == RouteEntry.onLink ? pin(Int(way.port), address) : way.gateway
    }

    private func entry(port: Int, gateway: UInt32) -> RouteEntry {
        let kind: RouteEntry.Kind = topology.ports[port].role == .protected ? .protected : .unprotected
        return RouteEntry(kind: kind, port: UInt16(port), gateway: gateway)
    }

    private func host(_ address: IPAddress) -> IPPrefix { IPPrefix(address) }

    private mutating func pin(_ port: Int, _ address: IPAddress) -> UInt32 {
        let key = NeighborKey(port: UInt16(port), address: address.v4Number)
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
    /// DPDK's table of it.
    func makeFIB(name: String) throws(DataPlaneError) -> UnsafeMutableRawPointer {
        guard entries.count < 32768 else { throw .table(what: "routes to more than 32767 next hops", error: 0) }
        guard let fib = unsafe cdpdk_fib_create(name, UInt32(prefixes.count + 256)) else {
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
}
