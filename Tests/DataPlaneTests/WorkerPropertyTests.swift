import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("A worker under everything a network can send")
    struct WorkerPropertyTests {
        init() throws { try TestEnvironment.start() }

        /// One run: the gateway under test, its peer, and what was seen.
        private final class Run {
            let seed: UInt64
            var traffic: Traffic
            let near: Rig, far: Rig
            let records: [InputRecord]
            var clock: UInt64
            /// Numbers of payloads that came out, each only once.
            var deliveredNear: Set<UInt64> = [], deliveredFar: Set<UInt64> = []
            var complaints: [String] = []

            init(seed: UInt64) throws {
                self.seed = seed
                traffic = Traffic(seed: seed)
                let resolve = traffic.random.once(in: 2)
                near = try Rig(
                    PropertySite.near(&traffic.random), buffers: traffic.random.pick([191, 511, 2047]),
                    mode: .replay(resolve: resolve))
                far = try Rig(PropertySite.far())
                records = try near.group.tables.topology.ports.map { try InputRecord("worker-seed-\(seed)-\($0.name)") }
                clock = traffic.random.pick([0, 1, 1_700_000_000_000_000_000, UInt64(UInt32.max) * 1_000_000_000])
            }

            /// What the unprotected port sent: nothing but what may leave, nothing of the inside in clear, all of it
            /// good.
            func judgeOutside(_ frames: [[UInt8]]) {
                for frame in frames {
                    if let complaint = PropertySite.complaint(outside: frame, near.group.tables.topology) {
                        complaints.append("wan: \(complaint): \(frame)")
                    }
                    if Traffic.bears(frame, Traffic.secret) { complaints.append("wan: clear text: \(frame)") }
                }
                let esp = frames.filter { $0.count > 23 && $0[12] == 8 && $0[13] == 0 && $0[23] == 50 }
                for start in stride(from: 0, to: esp.count, by: 32) {
                    far.feed(Array(esp[start..<min(start + 32, esp.count)]), port: PropertySite.wan)
                    far.poll(now: clock)
                    deliver(far.take(PropertySite.lan), to: \.deliveredFar, "far lan")
                }
            }

            /// What a protected port sent: whole packets, nothing twice, nothing that came in clear from outside.
            func deliver(_ frames: [[UInt8]], to seen: ReferenceWritableKeyPath<Run, Set<UInt64>>, _ name: String) {
                for frame in frames where Packet.uint16(frame, at: 12) == 0x0800 {
                    let packet = Array(frame.dropFirst(14))
                    if let complaint = PropertySite.complaint(about: packet) {
                        complaints.append("\(name): \(complaint): \(frame)")
                    }
                    if Traffic.bears(frame, Traffic.forged) { complaints.append("\(name): from outside: \(frame)") }
                    // An ICMP error quotes what it is about; that is no delivery.
                    guard packet.count > 9, packet[9] != 1 else { continue }
                    guard let number = Traffic.number(in: frame, mark: Traffic.secret) else { continue }
                    if !self[keyPath: seen].insert(number).inserted {
                        complaints.append("\(name): number \(number) twice")
                    }
                }
            }

            func round() {
                let inside = (0..<traffic.random.below(40)).map { _ in traffic.inside() }
                far.feed((0..<traffic.random.below(24)).map { _ in traffic.forPeer() }, port: PropertySite.lan)
                far.poll(now: clock)
                let outside = traffic.outside(far.take(PropertySite.wan))
                feed(inside, PropertySite.lan)
                feed(outside, PropertySite.wan)
                near.poll(now: clock)
                check()
                // Now and then nobody takes what the ports send.
                if !traffic.random.once(in: 3) { takeAll() }
                clock += traffic.random.pick([0, 1, 1000, 50_000_000, 1_100_000_000])
            }

            private func feed(_ frames: [[UInt8]], _ port: Int) {
                records[port].append(frames, nanoseconds: clock)
                near.feed(frames, port: port, timestamp: clock)
            }

            func takeAll() {
                let sent = near.take(PropertySite.wan)
                judgeOutside(sent)
                feed(sent.compactMap { traffic.answer(to: $0) }, PropertySite.wan)
                for port in [0, 2] {
                    let sent = near.take(port)
                    deliver(sent, to: \.deliveredNear, near.group.tables.topology.ports[port].name)
                    feed(sent.compactMap { traffic.answer(to: $0) }, port)
                }
            }

            func check() {
                let counts = near.group.counts
                if !counts.isConserved { complaints.append("not conserved: \(counts)") }
            }

            /// All input is processed; then the end. Returns where packets went.
            func finish() -> (near: PacketCounts, far: PacketCounts) {
                while near.ports.contains(where: { $0.rx.count > 0 }) {
                    near.poll(now: clock)
                    takeAll()
                    check()
                }
                let context = "seed \(seed)"
                let last = near.close(context)
                judgeOutside(last[PropertySite.wan])
                for port in [0, 2] { deliver(last[port], to: \.deliveredNear, "lan") }
                let counts = near.group.counts
                deliver(far.close(context)[PropertySite.lan], to: \.deliveredFar, "far lan")
                return (counts, far.group.counts)
            }
        }

        @Test("packets are accounted for, and nothing leaks, repeats or traps", arguments: seeds(1...12))
        func everything(seed: UInt64) throws {
            let run = try Run(seed: seed)
            var rounds = 0
            while rounds < 150 && run.complaints.isEmpty {
                run.round()
                rounds += 1
            }
            let (near, far) = run.finish()
            for complaint in run.complaints.prefix(5) {
                Issue.record("seed \(seed), round \(rounds): \(complaint); input: \(run.records.map(\.path))")
            }
            // The peer opens all that the gateway sent: what it drops is what it was sent to drop.
            for reason: DropReason in [
                .integrityFailed, .replayed, .late, .unknownSPI, .badTrailer, .tunnelAddressMismatch,
            ] {
                #expect(far.drops[reason] == 0, "seed \(seed): the peer found \(reason)")
            }
            // The run was about something.
            #expect(run.deliveredFar.count > 100 && run.deliveredNear.count > 100, "seed \(seed)")
            for reason: DropReason in [
                .malformed, .martian, .noPolicy, .policyDiscard, .ttlExpired, .unprotected, .unknownSPI,
                .tunnelAddressMismatch, .reassemblyFailed, .integrityFailed, .selectorMismatch, .unsupportedEthertype,
            ] where near.drops[reason] == 0 {
                Issue.record("seed \(seed): no packet was dropped as \(reason): \(near.drops)")
            }
            #expect((near.drops[.replayed] ?? 0) + (near.drops[.late] ?? 0) > 0, "seed \(seed)")
            let isFine = run.complaints.isEmpty
            for record in run.records { record.close(keeping: !isFine) }
        }
    }
}
