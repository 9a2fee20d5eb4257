import CDPDK
import IPsec
import SeededRandom
import Testing
import Wire

@testable import DataPlane

@Suite("Which lane each place has")
struct LanePlanTests {
    /// What an engineer would keep on paper: who has which place now, and who had it first.
    @Test("a lane that ends gives its places away and takes them back; no other place moves", arguments: seeds(1...40))
    func places(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let count = 2 + random.below(15)
        var isSending = Array(repeating: true, count: count)
        let first = LanePlan.places(isSending)
        #expect(Set(first).count == count)
        for lane in 0..<count { #expect(first.count { $0 == lane } == LanePlan.placesPerLane, "seed \(seed)") }
        var now = first, before = isSending
        for step in 0..<60 {
            isSending[random.below(count)].toggle()
            if !isSending.contains(true) { isSending[random.below(count)] = true }
            let next = LanePlan.places(isSending)
            #expect(next.count == now.count)
            for place in next.indices {
                let context = "seed \(seed), step \(step), place \(place)"
                let own = first[place], was = now[place], lane = next[place]
                #expect(isSending[lane], "\(context): nothing is sent there")
                #expect(!isSending[own] || lane == own, "\(context): its own lane is there")
                // A place that moves leaves a lane that ended, or goes to one that has just begun.
                #expect(lane == was || !isSending[was] || !before[lane], "\(context)")
            }
            (now, before) = (next, isSending)
        }
    }

    @Test("the places of a lane that ended are shared out among all that are left")
    func shared() {
        for count in 3...16 {
            let all = LanePlan.places(Array(repeating: true, count: count))
            let one = LanePlan.places([false] + Array(repeating: true, count: count - 1))
            let heirs = Set(all.indices.filter { all[$0] == 0 }.map { one[$0] })
            #expect(heirs.count >= (count - 1) / 2, "\(count) lanes: \(heirs)")
        }
    }
}

extension OnDPDK {
    @Suite("A tunnel that two workers share")
    struct LaneTests {
        init() throws { try TestEnvironment.start() }

        private static let spis: [UInt32] = [0x1000, 0x2001]

        /// The tunnel has two pairs, each of another worker at both ends.
        private static func site(isFar: Bool) throws -> Topology {
            let ends = [address("192.0.2.1"), address("192.0.2.2")]
            let blocks = [
                [prefix("10.0.1.0/24"), prefix("fd00:1::/64")], [prefix("10.0.2.0/24"), prefix("fd00:2::/64")],
            ]
            let here = isFar ? 1 : 0, there = isFar ? 0 : 1
            let joined = try tunnel(
                0, local: ends[here], remote: ends[there], localSubnets: blocks[here], remoteSubnets: blocks[there],
                window: 1024, isReversed: isFar
            ).withChildren(2, number: 0, isReversed: isFar)
            let addresses = [["10.0.1.1/24", "fd00:1::1/64"], ["10.0.2.1/24", "fd00:2::1/64"]]
            return Topology(
                ports: [
                    port("lan", .protected, addresses[here]),
                    port("wan", .unprotected, [isFar ? "192.0.2.2/24" : "192.0.2.1/24"]),
                ], routes: [], neighbors: [], tunnels: [joined], policies: [])
        }

        private final class Gateway {
            let site: Topology
            let rig: Rig
            private(set) var pairs: [(OutboundAssociation, InboundAssociation)] = []

            init(isFar: Bool) throws {
                let site = try LaneTests.site(isFar: isFar)
                self.site = site
                var pairs: [(OutboundAssociation, InboundAssociation)] = []
                rig = try Rig(site, workers: 2) { arena in
                    pairs = try (0..<2).map { try pair(site.tunnels[0], child: $0, arena: arena, owner: $0) }
                    return [Gateway.state(pairs, [true, true])]
                }
                self.pairs = pairs
            }

            static func state(
                _ pairs: [(OutboundAssociation, InboundAssociation)], _ isSending: [Bool]
            ) -> TunnelState {
                TunnelState(
                    lanes: pairs.enumerated().map {
                        TunnelState.Lane(outbound: isSending[$0.offset] ? $0.element.0 : nil, owner: $0.offset)
                    }, inbound: pairs.map(\.1))
            }

