import ESP
import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Rekey while packets flow")
    struct RekeyTests {
        init() throws { try TestEnvironment.start() }

        private static let children = 4, tunnels = 4

        /// Tunnels 0 and 2 belong to the first worker of the near gateway, 1 and 3 to the second; the first polls the
        /// LAN, the second the WAN.
        private static func site(isFar: Bool) throws -> Topology {
            let here = address("192.0.2.1"), there = address("192.0.2.2")
            let blocks = (0..<tunnels).map { prefix("10.0.\(10 + $0).0/24") }
            return Topology(
                ports: [
                    port("lan", .protected, isFar ? (0..<4).map { "10.0.\(10 + $0).1/24" } : ["10.0.1.1/24"]),
                    port("wan", .unprotected, [isFar ? "192.0.2.2/24" : "192.0.2.1/24"]),
                ], routes: [], neighbors: [],
                tunnels: try blocks.enumerated().map { number, block in
                    try tunnel(
                        number, local: isFar ? there : here, remote: isFar ? here : there,
                        localSubnets: [isFar ? block : prefix("10.0.1.0/24")],
                        remoteSubnets: [isFar ? prefix("10.0.1.0/24") : block], isReversed: isFar
                    ).withChildren(children, number: number, isReversed: isFar)
                }, policies: [])
        }

        private final class Run {
            let near: Rig, far: Rig
            let nearPairs: ChildPairs, farPairs: ChildPairs
            var nearSending = Array(repeating: 0, count: tunnels), farSending = Array(repeating: 0, count: tunnels)
            /// Numbers per tunnel as they were sent and as they arrived: out of the near site, and into it.
            var sent = (out: [Int: [UInt64]](), into: [Int: [UInt64]]())
            var arrived = (out: [Int: [UInt64]](), into: [Int: [UInt64]]())

            init() throws {
                var made: [ChildPairs] = []
                func rig(_ site: Topology, workers: Int) throws -> Rig {
                    try Rig(site, workers: workers) { arena in
                        made.append(try ChildPairs(site, arena: arena, workers: workers))
                        return made[made.count - 1].states(sending: Array(repeating: 0, count: tunnels))
                    }
                }
                near = try rig(try site(isFar: false), workers: 2)
                far = try rig(try site(isFar: true), workers: 1)
                (nearPairs, farPairs) = (made[0], made[1])
            }

            func collect(now: UInt64) {
                for frame in near.take(0) { note(frame, &arrived.into, tunnelAt: 12) }
                let outside = near.take(1)
                for start in stride(from: 0, to: outside.count, by: 32) {
                    far.feed(Array(outside[start..<min(start + 32, outside.count)]), port: 1)
                    far.poll(now: now)
                    for frame in far.take(0) { note(frame, &arrived.out, tunnelAt: 16) }
                }
            }

            private func note(_ frame: [UInt8], _ numbers: inout [Int: [UInt64]], tunnelAt offset: Int) {
                let tunnel = Int(Packet.uint32(frame, at: 14 + offset) >> 8 & 0xff) - 10
                numbers[tunnel, default: []].append(Packet.uint64(frame, at: 34))
            }

            /// Packets both ways; the near workers go round in either order, or only one of them does.
            func round(_ number: Int, _ random: inout SplitMix64) {
                let now = UInt64(number)
                var out: [[UInt8]] = [], back: [[UInt8]] = []
                for packet in 0..<random.below(28) {
                    let mark = UInt64(number) << 8 | UInt64(packet), tunnel = random.below(tunnels)
                    let there = 0x0a00_0a05 + UInt32(tunnel) << 8
                    if random.once(in: 2) {
                        sent.out[tunnel, default: []].append(mark)
                        out.append(frame(0x0a00_0107, there, mark))
                    } else {
                        sent.into[tunnel, default: []].append(mark)
                        back.append(frame(there, 0x0a00_0107, mark))
                    }
                }
                far.feed(back, port: 0)
                far.poll(now: now)
                near.feed(out, port: 0)
                near.feed(far.take(1), port: 1)
                switch random.below(4) {
                case 0: near.first.poll(now: now)
                case 1: near.second?.poll(now: now)
                default: near.poll(now: now)
                }
                near.first.showInFlight()
                near.second?.showInFlight()
                near.first.releaseDropped()
                near.second?.releaseDropped()
                collect(now: now)
            }

            private func frame(_ source: UInt32, _ destination: UInt32, _ mark: UInt64) -> [UInt8] {
                Packet.frame(
                    to: 0,
                    Packet.IPv4(source: source, destination: destination, payload: bigEndian(mark) + [1, 2]).octets)
            }

            /// Other SAs to send under, other routes and policies, on either side.
            func change(_ random: inout SplitMix64) throws {
                // Route tables are large: no more of them than workers and control plane need.
                guard near.group.reclaim() || random.once(in: 2) else { return }
                if random.once(in: 2) {
                    nearSending[random.below(tunnels)] = random.below(children)
                    var site = near.group.tables.topology
                    if random.once(in: 3) {
                        site.routes = [
                            .init(
                                destination: prefix("10.7.\(random.below(9)).0/24"), via: address("10.0.1.9"), port: 0)
                        ]
                    }
                    if random.once(in: 3) {
                        let selector = TrafficSelector(
                            source: prefix("10.8.\(random.below(9)).0/24"), destination: prefix("0.0.0.0/0"))
                        site.policies = [
                            Policy(action: .discard, direction: .outbound, selector: selector, priority: 1)
                        ]
                    }
                    try near.publish(site, nearPairs.states(sending: nearSending))
                } else {
                    farSending[random.below(tunnels)] = random.below(children)
                    try far.publish(far.group.tables.topology, farPairs.states(sending: farSending))
                }
            }
        }

        @Test("nothing is lost and nothing overtakes, with two workers and in both directions", arguments: seeds(1...6))
        func everythingInOrder(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let run = try Run()
            for number in 0..<150 {
                if random.once(in: 2) { try run.change(&random) }
                run.round(number, &random)
                let counts = run.near.group.counts
                #expect(counts.isConserved, "seed \(seed), round \(number): \(counts)")
            }
            for round: UInt64 in 0..<12 {
                run.near.poll(now: 1000 + round)
                run.collect(now: 1000 + round)
            }
            #expect(run.arrived.out == run.sent.out, "seed \(seed)")
            #expect(run.arrived.into == run.sent.into, "seed \(seed)")
            #expect(run.near.group.counts.dropped == 0 && run.far.group.counts.dropped == 0, "seed \(seed)")
            // It was about something: all children of all tunnels were sent under.
            let used = run.nearPairs.outbound.flatMap { $0 }.filter { $0.reference.with { $0.packets } > 0 }
            #expect(used.count > 10, "seed \(seed)")
            #expect(run.near.group.reclaim() && run.far.group.reclaim())
            _ = run.near.close("seed \(seed)")
            _ = run.far.close("seed \(seed), far")
        }
    }
}
