import CDPDK
import IPsec
import SeededRandom
import Testing
import Wire

@testable import DataPlane

/// The SPD as RFC 4301 tells it: an ordered list, looked at one by one.
private struct PlainPolicies {
    let topology: Topology

    /// What policies look at.
    struct Flow: CustomStringConvertible {
        var source: IPAddress
        var destination: IPAddress
        var ipProtocol: UInt8
        /// Of a protocol that has them; nil where they can't be seen.
        var ports: (source: UInt16, destination: UInt16)?
        /// Type and code of an ICMP message, likewise.
        var message: UInt16?

        var description: String { "\(source) to \(destination), \(ipProtocol), \(ports as Any), \(message as Any)" }
    }

    /// Nil when nothing covers the packet.
    func verdict(_ flow: Flow, _ direction: Direction) -> Policy.Action? {
        var waiting = topology.policies.filter { $0.direction == direction }
        while !waiting.isEmpty {
            // The lowest number first; between equals the earlier.
            var next = 0
            for index in waiting.indices where waiting[index].priority < waiting[next].priority { next = index }
            if let action = verdict(waiting.remove(at: next), flow) { return action }
        }
        let (near, far) =
            direction == .outbound ? (flow.source, flow.destination) : (flow.destination, flow.source)
        for (index, tunnel) in topology.tunnels.enumerated() {
            let isLocal = tunnel.localSubnets.contains { $0.contains(near) }
            let isRemote = tunnel.remoteSubnets.contains { $0.contains(far) }
            if isLocal && isRemote { return .protect(tunnel: index) }
        }
        return nil
    }

    private func verdict(_ policy: Policy, _ flow: Flow) -> Policy.Action? {
        let selector = policy.selector
        guard selector.source.contains(flow.source), selector.destination.contains(flow.destination),
            selector.ipProtocol == nil || selector.ipProtocol == flow.ipProtocol
        else { return nil }
        guard selector.needsPorts else { return policy.action }
        if let messages = selector.icmpMessages, let message = flow.message {
            return messages.contains(message) ? policy.action : nil
        }
        guard let ports = flow.ports else {
            // It may be covered or not: in clear it must not pass, and a bypass does not cover it.
            return policy.action == .bypass ? nil : .discard
        }
        let isCovered =
            selector.sourcePorts?.contains(ports.source) ?? true
            && selector.destinationPorts?.contains(ports.destination) ?? true
        return isCovered ? policy.action : nil
    }

    /// Of a packet whose transport header is not, or is, behind a fragment's offset.
    static func flow(
        _ source: IPAddress, _ destination: IPAddress, _ ipProtocol: UInt8, isLater: Bool, _ payload: [UInt8]
    ) -> Flow {
        var flow = Flow(source: source, destination: destination, ipProtocol: ipProtocol)
        let isICMP = ipProtocol == (source.family == .v4 ? 1 : 58)
        if [6, 17, 132].contains(ipProtocol), !isLater, payload.count >= 4 {
            flow.ports = (Packet.uint16(payload, at: 0), Packet.uint16(payload, at: 2))
        }
        if isICMP, !isLater, payload.count >= 2 { flow.message = Packet.uint16(payload, at: 0) }
        return flow
    }
}

extension OnDPDK {
    @Suite("Policies")
    struct PolicyPlanTests {
        init() throws { try TestEnvironment.start() }

        /// What the classifier says of a packet that lies in a buffer, its key made by the worker's own code.
        private func verdict(
            _ octets: [UInt8], _ classifier: PolicyClassifier, _ tables: ForwardingTables, _ mbuf: Mbuf
        ) -> PolicyResult {
            mbuf.setPacket(offset: 128, length: octets.count)
            for (index, octet) in octets.enumerated() { mbuf.bytes.store(octet, at: index) }
            var slots = PacketSlots(capacity: 1)
            if let header = IPv6Header(mbuf.bytes), header.version == 6, let upper = header.walk() {
                slots.append(
                    PacketSlot(ipv6: mbuf, ip: mbuf.bytes, ingress: 0), key: PacketSlot.flowKey(of: header, upper))
            } else {
                slots.append(PacketSlot(mbuf: mbuf, ip: mbuf.bytes, ingress: 0))
            }
            var lookup = PolicyLookup(capacity: 1)
            lookup.append(0)
            let counters = PolicyCounters([0, 0])
            lookup.classify(
                slots, PolicyView(classifier, counters.view.outbound), tables.tunnels.unownedView, tables.lanes.view,
                worker: nil)
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
            if packet.ipProtocol == 1, random.once(in: 2) {
                packet.payload =
                    random.pick([[8, 0], [3, 1], [3, 4], [3, 5], [8]]) + random.octets(random.below(4))
                return packet
            }
            packet.payload = random.once(in: 10) ? random.octets(random.below(4)) : ports + random.octets(4)
            return packet
        }

        /// The same packet over IPv6, often with extension headers.
        private static func lift(_ packet: Packet.IPv4, _ lift: Lift, _ random: inout SplitMix64) -> Packet.IPv6 {
            var lifted = Packet.IPv6(
                nextHeader: Lift.ipProtocol(packet.ipProtocol),
                source: lift.address(IPAddress(v4: packet.source)).rawValue,
                destination: lift.address(IPAddress(v4: packet.destination)).rawValue, payload: packet.payload)
            if random.once(in: 4) { lifted.extensions.append((0, [0, 0, 1, 4, 0, 0, 0, 0])) }
            if random.once(in: 4) { lifted.extensions.append((60, [0, 1, 1, 12] + Array(repeating: 0, count: 12))) }
            if packet.fragment & 0x3fff != 0 {
                lifted.extensions.append(
                    Packet.fragment(offset: packet.fragment << 3, more: packet.fragment & 0x2000 != 0))
            }
            return lifted
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
            let site = topology, lift = Lift(base: random.pick([0, 16, 28, 61, 90]))
            topology = random.pick([site, lift(site), lift.both(site)])
            let tables = try ForwardingTables(topology, workers: 1, name: TestEnvironment.name())
            let plain = PlainPolicies(topology: topology)
            for _ in 0..<400 {
                let packet4 = PolicyPlanTests.packet(&random, site)
                let isLater = packet4.fragment & 0x1fff != 0
                let packet6 = PolicyPlanTests.lift(packet4, lift, &random)
                let isIPv6 = random.once(in: 2)
                let packet = isIPv6 ? packet6.octets : packet4.octets
                let flow =
                    isIPv6
                    ? PlainPolicies.flow(
                        IPAddress(v6: packet6.source), IPAddress(v6: packet6.destination), packet6.nextHeader,
                        isLater: isLater, packet6.payload)
                    : PlainPolicies.flow(
                        IPAddress(v4: packet4.source), IPAddress(v4: packet4.destination), packet4.ipProtocol,
                        isLater: isLater, packet4.payload)
                for direction in Direction.allCases {
                    let classifier = direction == .outbound ? tables.policies.outbound : tables.policies.inbound
                    let found = verdict(packet, classifier, tables, mbuf)
                    let expected = plain.verdict(flow, direction)
                    guard found.rawValue == expected.map({ PolicyResult($0).rawValue }) ?? 0 else {
                        Issue.record(
                            """
                            seed \(seed): \(direction) \(flow): \(found), not \(String(describing: expected)), \
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
                let outbound = verdict(packet.octets, tables.policies.outbound, tables, mbuf)
                let inbound = verdict(back.octets, tables.policies.inbound, tables, mbuf)
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
