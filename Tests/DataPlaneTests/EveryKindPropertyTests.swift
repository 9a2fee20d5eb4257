import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("Tunnels of every kind under everything a network can do")
    struct EveryKindPropertyTests {
        init() throws { try TestEnvironment.start() }

        /// One of the two gateways, and what the model knows of it.
        private final class Side {
            let rig: Rig, site: Topology, isFar: Bool
            /// Payloads of hosts behind the other side, by number, and those that came out here.
            var sent: [UInt64: [UInt8]] = [:]
            var delivered: Set<UInt64> = []
            /// What the other side sent here, kept to be sent again.
            var kept: [[UInt8]] = []

            init(isFar: Bool) throws {
                site = try EveryKind.site(isFar: isFar)
                rig = try Rig(site)
                self.isFar = isFar
            }
        }

        private struct Run {
            let seed: UInt64
            var random: SplitMix64
            let near: Side, far: Side
            var clock: UInt64 = 1
            var number: UInt64 = 0
            var complaints: [String] = []

            init(seed: UInt64) throws {
                self.seed = seed
                random = SplitMix64(seed: seed)
                near = try Side(isFar: false)
                far = try Side(isFar: true)
            }

            /// A packet of a host behind one side for one behind the other, and whether it can't but arrive.
            mutating func packet(from side: Side, to other: Side, isPlain: Bool) -> (frame: [UInt8], number: UInt64) {
                number += 1
                let length = isPlain ? random.below(1200) : random.once(in: 3) ? random.below(1400) : random.below(100)
                let payload = Packet.udp(
                    from: UInt16(1 + random.below(9999)), to: UInt16(1 + random.below(9999)),
                    Traffic.secret + bigEndian(number) + bigEndian(~number) + random.octets(length))
                let tunnel = random.below(EveryKind.count), host = UInt32(2 + random.below(20))
                let near4 = 0x0a00_0100 | host, far4 = 0x0a40_0000 + UInt32(tunnel) << 16 | host
                let near6 = v6("fd00:1::") | UInt128(host)
                let far6 = v6("fd01::") + UInt128(EveryKindPropertyTests.group(tunnel)) << 96 | UInt128(host)
                let hops: UInt8 = isPlain ? 64 : random.pick([64, 64, 64, 255, 2, 1])
                other.sent[number] = payload
                if random.once(in: 2) {
                    let packet = Packet.IPv4(
                        typeOfService: UInt8(random.below(256)),
                        fragment: isPlain ? 0 : random.pick([0, 0, 0x4000, 0x2000, 0x0007]), timeToLive: hops,
                        source: side.isFar ? far4 : near4, destination: side.isFar ? near4 : far4,
                        options: isPlain ? [] : random.pick([[], [], [1, 1, 1, 0]]), payload: payload)
                    return (Packet.frame(to: 0x0200_0000_0100, packet.octets), number)
                }
                let odd: [[(number: UInt8, octets: [UInt8])]] = [
                    [], [], [Packet.fragment(offset: 0, more: true)], [Packet.fragment(offset: 64, more: false)],
                    [(60, [0, 0, 1, 4, 0, 0, 0, 0])], [(0, [0, 0, 1, 4, 0, 0, 0, 0])],
                ]
                let packet = Packet.IPv6(
                    trafficClass: UInt8(random.below(256)), flowLabel: UInt32(random.below(1 << 20)), hopLimit: hops,
                    nextHeader: 17, source: side.isFar ? far6 : near6, destination: side.isFar ? near6 : far6,
                    extensions: isPlain ? [] : random.pick(odd), payload: payload)
                return (Packet.frame(to: 0x0200_0000_0100, type: 0x86dd, packet.octets), number)
            }

            /// What the network makes of frames on their way: copies, damage, losses, earlier ones, fragments.
            mutating func disturbed(_ frames: [[UInt8]], to side: Side) -> [[UInt8]] {
                var made: [[UInt8]] = []
                for frame in frames {
                    switch random.below(8) {
                    case 0: made += [frame, frame]
                    case 1:
                        // Behind the outer headers, which nothing protects where there is UDP.
                        let start = 14 + (EveryKind.protection(Array(frame.dropFirst(14)))?.start ?? 20)
                        var damaged = frame
                        // Often its first octets, which say more than the others.
                        let reach = random.once(in: 3) ? min(8, frame.count - start) : frame.count - start
                        damaged[start + random.below(reach)] ^= 1 << UInt8(random.below(8))
                        made.append(damaged)
                    case 2: break
                    case 3, 4:
                        var parts = EveryKind.fragments(frame, 2 + random.below(3))
                        if random.once(in: 2) { parts.reverse() }
                        made += parts
                    case 5: made.append(Array(frame.prefix(14 + random.below(frame.count - 14))))
                    default: made.append(frame)
                    }
                    if side.kept.count < 300 { side.kept.append(frame) }
                }
                while random.once(in: 2), let again = side.kept.randomElement(using: &random) { made.append(again) }
                return made
            }

            /// What came out behind one side: what was sent, each once.
            mutating func deliver(_ side: Side) {
                for frame in side.rig.take(EveryKind.lan) {
                    let isIPv6 = Packet.uint16(frame, at: 12) == 0x86dd
                    // An ICMP error quotes what it is about.
                    guard frame.count > 34, frame[isIPv6 ? 20 : 23] != (isIPv6 ? 58 : 1),
                        let number = Traffic.number(in: frame, mark: Traffic.secret)
                    else { continue }
                    if !side.delivered.insert(number).inserted { complaints.append("\(number) came twice") }
                    // The first of several fragments has the beginning of it.
                    let start = (Traffic.place(of: Traffic.secret, in: frame) ?? 0) - 8
                    guard let payload = side.sent[number], start > 0, payload.starts(with: frame[start...]) else {
                        complaints.append("\(number) is not what was sent: \(frame)")
                        continue
                    }
                    if frame.count - start < min(payload.count, 1200) { complaints.append("\(number) is cut short") }
                }
            }

            /// From one side's hosts to the other's, through the network. In a calm round all that is plain arrives.
            mutating func pass(from side: Side, to other: Side, isCalm: Bool) {
                let packets = (0..<random.below(30)).map { _ in packet(from: side, to: other, isPlain: isCalm) }
                side.rig.feed(packets.map(\.frame), port: EveryKind.lan, timestamp: clock)
                side.rig.poll(now: clock)
                deliver(side)
                let outside = side.rig.take(EveryKind.wan)
                for frame in outside {
                    if let complaint = EveryKind.complaint(outside: frame, side.site) {
                        complaints.append("\(complaint): \(frame)")
                    }
                }
                let arriving = isCalm ? outside : disturbed(outside, to: other)
                for start in stride(from: 0, to: arriving.count, by: 32) {
                    other.rig.feed(
                        Array(arriving[start..<min(start + 32, arriving.count)]), port: EveryKind.wan, timestamp: clock)
                    other.rig.poll(now: clock)
                }
                deliver(other)
                if isCalm, let lost = packets.first(where: { !other.delivered.contains($0.number) }) {
                    complaints.append("\(lost.number) did not arrive: \(lost.frame), \(other.rig.group.counts)")
                }
                for side in [near, far] where !side.rig.group.counts.isConserved {
                    complaints.append("not conserved: \(side.rig.group.counts)")
                }
                clock += random.pick([0, 1, 1000, 50_000_000, 1_100_000_000])
            }
        }

        /// The hexadecimal group that is written with a tunnel's number in decimal digits.
        private static func group(_ tunnel: Int) -> UInt16 { UInt16("\(tunnel + 1)", radix: 16) ?? 0 }

        @Test("each packet arrives once and as it was, or is accounted for", arguments: seeds(1...8))
        func everything(seed: UInt64) throws {
            var run = try Run(seed: seed), rounds = 0
            while rounds < 120 && run.complaints.isEmpty {
                let isCalm = run.random.once(in: 3)
                run.pass(from: run.near, to: run.far, isCalm: isCalm)
                run.pass(from: run.far, to: run.near, isCalm: isCalm)
                rounds += 1
            }
            for complaint in run.complaints.prefix(3) {
                Issue.record("seed \(seed), round \(rounds): \(complaint)")
            }
            // The run was about something, in both directions.
            for side in [run.near, run.far] {
                let drops = side.rig.group.counts.drops
                #expect(side.delivered.count > 500, "seed \(seed)")
                for reason: DropReason in [.integrityFailed, .replayed, .malformed, .unknownSPI, .ttlExpired]
                where drops[reason] == 0 {
                    Issue.record("seed \(seed): no packet was dropped as \(reason): \(drops)")
                }
                _ = side.rig.close("seed \(seed)")
            }
        }
    }
}
