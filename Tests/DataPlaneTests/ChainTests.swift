import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    /// Of a packet in several buffers `net_ixgbe` tells its engine a length of 0, and workers look into the first one
    /// only (P14).
    @Suite("Frames in several buffers")
    struct ChainTests {
        init() throws { try TestEnvironment.start() }

        private static let lan = LookasideSite.lan, wan = LookasideSite.wan
        /// An octet each, within the Ethernet header, behind it, within the IP header, within what follows, two pieces.
        private static let pieces = [1, 9, 14, 33, 57, 500, 800]

        /// What a gateway makes of frames, each in one buffer or in several.
        private func pass(_ frames: [[UInt8]], isFar: Bool, _ site: LookasideSite, isWhole: Bool) throws -> [[UInt8]] {
            let rig = try Rig(try site.topology(isFar: isFar)), from = isFar ? Self.wan : Self.lan
            var made: [[UInt8]] = []
            for (frame, octets) in zip(frames, Self.pieces) {
                #expect(rig.feed(frame, inPiecesOf: isWhole ? frame.count : octets, port: from))
                rig.poll(now: 1)
                made += rig.take(1 - from)
            }
            #expect(made.count == frames.count, "\(site): \(rig.group.counts)")
            _ = rig.close("\(site)")
            return made
        }

        @Test("are protected and opened as those in one", arguments: LookasideSite.all)
        func sameAsWhole(site: LookasideSite) throws {
            let frames = Self.pieces.indices.map { site.frame(UInt32($0), octets: 1000 + $0) }
            let outside = try pass(frames, isFar: false, site, isWhole: false)
            #expect(try outside == pass(frames, isFar: false, site, isWhole: true))
            let inside = try pass(outside, isFar: true, site, isWhole: false)
            #expect(try inside == pass(outside, isFar: true, site, isWhole: true))
            #expect(inside.compactMap(LookasideSite.number) == Self.pieces.indices.map { UInt32($0) })
        }

        @Test("are dropped when one buffer has no room for them", arguments: [LookasideSite.lan, LookasideSite.wan])
        func noRoom(port: Int) throws {
            let rig = try Rig(try LookasideSite(mode: .tunnel, outer: .v4).topology(isFar: false))
            let frame = LookasideSite(mode: .tunnel, outer: .v4).frame(0, octets: 2500)
            #expect(rig.feed(frame, inPiecesOf: 1000, port: port))
            rig.poll(now: 1)
            #expect(rig.take(Self.lan).isEmpty && rig.take(Self.wan).isEmpty)
            #expect(rig.group.counts.drops.filter { $0.value > 0 } == [.noBuffers: 1])
            _ = rig.close("no room")
        }

        @Test("come from the kernel too")
        func punted() throws {
            var site = Site6.topology()
            site.ports.append(port(Topology.puntName, .punt, []))
            let rig = try Rig(site), punt = site.ports.count - 1
            let kernel = v6("fe80::5"), group = Site6.solicitedNode(v6("2001:db8::77"))
            let message = Packet.icmp6(
                135, 0, [0, 0, 0, 0] + bigEndian(v6("2001:db8::77")) + [1, 1, 2, 0, 0, 0, 0, 5], from: kernel, to: group
            )
            let packet = Packet.IPv6(
                hopLimit: 255, nextHeader: 58, source: kernel, destination: group, payload: message)
            let frame = Packet.frame(to: 0, type: 0x86dd, packet.octets)
            for octets in Self.pieces {
                #expect(rig.feed(frame, inPiecesOf: octets, port: punt))
                rig.poll(now: 0)
                #expect(rig.take(punt).count == 1, "\(octets)")
            }
            _ = rig.close("punted")
        }
    }
}
