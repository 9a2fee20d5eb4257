import CDPDK
import IPsec
import SeededRandom
import Testing
import Wire

@testable import DataPlane

/// The SPD as RFC 4301 tells it: an ordered list, looked at one by one.
private struct PlainPolicies {
    let topology: Topology

    /// Nil when nothing covers the packet.
    func verdict(_ packet: Packet.IPv4, _ direction: Direction) -> Policy.Action? {
        var waiting = topology.policies.filter { $0.direction == direction }
        while !waiting.isEmpty {
            // The lowest number first; between equals the earlier.
            var next = 0
            for index in waiting.indices where waiting[index].priority < waiting[next].priority { next = index }
            if let action = verdict(waiting.remove(at: next), packet) { return action }
        }
        let (near, far) =
            direction == .outbound
            ? (packet.source, packet.destination) : (packet.destination, packet.source)
        for (index, tunnel) in topology.tunnels.enumerated() {
            let isLocal = tunnel.localSubnets.contains { $0.contains(IPAddress(v4: near)) }
            let isRemote = tunnel.remoteSubnets.contains { $0.contains(IPAddress(v4: far)) }
            if isLocal && isRemote { return .protect(tunnel: index) }
        }
        return nil
    }

    private func verdict(_ policy: Policy, _ packet: Packet.IPv4) -> Policy.Action? {
        let selector = policy.selector
        guard selector.source.contains(IPAddress(v4: packet.source)),
            selector.destination.contains(IPAddress(v4: packet.destination)),
            selector.ipProtocol == nil || selector.ipProtocol == packet.ipProtocol
        else { return nil }
        guard selector.needsPorts else { return policy.action }
        guard let ports = PlainPolicies.ports(packet) else {
            // It may be covered or not: in clear it must not pass, and a bypass does not cover it.
            return policy.action == .bypass ? nil : .discard
        }
        let isCovered =
            selector.sourcePorts?.contains(ports.source) ?? true
            && selector.destinationPorts?.contains(ports.destination) ?? true
        return isCovered ? policy.action : nil
    }

    private static func ports(_ packet: Packet.IPv4) -> (source: UInt16, destination: UInt16)? {
        guard [6, 17, 132].contains(packet.ipProtocol), packet.fragment & 0x1fff == 0, packet.payload.count >= 4
        else { return nil }
        return (Packet.uint16(packet.payload, at: 0), Packet.uint16(packet.payload, at: 2))
    }
}

extension OnDPDK {
    @Suite("Policies")
    struct PolicyPlanTests {
        init() throws { try TestEnvironment.start() }

        /// What the classifier says of a packet that lies in a buffer, its key made by the worker's own code.
        private func verdict(
            _ packet: Packet.IPv4, _ classifier: UnsafeMutableRawPointer, _ mbuf: Mbuf
        ) -> PolicyResult {
            let octets = packet.octets
            mbuf.setPacket(offset: 128, length: octets.count)
            for (index, octet) in octets.enumerated() { mbuf.bytes.store(octet, at: index) }
            var slots = PacketSlots(capacity: 1)
            slots.append(PacketSlot(mbuf: mbuf, ip: mbuf.bytes, ingress: 0))
            var lookup = PolicyLookup(capacity: 1)
            lookup.append(0)
            unsafe lookup.classify(slots, classifier)
            return lookup.verdict(0)
        }

        private static func packet(_ random: inout SplitMix64, _ topology: Topology) -> Packet.IPv4 {
            var packet = Packet.IPv4(
                source: RandomSite.address(&random).v4Number, destination: RandomSite.address(&random).v4Number)
            // Half of them between the blocks of something that is there.
            if let policy = topology.policies.randomElement(using: &random), random.once(in: 2) {
                packet.source = policy.selector.source.address.v4Number
                packet.destination =
                    policy.selector.destination.address.v4Number | ~UInt32(
                        truncatingIfNeeded: policy.selector.destination.mask)
                packet.ipProtocol = policy.selector.ipProtocol ?? 17
            } else {
                packet.ipProtocol = random.pick([0, 1, 6, 17, 50, 132, 255])
            }
            packet.fragment = random.pick([0, 0, 0, 0x4000, 0x2000, 0x2001, 0x0001, 0x1fff])
            if random.once(in: 4) { packet.options = [1, 1, 1, 0] }
            let ports = bigEndian(RandomSite.transportPort(&random)) + bigEndian(RandomSite.transportPort(&random))
            packet.payload = random.once(in: 10) ? random.octets(random.below(4)) : ports + random.octets(4)
            return packet
        }

