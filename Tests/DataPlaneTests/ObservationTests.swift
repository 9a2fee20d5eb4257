import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    /// lan 10.0.1.0/24 [0] --- [1] wan 192.0.2.0/24, a tunnel to 198.51.100.1 for 10.0.2.0/24.
    @Suite("What workers show of packets to somebody who looks")
    struct ObservationTests {
        init() throws { try TestEnvironment.start() }

        private static func site(reversed: Bool = false) throws -> Topology {
            let lan = prefix("10.0.1.0/24"), far = prefix("10.0.2.0/24")
            let (here, there) = (address("192.0.2.1"), address("198.51.100.1"))
            return Topology(
                ports: [
                    port("lan", .protected, [reversed ? "10.0.2.1/24" : "10.0.1.1/24"]),
                    port("wan", .unprotected, [reversed ? "198.51.100.1/24" : "192.0.2.1/24"]),
                ],
                routes: [
                    Topology.Route(
                        destination: prefix("0.0.0.0/0"), via: address(reversed ? "198.51.100.254" : "192.0.2.254"),
                        port: 1)
                ], neighbors: [],
                tunnels: [
                    try tunnel(
                        0, local: reversed ? there : here, remote: reversed ? here : there,
                        localSubnets: [reversed ? far : lan], remoteSubnets: [reversed ? lan : far],
                        isReversed: reversed)
                ], policies: [])
        }

        /// A datagram from 10.0.1.5 to 10.0.2.0 + `host`.
        private static func datagram(_ number: UInt8, host: UInt32 = 7, timeToLive: UInt8 = 64) -> [UInt8] {
            var packet = Packet.IPv4(
                ipProtocol: 17, source: 0x0a00_0105, destination: 0x0a00_0200 + host,
                payload: Packet.udp(from: 4000, to: 53, [number]))
            packet.timeToLive = timeToLive
            return Packet.frame(to: 0x0200_0000_0100, packet.octets)
        }

        /// Has a gateway look from now on.
        private static func observe(_ rig: Rig, _ kind: ObservationRequest.Kind, snapOctets: Int = 65535) {
            #expect(rig.group.observe(ObservationRequest(kind, snapOctets: snapOctets)))
            rig.poll(now: rig.first.now + 200_000_000)
            let isObserved = rig.first.isObserved
            #expect(isObserved)
        }

        private static func end(_ rig: Rig) {
            rig.group.endObservation()
            rig.poll(now: rig.first.now + 200_000_000)
            let isObserved = rig.first.isObserved
            #expect(!isObserved)
            #expect(rig.group.observe(ObservationRequest(.trace(spi: nil, address: nil, reason: nil))))
            rig.group.endObservation()
        }

        /// ESP of the other gateway for this one.
        private static func protected(_ count: Int) throws -> [[UInt8]] {
            let peer = try Rig(site())
            peer.feed((0..<count).map { datagram(UInt8($0)) }, port: 0)
            peer.poll(now: 1)
            let frames = peer.take(1).map { [2, 0, 0, 0, 1, 1] + $0[6...] }
            _ = peer.close("peer")
            #expect(frames.count == count)
            return frames
        }

        @Test("a packet is followed from port to port, outbound")
        func outbound() throws {
            let rig = try Rig(Self.site())
            Self.observe(rig, .trace(spi: nil, address: nil, reason: nil))
            rig.feed((1...3).map { Self.datagram($0) }, port: 0)
            rig.poll(now: rig.first.now + 1)
            let seen = rig.group.takeObservations(limit: 100)
            #expect(seen.count == 3)
            let sent = rig.take(1)
            for (index, one) in seen.enumerated() {
                let record = one.record
                #expect(record.kind == .trace && record.fate == .sent && record.hasBegun)
                #expect((record.port, record.outPort) == (0, 1))
                #expect(
                    record.policyVerdict == "protect" && record.outboundTunnel == 0 && record.route == "unprotected")
                #expect(record.nextHop == address("192.0.2.254"))
                #expect(one.received == Self.datagram(UInt8(index + 1)) && one.sent == sent[index])
                #expect(record.inboundSPI == 0 && record.reason == nil)
            }
            Self.end(rig)
            _ = rig.close("outbound")
        }

        @Test("a packet is followed inbound: number, window, what was inside")
        func inbound() throws {
            let rig = try Rig(Self.site(reversed: true))
            Self.observe(rig, .trace(spi: 0x1000, address: nil, reason: nil))
            let frames = try Self.protected(3)
            var broken = frames[2]
            broken[60] ^= 1
            rig.feed([frames[0], frames[0], broken, frames[2]], port: 1)
            rig.poll(now: rig.first.now + 1)
            let seen = rig.group.takeObservations(limit: 100)
            #expect(seen.map(\.record.fate) == [.sent, .dropped, .dropped, .sent])
            #expect(seen.map(\.record.reason) == [nil, .replayed, .integrityFailed, nil])
            #expect(seen.map(\.record.number) == [1, 1, 3, 3])
            #expect(seen.map(\.record.windowHighest) == [0, 1, 1, 1])
            #expect(seen.allSatisfy { $0.record.inboundSPI == 0x1000 && $0.record.windowSize == 64 })
            #expect(seen.map { $0.inner.isEmpty } == [false, true, true, false])
            #expect(seen[3].inner == Array(Self.datagram(2)[14...]).settingTimeToLive(63))
            #expect(seen[3].record.route == "protected" && seen[3].record.policyVerdict == nil)
            _ = rig.take(0)
            Self.end(rig)
            _ = rig.close("inbound")
        }

        @Test("an SPI, an address and a reason choose among packets")
        func choice() throws {
            let rig = try Rig(Self.site())
            func seen(_ kind: ObservationRequest.Kind) -> [Observation] {
                Self.observe(rig, kind)
                rig.feed(
                    [Self.datagram(1), Self.datagram(2, host: 8), Self.datagram(3, timeToLive: 1)], port: 0)
                rig.poll(now: rig.first.now + 1)
                let seen = rig.group.takeObservations(limit: 100)
                rig.group.endObservation()
                rig.poll(now: rig.first.now + 200_000_000)
                return seen
            }
            let outboundSPI: UInt32 = 0x1000
            #expect(seen(.trace(spi: outboundSPI, address: nil, reason: nil)).count == 2)
            #expect(seen(.trace(spi: 0x9999, address: nil, reason: nil)).isEmpty)
            #expect(seen(.trace(spi: nil, address: address("10.0.2.8"), reason: nil)).count == 1)
            // The tunnel's other end stands in the outer header alone.
            #expect(seen(.trace(spi: nil, address: address("198.51.100.1"), reason: nil)).count == 2)
            let expired = seen(.trace(spi: nil, address: nil, reason: .ttlExpired))
            #expect(expired.map(\.record.reason) == [.ttlExpired])
            #expect(seen(.trace(spi: outboundSPI, address: nil, reason: .ttlExpired)).isEmpty)
            _ = (rig.take(0), rig.take(1))
            _ = rig.close("choice")
        }

        @Test("a packet that waits says so, and what ends it later is shown too")
        func waiting() throws {
            let rig = try Rig(Self.site(), mode: .replay(resolve: true))
            Self.observe(rig, .trace(spi: nil, address: nil, reason: nil))
            rig.feed([Self.datagram(1)], port: 0)
            rig.poll(now: rig.first.now + 1)
            let first = rig.group.takeObservations(limit: 10)
            #expect(first.map(\.record.fate) == [.waitsForNeighbor])
            for _ in 0..<6 { rig.poll(now: rig.first.now + 1_000_000_000) }
            let later = rig.group.takeObservations(limit: 10).filter { $0.record.reason == .neighborUnresolved }
            #expect(later.count == 1 && later.first?.record.hasBegun == false)
            _ = rig.take(1)
            _ = rig.close("waiting")
        }

        @Test("a capture has the frames of its port and the clear text of its ESP, and of no other")
        func capture() throws {
            let rig = try Rig(Self.site())
            Self.observe(rig, .capture(port: 1))
            rig.feed([Self.datagram(1), Self.datagram(2)], port: 0)
            rig.poll(now: rig.first.now + 1)
            let seen = rig.group.takeObservations(limit: 100), sent = rig.take(1)
            #expect(seen.map(\.record.kind) == [.clearOut, .clearOut, .frameOut, .frameOut])
            #expect(seen[2...].map(\.received) == sent)
            #expect(seen[0].received == Array(Self.datagram(1)[14...]).settingTimeToLive(63))
            _ = rig.close("capture out")

            let peer = try Rig(Self.site(reversed: true))
            Self.observe(peer, .capture(port: 1), snapOctets: 64)
            let frames = try Self.protected(2)
            peer.feed(frames, port: 1)
            peer.poll(now: peer.first.now + 1)
            let received = peer.group.takeObservations(limit: 100)
            #expect(received.map(\.record.kind) == [.frameIn, .frameIn, .clearIn, .clearIn])
            #expect(received[0].received == Array(frames[0].prefix(64)))
            #expect(received[0].record.receivedOctets == UInt32(frames[0].count))
            _ = peer.take(0)
            _ = peer.close("capture in")
        }

        @Test("a dropped frame is shown as it came, though it was decrypted in place")
        func dropped() throws {
            let rig = try Rig(Self.site(reversed: true))
            Self.observe(rig, .dropped(port: 1))
            let frames = try Self.protected(2)
            var broken = frames[1]
            broken[60] ^= 1
            rig.feed([frames[0], broken, frames[0], [1, 2, 3]], port: 1)
            rig.poll(now: rig.first.now + 1)
            let seen = rig.group.takeObservations(limit: 100)
            let expected: [DropReason: [UInt8]] = [
                .malformed: [1, 2, 3], .integrityFailed: broken, .replayed: frames[0],
            ]
            #expect(seen.count == expected.count)
            for one in seen {
                let reason = try #require(one.record.reason)
                #expect(one.record.kind == .dropped && expected[reason] == one.received, "\(reason)")
            }
            _ = rig.take(0)
            _ = rig.close("dropped")
        }

        @Test("what finds no room is counted, and packets go their way all the same")
        func full() throws {
            let rig = try Rig(Self.site())
            Self.observe(rig, .trace(spi: nil, address: nil, reason: nil))
            var sent = 0
            for _ in 0..<50 {
                rig.feed((0..<32).map { Self.datagram($0) }, port: 0)
                rig.poll(now: rig.first.now + 100_000_000)
                sent += rig.take(1).count
            }
            #expect(sent == 1600)
            let losses = rig.group.observationLosses
            #expect(losses.missed == 1600 - 1024 && losses.unlooked == 0)
            #expect(rig.group.takeObservations(limit: 2000).count == 1024)
            Self.end(rig)
            _ = rig.close("full")
        }

        @Test("more packets than can be followed one by one go by in bursts, and are counted")
        func many() throws {
            let rig = try Rig(Self.site())
            Self.observe(rig, .trace(spi: nil, address: nil, reason: nil))
            var sent = 0
            for _ in 0..<100 {
                rig.feed((0..<32).map { Self.datagram($0) }, port: 0)
                rig.poll(now: rig.first.now + 1)
                sent += rig.take(1).count
                _ = rig.group.takeObservations(limit: 100)
            }
            let losses = rig.group.observationLosses
            #expect(sent == 3200 && losses.missed == 0 && (1600...2400).contains(losses.unlooked), "\(losses)")
            Self.end(rig)
            _ = rig.close("many")
        }

        @Test("a packet that goes to another worker is followed on both")
        func handoff() throws {
            var site = try Self.site()
            // The second worker owns every second tunnel, and polls the odd ports.
            site.tunnels.append(
                try tunnel(
                    1, local: address("192.0.2.1"), remote: address("198.51.100.2"),
                    localSubnets: [prefix("10.0.1.0/24")], remoteSubnets: [prefix("10.0.3.0/24")]))
            let rig = try Rig(site, workers: 2)
            #expect(rig.group.observe(ObservationRequest(.trace(spi: nil, address: nil, reason: nil))))
            rig.poll(now: rig.first.now + 200_000_000)
            rig.feed([Self.datagram(1), Self.datagram(2, host: 0x105)], port: 0)
            for _ in 0..<3 { rig.poll(now: rig.first.now + 1) }
            let seen = rig.group.takeObservations(limit: 10)
            let handed = try #require(seen.first { $0.record.fate == .handed })
            let taken = try #require(seen.first { $0.record.cameFromWorker })
            #expect(seen.count == 3 && handed.worker != taken.worker)
            #expect(handed.record.policyVerdict == "protect" && taken.record.fate == .sent)
            _ = rig.take(1)
            _ = rig.close("handoff")
        }

        @Test("hostile frames are followed like any, whatever is asked for", arguments: seeds(1...4))
        func hostile(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            for kind: ObservationRequest.Kind in [
                .trace(spi: 0x1000, address: nil, reason: nil),
                .trace(spi: nil, address: address("fd00::1"), reason: nil),
                .capture(port: 1), .dropped(port: 1),
            ] {
                let rig = try Rig(Self.site(reversed: true))
                Self.observe(rig, kind, snapOctets: 64)
                var frames = try Self.protected(4)
                for _ in 0..<400 {
                    var frame = frames[random.below(4)]
                    for _ in 0..<random.below(5) { frame[random.below(frame.count)] = random.octets(1)[0] }
                    frame.removeLast(random.below(frame.count))
                    rig.feed([frame], port: random.below(2))
                    rig.poll(now: rig.first.now + 1_000_000)
                    _ = rig.group.takeObservations(limit: 100)
                }
                frames = []
                _ = (rig.take(0), rig.take(1))
                _ = rig.close("hostile, seed \(seed)")
            }
        }
    }
}

extension [UInt8] {
    /// An IPv4 packet of 20 octets of header with another TTL and its checksum.
    fileprivate func settingTimeToLive(_ hops: UInt8) -> [UInt8] {
        var packet = self
        packet[8] = hops
        packet.replaceSubrange(10..<12, with: [0, 0])
        packet.replaceSubrange(10..<12, with: bigEndian(~onesComplementSum(packet.prefix(20))))
        return packet
    }
}