            func publish(_ isSending: [Bool]) throws { try rig.publish(site, [Gateway.state(pairs, isSending)]) }

            /// Rounds until all that is between the workers has come out.
            func take(_ port: Int, now: UInt64) -> [[UInt8]] {
                var frames: [[UInt8]] = []
                for _ in 0..<4 {
                    rig.poll(now: now)
                    frames += rig.take(port)
                }
                return frames
            }
        }

        /// A flow and what its packets look like. Whole packets of some are among fragments: those are two flows.
        private struct Flow {
            let number: UInt32
            let isIPv6: Bool
            let host: UInt32, peer: UInt32
            let ipProtocol: UInt8
            let ports: (UInt16, UInt16)
            let isFragments: Bool

            init(_ number: UInt32, _ random: inout SplitMix64) {
                self.number = number
                isIPv6 = random.once(in: 3)
                host = UInt32(2 + number)
                peer = UInt32(2 + random.below(200))
                ipProtocol = random.pick([6, 17, 17, 132, 50, 47])
                ports = (UInt16(1024 + random.below(60000)), UInt16(random.below(60000)))
                isFragments = random.once(in: 4)
            }

            /// The first of a datagram's fragments shows its ports, the others do not.
            func packet(_ sequence: UInt32, _ random: inout SplitMix64) -> [UInt8] {
                let isLater = isFragments && random.once(in: 2), more = isFragments && (!isLater || random.once(in: 2))
                let mark = bigEndian(number) + bigEndian(sequence)
                var payload = bigEndian(ports.0) + bigEndian(ports.1) + random.octets(24 + random.below(8) * 8)
                // What stands where a first fragment has its ports is a later one's own affair.
                if isLater { payload.replaceSubrange(0..<4, with: random.octets(4)) }
                payload += mark
                let offset: UInt16 = isLater ? UInt16(8 * (1 + random.below(100))) : 0
                if isIPv6 {
                    let prefix = v6("fd00:1::"), remote = v6("fd00:2::")
                    let chain = isFragments ? [Packet.fragment(offset: offset, more: more)] : []
                    let packet = Packet.IPv6(
                        nextHeader: ipProtocol, source: prefix + UInt128(host), destination: remote + UInt128(peer),
                        extensions: chain, payload: payload)
                    return Packet.frame(to: 0, type: 0x86dd, packet.octets)
                }
                var packet = Packet.IPv4(
                    source: 0x0a00_0100 + host, destination: 0x0a00_0200 + peer, payload: payload)
                packet.ipProtocol = ipProtocol
                packet.fragment = isFragments ? (more ? 0x2000 : 0) | offset / 8 : 0
                return Packet.frame(to: 0, packet.octets)
            }
        }

        /// Sends packets of all flows and says by which SPI each flow went; complains of what came out of order.
        private struct Run {
            let seed: UInt64
            var random: SplitMix64
            let near: Gateway, far: Gateway
            let flows: [Flow]
            var sent: [UInt32]
            var arrived: [UInt32]
            var clock: UInt64 = 0
            /// The last ESP sequence number of each SPI.
            var numbers: [UInt32: UInt32] = [:]

            init(seed: UInt64) throws {
                self.seed = seed
                random = SplitMix64(seed: seed)
                near = try Gateway(isFar: false)
                far = try Gateway(isFar: true)
                var flows: [Flow] = []
                for number in 0..<48 { flows.append(Flow(UInt32(number), &random)) }
                self.flows = flows
                sent = Array(repeating: 0, count: flows.count)
                arrived = sent
            }

            mutating func round() -> [UInt32: Set<UInt32>] {
                clock += 1
                var frames: [[UInt8]] = []
                for _ in 0..<300 {
                    let flow = random.pick(flows), number = Int(flow.number)
                    sent[number] += 1
                    // Runs, as traffic comes in.
                    frames.append(flow.packet(sent[number], &random))
                }
                near.rig.feed(frames, port: 0)
                var outside: [[UInt8]] = []
                for _ in 0..<16 { outside += near.take(1, now: clock) }
                let esp = outside.filter { $0.count > 42 && $0[12] == 8 && $0[23] == 50 }
                #expect(esp.count == frames.count && outside.count == esp.count, "seed \(seed): all go out, and as ESP")
                var lanes: [UInt32: Set<UInt32>] = [:]
                for spi in LaneTests.spis { judge(esp.filter { Packet.uint32($0, at: 34) == spi }, spi, &lanes) }
                return lanes
            }