        @Test("the classifier agrees with an ordered list", arguments: seeds(1...25))
        func agreesWithPlain(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let pool = try PacketPool(name: TestEnvironment.name(), count: 63, frameOctets: 1500)
            let mbuf = try #require(pool.allocate())
            defer {
                mbuf.free()
                pool.destroy()
            }
            var topology = try RandomSite.topology(&random)
            topology.policies = (0..<random.below(40)).map { _ in
                let tunnels = topology.tunnels.count
                let actions: [Policy.Action] =
                    [.bypass, .discard] + (tunnels > 0 ? [.protect(tunnel: random.below(tunnels))] : [])
                return Policy(
                    action: random.pick(actions), direction: random.pick(Direction.allCases),
                    selector: RandomSite.selector(&random), priority: random.pick([Int.min, -1, 0, 1, 1, 2, .max]))
            }
            let tables = try ForwardingTables(topology, workers: 1, name: TestEnvironment.name())
            let plain = PlainPolicies(topology: topology)
            for _ in 0..<400 {
                let packet = PolicyPlanTests.packet(&random, topology)
                for direction in Direction.allCases {
                    let classifier = unsafe direction == .outbound ? tables.policies.outbound : tables.policies.inbound
                    let found = unsafe verdict(packet, classifier, mbuf)
                    let expected = plain.verdict(packet, direction)
                    guard found.rawValue == expected.map({ PolicyResult($0).rawValue }) ?? 0 else {
                        Issue.record(
                            """
                            seed \(seed): \(direction) \(packet): \(found), not \(String(describing: expected)), \
                            in \(topology.summary)
                            """
                        )
                        return
                    }
                }
            }
        }

        @Test("a result names its action and its tunnel")
        func results() {
            for index in [0, 1, 9999, 65535] {
                let result = PolicyResult(.protect(tunnel: index))
                #expect(result.action == .protect && result.tunnel == index)
            }
            #expect(PolicyResult(.bypass).action == .bypass && PolicyResult(.discard).action == .discard)
            #expect(PolicyResult(rawValue: 0).action == nil)
        }

        @Test("ten thousand tunnels: every one is found by its policy, its route and its SPI")
        func tenThousand() throws {
            let count = 10_000
            let keys = try (key(1), key(2))
            let local = prefix("10.0.0.0/16")
            let tunnels = try (0..<count).map { number in
                try tunnel(
                    number, local: address("192.0.2.1"), remote: address("192.0.2.2"), localSubnets: [local],
                    remoteSubnets: [
                        IPPrefix(containing: IPAddress(v4: 0x6440_0000 + UInt32(number) * 64), length: 26)
                    ], keys: keys)
            }
            let ports = [port("lan", .protected, ["10.254.0.1/30"]), port("wan", .unprotected, ["192.0.2.1/24"])]
            let topology = Topology(ports: ports, routes: [], neighbors: [], tunnels: tunnels, policies: [])
            let clock = ContinuousClock()
            let start = clock.now
            let tables = try ForwardingTables(topology, workers: 2, name: TestEnvironment.name())
            print("10 000 tunnels: tables built in \(clock.now - start)")

            let pool = try PacketPool(name: TestEnvironment.name(), count: 63, frameOctets: 1500)
            let mbuf = try #require(pool.allocate())
            let sad = SADView(slots: tables.associations.unownedView)
            for number in 0..<count {
                let there = 0x6440_0000 + UInt32(number) * 64 + UInt32(number % 64)
                let packet = Packet.IPv4(source: 0x0a00_0009, destination: there)
                let back = Packet.IPv4(source: there, destination: 0x0a00_0009)
                let outbound = unsafe verdict(packet, tables.policies.outbound, mbuf)
                let inbound = unsafe verdict(back, tables.policies.inbound, mbuf)
                let slot = sad.find(tunnels[number].children[0].inbound.spi.rawValue)
                let found = slot.association == nil ? nil : Int(slot.tunnel)
                guard outbound.action == .protect, outbound.tunnel == number, inbound.tunnel == number, found == number
                else {
                    Issue.record("tunnel \(number): \(outbound), \(inbound), \(String(describing: found))")
                    break
                }
            }
            mbuf.free()
            pool.destroy()
        }
    }
}
