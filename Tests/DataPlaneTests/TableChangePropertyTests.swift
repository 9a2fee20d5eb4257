import ESP
import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Random tables under everything a network can send")
    struct TableChangePropertyTests {
        init() throws { try TestEnvironment.start() }

        private static let children = 4

        private final class Run {
            let seed: UInt64
            var traffic: Traffic
            let near: Rig, far: Rig
            let base: Topology
            let pairs: ChildPairs
            /// What the tables of the moment send under, and how far each SA was when they were adopted.
            var current: Set<Int> = []
            var numbers: [Int: UInt64] = [:]
            var clock: UInt64 = 1
            var complaints: [String] = []
            var delivered = 0, protected = 0, changes = 0

            init(seed: UInt64) throws {
                self.seed = seed
                traffic = Traffic(seed: seed)
                var base = try PropertySite.near(&traffic.random)
                var far = try PropertySite.far()
                for number in 0..<2 {
                    base.tunnels[number] = try base.tunnels[number].withChildren(children, number: number)
                    far.tunnels[number] = try far.tunnels[number].withChildren(
                        children, number: number, isReversed: true)
                }
                self.base = base
                var made: ChildPairs?
                near = try Rig(base, mode: .replay(resolve: traffic.random.once(in: 2))) { arena in
                    let pairs = try ChildPairs(base, arena: arena, workers: 1)
                    made = pairs
                    return pairs.states(sending: [0, 0])
                }
                self.far = try Rig(far) { arena in
                    try ChildPairs(far, arena: arena, workers: 1).states(sending: [0, 0])
                }
                pairs = try #require(made)
                current = Set(pairs.outbound.map { $0[0].id })
            }

            /// Tables that differ from the last in anything that may: tunnels, SAs, routes, policies, neighbours.
            func publish() throws {
                changes += 1
                // Route tables are large: no more of them than worker and control plane need.
                _ = near.group.reclaim()
                var site = base
                var sending = (0..<2).map { _ in traffic.random.once(in: 5) ? nil : traffic.random.below(children) }
                var accepting = (0..<2).map { _ in (0..<children).filter { _ in !traffic.random.once(in: 3) } }
                if traffic.random.once(in: 2) { site.routes.removeLast() }
                if traffic.random.once(in: 3) {
                    site.policies.removeAll { $0.priority == 5 && $0.direction == .outbound }
                }
                if traffic.random.once(in: 3) {
                    site.neighbors = [
                        .init(port: 0, address: address("10.0.1.254"), mac: .init(rawValue: 0x0200_0000_00ab)),
                        .init(port: 2, address: address("10.0.3.7"), mac: .init(rawValue: 0x0200_0000_00ac)),
                    ]
                }
                if traffic.random.once(in: 4) { site.tunnels[0].localSubnets.removeLast() }
                if traffic.random.once(in: 4) { site.ports[0].localServices = false }
                var states = pairs.states(sending: sending, accepting: accepting)
                if traffic.random.once(in: 5) {
                    let gone = traffic.random.below(2)
                    site.tunnels.remove(at: gone)
                    states.remove(at: gone)
                    sending[gone] = nil
                    accepting[gone] = []
                }
                if traffic.random.once(in: 6) {
                    site.tunnels.reverse()
                    states.reverse()
                }
                try near.publish(site, states)
                current = Set(states.compactMap { $0.outbound?.id })
                for association in pairs.outbound.flatMap({ $0 }) { numbers[association.id] = packets(association) }
            }

            private func packets(_ association: OutboundAssociation) -> UInt64 {
                association.reference.with { $0.packets }
            }

            func round() {
                near.feed((0..<traffic.random.below(40)).map { _ in traffic.inside() }, port: 0, timestamp: clock)
                far.feed((0..<traffic.random.below(24)).map { _ in traffic.forPeer() }, port: 0)
                far.poll(now: clock)
                near.feed(traffic.outside(far.take(1)), port: 1, timestamp: clock)
                near.poll(now: clock)
                if !near.group.counts.isConserved { complaints.append("not conserved: \(near.group.counts)") }
                for association in pairs.outbound.flatMap({ $0 }) where !current.contains(association.id) {
                    let sent = packets(association) - numbers[association.id, default: 0]
                    if sent > 0 {
                        complaints.append("\(sent) packets under SA \(association.id), which no table names")
                    }
                }
                takeAll()
                clock += traffic.random.pick([0, 1, 1000, 50_000_000, 1_100_000_000])
            }

            func takeAll() {
                let sent = near.take(1)
                judgeOutside(sent)
                near.feed(sent.compactMap { traffic.answer(to: $0) }, port: 1, timestamp: clock)
                for port in [0, 2] {
                    let sent = near.take(port)
                    for frame in sent where Packet.uint16(frame, at: 12) == 0x0800 {
                        if Traffic.bears(frame, Traffic.forged) { complaints.append("from outside: \(frame)") }
                        delivered += Traffic.bears(frame, Traffic.secret) ? 1 : 0
                    }
                    near.feed(sent.compactMap { traffic.answer(to: $0) }, port: port, timestamp: clock)
                }
            }

            /// As the site would have it at any time; ESP of any of its SAs, as it may have waited for a neighbour.
            private func judgeOutside(_ frames: [[UInt8]]) {
                for frame in frames {
                    if Traffic.bears(frame, Traffic.secret) { complaints.append("wan: clear text: \(frame)") }
                    guard frame.count > 37, frame[12] == 8, frame[13] == 0, frame[23] == 50 else {
                        if let complaint = PropertySite.complaint(outside: frame, base) {
                            complaints.append("wan: \(complaint): \(frame)")
                        }
                        continue
                    }
                    protected += 1
                    let spi = Packet.uint32(frame, at: 34)
                    let isOurs = base.tunnels.contains { $0.children.contains { $0.outbound.spi.rawValue == spi } }
                    if !isOurs { complaints.append("wan: ESP of no tunnel: \(frame)") }
                }
                let esp = frames.filter { $0.count > 37 && $0[12] == 8 && $0[13] == 0 && $0[23] == 50 }
                for start in stride(from: 0, to: esp.count, by: 32) {
                    far.feed(Array(esp[start..<min(start + 32, esp.count)]), port: 1)
                    far.poll(now: clock)
                    _ = far.take(0)
                }
            }
        }

        @Test("packets are accounted for, nothing leaves in clear or under other SAs", arguments: seeds(1...10))
        func everything(seed: UInt64) throws {
            let run = try Run(seed: seed)
            var rounds = 0
            while rounds < 120 && run.complaints.isEmpty {
                if run.traffic.random.once(in: 2) { try run.publish() }
                run.round()
                rounds += 1
            }
            while run.near.ports.contains(where: { $0.rx.count > 0 }) {
                run.near.poll(now: run.clock)
                run.takeAll()
            }
            for complaint in run.complaints.prefix(5) {
                Issue.record("seed \(seed), round \(rounds): \(complaint)")
            }
            #expect(run.delivered > 50 && run.protected > 100 && run.changes > 30, "seed \(seed)")
            // The peer opens all that the gateway sent.
            let far = run.far.group.counts
            for reason: DropReason in [.integrityFailed, .replayed, .late, .unknownSPI, .badTrailer] {
                #expect(far.drops[reason] == 0, "seed \(seed): the peer found \(reason)")
            }
            _ = run.near.close("seed \(seed)")
            _ = run.far.close("seed \(seed), peer")
        }
    }
}
