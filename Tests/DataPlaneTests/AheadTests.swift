import ESP
import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Packets above what is on disk")
    struct AheadTests {
        init() throws { try TestEnvironment.start() }

        private static let second: UInt64 = 1_000_000_000

        /// A gateway whose inbound SAs have ceilings, and the peer that sends to it under any of them.
        private final class Pair {
            let near: Rig, far: Rig
            let nearPairs: ChildPairs, farPairs: ChildPairs
            private var number: UInt64 = 0
            /// Numbers that came out on the LAN, in their order.
            var delivered: [UInt64] = []

            init(children: Int = 2, tunnels: Int = 1, ceiling: UInt64 = 10) throws {
                let here = address("192.0.2.1"), there = address("192.0.2.2")
                let blocks = (0..<tunnels).map { prefix("10.0.\(10 + $0).0/24") }
                func site(_ isFar: Bool) throws -> Topology {
                    Topology(
                        ports: [
                            port("lan", .protected, isFar ? blocks.map { "\($0)" } : ["10.0.1.1/24"]),
                            port("wan", .unprotected, [isFar ? "192.0.2.2/24" : "192.0.2.1/24"]),
                        ], routes: [], neighbors: [],
                        tunnels: try blocks.enumerated().map { number, block in
                            try tunnel(
                                number, local: isFar ? there : here, remote: isFar ? here : there,
                                localSubnets: [isFar ? block : prefix("10.0.1.0/24")],
                                remoteSubnets: [isFar ? prefix("10.0.1.0/24") : block], window: 1024, isReversed: isFar
                            ).withChildren(children, number: number, isReversed: isFar)
                        }, policies: [])
                }
                var made: [ChildPairs] = []
                let first = Array<Int?>(repeating: 0, count: tunnels)
                func rig(_ site: Topology) throws -> Rig {
                    try Rig(site, buffers: 4095) { arena in
                        made.append(try ChildPairs(site, arena: arena, workers: 1))
                        return made[made.count - 1].states(sending: first)
                    }
                }
                near = try rig(try site(false))
                far = try rig(try site(true))
                (nearPairs, farPairs) = (made[0], made[1])
                for tunnel in 0..<tunnels { for child in 0..<children { setCeiling(ceiling, tunnel, child) } }
            }

            func setCeiling(_ ceiling: UInt64, _ tunnel: Int = 0, _ child: Int = 0) {
                nearPairs.inbound[tunnel][child].reference.with {
                    $0.setCeiling(ceiling, notice: ceiling - min(ceiling, 4))
                }
            }

            /// Says what the peer sends under.
            func sendUnder(_ children: [Int]) throws {
                try far.publish(far.group.tables.topology, farPairs.states(sending: children))
            }

            /// ESP packets from the peer, whose numbers follow each other.
            func make(_ count: Int, tunnel: Int = 0, now: UInt64 = 0) -> [[UInt8]] {
                let frames = (0..<count).map { _ in
                    number += 1
                    return Packet.frame(
                        to: 0,
                        Packet.IPv4(
                            source: 0x0a00_0a05 + UInt32(tunnel) << 8, destination: 0x0a00_0107,
                            payload: bigEndian(number)
                        ).octets)
                }
                var esp: [[UInt8]] = []
                for start in stride(from: 0, to: count, by: 32) {
                    far.feed(Array(frames[start..<min(start + 32, count)]), port: 0)
                    far.poll(now: now)
                    esp += far.take(1)
                }
                return esp
            }

            func receive(_ esp: [[UInt8]], now: UInt64) {
                for start in stride(from: 0, to: max(1, esp.count), by: 32) {
                    near.feed(Array(esp[start..<min(start + 32, esp.count)]), port: 1)
                    near.poll(now: now)
                    delivered += near.take(0).map { Packet.uint64($0, at: 34) }
                    let counts = near.group.counts
                    #expect(counts.isConserved, "\(counts)")
                }
            }

            /// Asks for no packets and lets the worker go round.
            func poll(now: UInt64) { receive([], now: now) }

            var drops: [DropReason: UInt64] { near.group.counts.drops.filter { $0.value > 0 } }
            var waiting: Int { near.first.ahead.count }

            func close(_ context: String) {
                _ = near.close(context)
                _ = far.close(context)
            }
        }

        @Test("they are delivered in order when the ceiling has risen, and later ones behind them")
        func inOrder() throws {
            let pair = try Pair(), esp = pair.make(60)
            pair.receive(Array(esp[0..<20]), now: 0)
            #expect(pair.delivered == Array(1...10) && pair.waiting == 10)
            pair.setCeiling(30)
            pair.receive(Array(esp[20..<25]), now: 1)
            #expect(pair.delivered == Array(1...25) && pair.waiting == 0)
            pair.receive(Array(esp[25..<60]), now: 2)
            #expect(pair.delivered == Array(1...30) && pair.waiting == 30)
            pair.setCeiling(100)
            pair.poll(now: 3)
            #expect(pair.delivered == Array(1...60) && pair.waiting == 0 && pair.drops.isEmpty)
            // Each once, those that waited too.
            pair.receive(Array(esp[15..<60]), now: 4)
            #expect(pair.drops == [.replayed: 45])
            pair.close("in order")
        }

        @Test("one that comes late does not overtake those that wait")
        func late() throws {
            let pair = try Pair(), esp = pair.make(12)
            pair.receive(Array(esp[0..<8]) + [esp[11], esp[8]], now: 0)
            #expect(pair.delivered == Array(1...8) && pair.waiting == 2)
            pair.setCeiling(20)
            pair.receive([esp[9], esp[10]], now: 1)
            #expect(pair.delivered == Array(1...8) + [12, 9, 10, 11] && pair.drops.isEmpty)
            pair.close("late")
        }

        @Test("what comes under the tunnel's next SA waits behind them; other tunnels do not")
        func nextChild() throws {
            let pair = try Pair(tunnels: 2), first = pair.make(15)
            try pair.sendUnder([1, 0])
            let second = pair.make(5), other = pair.make(3, tunnel: 1)
            pair.receive(first, now: 0)
            pair.receive(second + other, now: 1)
            #expect(pair.delivered == Array(1...10) + [21, 22, 23] && pair.waiting == 10)
            pair.setCeiling(20)
            pair.poll(now: 2)
            #expect(pair.delivered == Array(1...10) + [21, 22, 23] + Array(11...20) && pair.waiting == 0)
            pair.close("next child")
        }

        @Test("after a second without an answer they are dropped, and the SA goes on")
        func patience() throws {
            let pair = try Pair(), esp = pair.make(40)
            pair.receive(Array(esp[0..<20]), now: 0)
            pair.receive(Array(esp[20..<25]), now: Self.second / 2)
            for tenth: UInt64 in 6...10 { pair.poll(now: Self.second * tenth / 10) }
            #expect(pair.waiting == 15)
            pair.poll(now: Self.second * 11 / 10)
            #expect(pair.waiting == 5 && pair.drops == [.ahead: 10])
            for tenth: UInt64 in 12...16 { pair.poll(now: Self.second * tenth / 10) }
            #expect(pair.waiting == 0 && pair.drops == [.ahead: 15])
            // Nothing was taken of those: they may still come.
            pair.setCeiling(100)
            pair.receive(Array(esp[10..<40]), now: 2 * Self.second)
            #expect(pair.delivered == Array(1...40) && pair.drops == [.ahead: 15])
            pair.close("patience")
        }

        @Test("so many wait, and what is more is dropped")
        func limit() throws {
            let taken = 10 + AheadList.limit
            let pair = try Pair(), esp = pair.make(taken + 178)
            pair.receive(esp, now: 0)
            #expect(pair.waiting == AheadList.limit && pair.drops == [.ahead: 178])
            pair.setCeiling(UInt64(taken) + 1000)
            for now: UInt64 in 1..<60 { pair.poll(now: now) }
            #expect(pair.delivered == Array(1...UInt64(taken)) && pair.waiting == 0)
            pair.receive(Array(esp[taken...]), now: 60)
            #expect(pair.delivered == Array(1...UInt64(taken + 178)))
            pair.close("limit")
        }

        @Test("when their SA goes they are dropped for that, and those of others stay")
        func gone() throws {
            let pair = try Pair(tunnels: 2), first = pair.make(15), other = pair.make(12, tunnel: 1)
            pair.receive(first + other, now: 0)
            #expect(pair.waiting == 7)
            let site = pair.near.group.tables.topology
            try pair.near.publish(site, pair.nearPairs.states(sending: [0, 0], accepting: [[1], [0, 1]]))
            pair.poll(now: 1)
            #expect(pair.waiting == 2 && pair.drops == [.unknownSPI: 5])
            pair.setCeiling(100, 1, 0)
            pair.poll(now: 2)
            #expect(pair.delivered == Array(1...10) + Array(16...27) && pair.waiting == 0)
            pair.close("gone")
        }

        @Test("when the tunnel moves in the tables they are its own still")
        func moved() throws {
            let pair = try Pair(tunnels: 2), other = pair.make(12, tunnel: 1)
            pair.receive(other, now: 0)
            var site = pair.near.group.tables.topology, states = pair.nearPairs.states(sending: [0, 0])
            site.tunnels.removeFirst()
            states.removeFirst()
            try pair.near.publish(site, states)
            pair.setCeiling(100, 1, 0)
            pair.poll(now: 1)
            #expect(pair.delivered == Array(1...12) && pair.drops.isEmpty)
            pair.close("moved")
        }

        @Test("when their SA ends they are dropped for that at once, and hold nobody up")
        func expired() throws {
            let pair = try Pair(tunnels: 2), first = pair.make(15), other = pair.make(12, tunnel: 1)
            pair.receive(first + other, now: 0)
            pair.nearPairs.inbound[0][0].reference.with { $0.expire() }
            pair.setCeiling(100, 1, 0)
            pair.poll(now: 1)
            #expect(pair.waiting == 0 && pair.drops == [.lifetimeExpired: 5])
            #expect(pair.delivered == Array(1...10) + Array(16...27))
            pair.close("expired")
        }

        @Test("whatever comes and whenever ceilings rise, all arrives in order", arguments: seeds(1...8))
        func property(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let pair = try Pair(children: 3, tunnels: 2, ceiling: 8)
            var ceilings = [[8, 8, 8], [8, 8, 8]] as [[UInt64]], sending = [0, 0]
            /// The tunnel of each number.
            var tunnels: [Int] = [0]
            var now: UInt64 = 0
            func raise(_ tunnel: Int, _ child: Int) {
                let wanted = pair.nearPairs.inbound[tunnel][child].reference.with {
                    max($0.wanted.load(ordering: .relaxed), $0.highest.load(ordering: .relaxed))
                }
                ceilings[tunnel][child] = max(ceilings[tunnel][child], wanted + UInt64(random.below(40)))
                pair.setCeiling(ceilings[tunnel][child], tunnel, child)
            }
            for _ in 0..<200 {
                let tunnel = random.below(2)
                if random.once(in: 6) {
                    sending[tunnel] = random.below(3)
                    try pair.sendUnder(sending)
                }
                let esp = pair.make(random.below(20), tunnel: tunnel)
                tunnels += Array(repeating: tunnel, count: esp.count)
                pair.receive(esp, now: now)
                if random.once(in: 2) { raise(random.below(2), random.below(3)) }
                now += UInt64(random.below(10_000_000))
            }
            for _ in 0..<20 {
                for tunnel in 0..<2 { for child in 0..<3 { raise(tunnel, child) } }
                pair.poll(now: now)
            }
            // Of each tunnel in its order: what was lost must have been told of.
            let dropped = pair.drops[.ahead, default: 0]
            #expect(pair.delivered.count + Int(dropped) == tunnels.count - 1 && pair.waiting == 0, "seed \(seed)")
            for tunnel in 0..<2 {
                let numbers = pair.delivered.filter { tunnels[Int($0)] == tunnel }
                #expect(zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }, "seed \(seed): \(numbers)")
                #expect(numbers.count > 300, "seed \(seed): the run was about nothing")
            }
            #expect(pair.drops.keys.allSatisfy { $0 == .ahead }, "seed \(seed): \(pair.drops)")
            pair.close("seed \(seed)")
        }
    }
}
