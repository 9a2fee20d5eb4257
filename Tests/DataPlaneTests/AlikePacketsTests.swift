import IPsec
import SeededRandom
import Testing
import Wire

@testable import DataPlane

/// What is asked once of packets that follow each other and are alike: one that is not, between them, is found.
extension OnDPDK {
    @Suite("Packets that follow each other and are alike")
    struct AlikePacketsTests {
        init() throws { try TestEnvironment.start() }

        private static let lan: UInt64 = 0x0200_0000_0100

        private func udp(_ source: UInt32, _ destination: UInt32, to mac: UInt64 = lan) -> [UInt8] {
            Packet.frame(
                to: mac,
                Packet.IPv4(
                    ipProtocol: 17, source: source, destination: destination, payload: Packet.udp(from: 1, to: 2, [7])
                ).octets)
        }

        @Test("an SA is known by its SPI and both addresses, and by no SPI that nobody has")
        func associations() throws {
            let blocks = (near: prefix("10.0.1.0/24"), far: prefix("10.9.0.0/24"))
            func side(isReversed: Bool) throws -> Topology {
                let ends = (address("192.0.2.1"), address("192.0.2.2"))
                return Topology(
                    ports: [
                        port("lan", .protected, [isReversed ? "10.9.0.1/24" : "10.0.1.1/24"]),
                        port("wan", .unprotected, [isReversed ? "192.0.2.2/24" : "192.0.2.1/24"]),
                    ], routes: [], neighbors: [],
                    tunnels: [
                        try tunnel(
                            0, local: isReversed ? ends.1 : ends.0, remote: isReversed ? ends.0 : ends.1,
                            localSubnets: [isReversed ? blocks.far : blocks.near],
                            remoteSubnets: [isReversed ? blocks.near : blocks.far], isReversed: isReversed)
                    ], policies: [])
            }
            let rig = try Rig(try side(isReversed: false)), peer = try Rig(try side(isReversed: true))
            rig.feed((0..<6).map { _ in udp(0x0a00_0105, 0x0a09_0007) }, port: 0)
            rig.poll(now: 0)
            let good = rig.take(1)
            try #require(good.count == 6)
            func changed(_ frame: [UInt8], _ change: (inout [UInt8]) -> Void) -> [UInt8] {
                var frame = frame
                change(&frame)
                frame.replaceSubrange(24..<26, with: [0, 0])
                frame.replaceSubrange(24..<26, with: bigEndian(~onesComplementSum(frame[14..<34])))
                return frame
            }
            let elsewhere = changed(good[5]) { $0[29] ^= 0x40 }, unknown = changed(good[5]) { $0[37] ^= 1 }
            let nobodys = changed(good[5]) { $0.replaceSubrange(34..<38, with: [0, 0, 0, 0]) }
            peer.feed(
                [
                    nobodys, nobodys, good[0], elsewhere, elsewhere, good[1], unknown, nobodys, nobodys, good[2],
                    good[3],
                ],
                port: 1)
            peer.poll(now: 0)
            #expect(peer.take(0).count == 4)
            #expect(peer.group.counts.drops[.tunnelAddressMismatch] == 2)
            #expect(peer.group.counts.drops[.unknownSPI] == 5)
            _ = rig.close("near")
            _ = peer.close("far")
        }

        @Test("a frame for somebody else between frames for us")
        func somebodyElse() throws {
            let site = Topology(
                ports: [port("lan", .protected, ["10.0.1.1/24"]), port("wan", .unprotected, ["192.0.2.1/24"])],
                routes: [], neighbors: [], tunnels: [], policies: [])
            let rig = try Rig(site, mode: .live)
            let ours = udp(0x0a00_0102, 0xc633_6401), theirs = udp(0x0a00_0102, 0xc633_6401, to: 0x0200_0000_0199)
            // Nobody's address, which is what no frame before would look like.
            let nobodys = udp(0x0a00_0102, 0xc633_6401, to: 0)
            rig.feed([nobodys, theirs, ours, theirs, ours, ours, nobodys, theirs], port: 0)
            rig.poll(now: 0)
            #expect(rig.group.counts.drops[.notForUs] == 5)
            #expect(rig.group.counts.drops[.noPolicy] == 3)
            _ = rig.close("somebody else")
        }

        @Test("each packet goes by the route of its own address", arguments: [1 as UInt64, 2, 3])
        func routes(seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            let site = Topology(
                ports: [
                    port("lan", .protected, ["10.0.1.1/24"]), port("wan", .unprotected, ["192.0.2.1/24"]),
                    port("other", .protected, ["10.0.2.1/24"]),
                ], routes: [], neighbors: [], tunnels: [], policies: [])
            let rig = try Rig(site)
            for _ in 0..<50 {
                // Runs of one to four packets to a few addresses of both ports.
                var destinations: [UInt32] = []
                while destinations.count < 32 {
                    let destination = 0x0a00_0102 &+ UInt32(random.next() & 1) << 8 &+ UInt32(random.next() % 3)
                    destinations += Array(repeating: destination, count: Int(random.next() % 4) + 1)
                }
                destinations = Array(destinations.prefix(32))
                rig.feed(destinations.map { udp(0x0a00_0199, $0) }, port: 0)
                rig.poll(now: 0)
                for (port, block) in [(0, 0x0a00_0100), (2, 0x0a00_0200)] as [(Int, UInt32)] {
                    let arrived = rig.take(port).map { Packet.uint32($0, at: 30) }
                    #expect(arrived == destinations.filter { $0 & 0xffff_ff00 == block }, "seed \(seed)")
                }
            }
            _ = rig.close("routes")
        }
    }
}

@Suite("Flows as policies see them")
struct FlowWordsTests {
    @Test("what is surely of a flow has its words, and what nearly all packets are is", arguments: [1 as UInt64, 2, 3])
    func surely(seed: UInt64) {
        var random = SplitMix64(seed: seed), held = 0
        func packet() -> [UInt8] {
            let ipProtocol: UInt8 = [1, 17, 17, 17, 50, 253].randomElement(using: &random) ?? 0
            let fragment: UInt16 = [0, 0, 0, 0, 0x2000, 0x0001].randomElement(using: &random) ?? 0
            let ports = [[0, 1, 0, 2], [8, 0, 0, 0], [8, 0, 0x40, 0], [0, 1], []] as [[UInt8]]
            return Packet.IPv4(
                fragment: fragment, ipProtocol: ipProtocol, source: 7,
                destination: UInt32(random.next() & 1), options: random.next() & 3 == 0 ? [1, 1, 1, 0] : [],
                payload: ports.randomElement(using: &random) ?? []
            ).octets
        }
        for step in 0..<6000 {
            var one = packet(), other = packet()
            one.withPacketBytes { one in
                other.withPacketBytes { other in
                    let flow = FlowWords(one)
                    guard flow.surelyHolds(other) else { return }
                    held += 1
                    #expect(FlowWords(other) == flow, "seed \(seed), step \(step)")
                }
            }
            // A whole one with ports and without options is known for what it is.
            var plain = Packet.IPv4(
                ipProtocol: [6, 17, 132][step % 3], source: 1, destination: 2, payload: Packet.udp(from: 1, to: 2, [])
            ).octets
            plain.withPacketBytes { #expect(FlowWords($0).surelyHolds($0)) }
        }
        #expect(held > 10, "seed \(seed)")
    }
}