            /// Of an SPI: numbers without a gap, and the peer opens all of them, in order within each flow.
            private mutating func judge(_ frames: [[UInt8]], _ spi: UInt32, _ lanes: inout [UInt32: Set<UInt32>]) {
                for frame in frames {
                    let number = Packet.uint32(frame, at: 38)
                    #expect(number == numbers[spi, default: 0] + 1, "seed \(seed): one counter for SPI \(spi)")
                    numbers[spi] = number
                }
                var inside: [[UInt8]] = []
                for start in stride(from: 0, to: frames.count, by: 128) {
                    far.rig.feed(Array(frames[start..<min(start + 128, frames.count)]), port: 1)
                    for _ in 0..<4 { inside += far.take(0, now: clock) }
                }
                #expect(inside.count == frames.count, "seed \(seed): \(far.rig.group.counts.drops)")
                for frame in inside {
                    let flow = Packet.uint32(frame, at: frame.count - 8)
                    let sequence = Packet.uint32(frame, at: frame.count - 4)
                    #expect(sequence == arrived[Int(flow)] + 1, "seed \(seed): flow \(flow) in order")
                    arrived[Int(flow)] = sequence
                    lanes[flow, default: []].insert(spi)
                }
            }
        }

        @Test(
            "each flow keeps its lane and its order; those of a lane that ended move, and come back",
            arguments: seeds(1...8))
        func flowsAndLanes(seed: UInt64) throws {
            var run = try Run(seed: seed)
            var own: [UInt32: UInt32] = [:], isSending = [true, true]
            for round in 0..<14 {
                for (flow, spis) in run.round() {
                    let context = "seed \(seed), round \(round), flow \(flow)"
                    #expect(spis.count == 1, "\(context): one lane")
                    guard let spi = spis.first, let lane = LaneTests.spis.firstIndex(of: spi) else { continue }
                    #expect(isSending[lane], "\(context): a lane that has ended")
                    if isSending == [true, true] {
                        #expect(own[flow, default: spi] == spi, "\(context): its lane is there")
                        own[flow] = spi
                    }
                }
                isSending = [[true, true], [true, false], [true, true], [false, true]][round % 4]
                try run.near.publish(isSending)
            }
            #expect(Set(own.values) == Set(LaneTests.spis), "seed \(seed): both lanes carry flows")
            // Whoever received them: both workers had some to pass on.
            #expect(run.near.rig.group.handedOver.allSatisfy { $0 == 0 } == false)
            #expect(run.near.rig.group.handedOver.reduce(0, +) == run.near.rig.group.takenOver.reduce(0, +))
            // ESP came by one queue, and went to whoever owns its SA: that spreads it in software.
            #expect(run.far.rig.group.handedOver[1] > 0 && run.far.rig.group.takenOver[1] == 0, "seed \(seed)")
            #expect(run.near.rig.group.counts.dropped == 0 && run.far.rig.group.counts.dropped == 0, "seed \(seed)")
            // Each packet counts once for its policy, whoever looked first.
            let counted = run.near.rig.group.policyCounts(.outbound).reduce(0) { $0 + $1.packets }
            #expect(counted == UInt64(run.sent.reduce(0, +)), "seed \(seed)")
            _ = run.near.rig.close("seed \(seed)")
            _ = run.far.rig.close("seed \(seed), far")
        }

        @Test("a tunnel whose lanes have all ended drops for what its state says")
        func allOver() throws {
            let near = try Gateway(isFar: false)
            var state = Gateway.state(near.pairs, [false, false])
            state.refusal = .lifetimeExpired
            try near.rig.publish(near.site, [state])
            let packet = Packet.IPv4(source: 0x0a00_0105, destination: 0x0a00_0205, payload: [1, 2, 3, 4])
            near.rig.feed([Packet.frame(to: 0, packet.octets)], port: 0)
            #expect(near.take(1, now: 1).isEmpty && near.rig.group.counts.drops[.lifetimeExpired] == 1)
            _ = near.rig.close("all over")
        }
    }
}
