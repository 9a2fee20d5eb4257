import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("VLAN")
    struct VLANTests {
        init() throws { try TestEnvironment.start() }

        private func tagged(_ frame: [UInt8], _ tag: UInt16) -> [UInt8] {
            frame[..<12] + [0x81, 0] + bigEndian(tag) + frame[12...]
        }

        private static let packet4 = Packet.IPv4(source: 0x0a00_0105, destination: 0x0a00_0307, payload: [1, 2, 3])
        private static var frames: [[UInt8]] {
            [
                Packet.frame(to: 0x0200_0000_0100, packet4.octets), Site6.frame(Site6.udp()),
            ]
        }

        private func drops(_ frame: [UInt8], _ site: Topology) throws -> [DropReason: UInt64] {
            let rig = try Rig(site)
            rig.feed([frame], port: Site6.lan)
            rig.poll(now: 0)
            let drops = rig.group.counts.drops.filter { $0.value > 0 }
            #expect((0..<3).allSatisfy { rig.take($0).isEmpty })
            _ = rig.close("VLAN")
            return drops
        }

        @Test("a port with a VLAN takes its frames, whatever their priority, and tags what it sends")
        func takesItsOwn() throws {
            for frame in VLANTests.frames {
                for tag in [7, 0xe007, 0x1007] as [UInt16] {
                    let rig = try Rig(Site6.topology(vlan: 7))
                    rig.feed([tagged(frame, tag)], port: Site6.lan)
                    rig.poll(now: 0)
                    let sent = rig.take(Site6.dmz)
                    #expect(sent.count == 1 && Packet.uint32(sent[0], at: 12) == 0x8100_0007)
                    #expect(sent[0].count == frame.count + 4 && sent[0][16..<18] == frame[12..<14])
                    #expect(Packet.uint64(sent[0], at: 4) & 0xffff_ffff_ffff == Site6.mac(Site6.dmz))
                    let counts = rig.group.counts
                    #expect(counts.ports[Site6.dmz].txOctets == UInt64(sent[0].count))
                    _ = rig.close("VLAN")
                }
            }
        }

        @Test("other VLANs, frames without a tag, and tags where there should be none are not for us")
        func refusesOthers() throws {
            for frame in VLANTests.frames {
                #expect(try drops(frame, Site6.topology(vlan: 7)) == [.notForUs: 1])
                #expect(try drops(tagged(frame, 8), Site6.topology(vlan: 7)) == [.notForUs: 1])
                #expect(try drops(tagged(frame, 0), Site6.topology(vlan: 7)) == [.notForUs: 1])
                #expect(try drops(tagged(tagged(frame, 9), 7), Site6.topology(vlan: 7)) == [.notForUs: 1])
                #expect(try drops(tagged(frame, 7), Site6.topology()) == [.notForUs: 1])
            }
            #expect(
                try drops([UInt8](repeating: 0, count: 12) + [0x81, 0, 0], Site6.topology(vlan: 7)) == [.notForUs: 1])
            #expect(
                try drops(tagged(Packet.frame(to: 0, type: 0x8137, [1]), 7), Site6.topology(vlan: 7))
                    == [.unsupportedEthertype: 1])
        }

        @Test("ARP and neighbour discovery are tagged both ways")
        func discovery() throws {
            let rig = try Rig(Site6.topology(vlan: 7), mode: .replay(resolve: true))
            let arp = Packet.frame(
                to: 0xffff_ffff_ffff, type: 0x0806,
                Packet.arp(operation: 1, senderMAC: 0x0200_0000_0077, sender: 0x0a00_0105, target: 0x0a00_0101))
            let own = v6("fd00:1::1"), group = Site6.solicitedNode(own)
            let solicitation = Packet.discovery(
                135, from: Site6.host, to: group, target: own, mac: 0x0200_0000_0077, option: 1,
                frameTo: Site6.groupMAC(group))
            rig.feed([tagged(arp, 7), tagged(solicitation, 7)], port: Site6.lan)
            rig.poll(now: 0)
            let answers = rig.take(Site6.lan)
            #expect(answers.map { Packet.uint32($0, at: 12) } == [0x8100_0007, 0x8100_0007])
            #expect(answers.map { Packet.uint16($0, at: 16) } == [0x0806, 0x86dd])
            rig.feed(VLANTests.frames.map { tagged($0, 7) }, port: Site6.lan)
            rig.poll(now: 1)
            let questions = rig.take(Site6.dmz)
            #expect(questions.map { Packet.uint32($0, at: 12) } == [0x8100_0007, 0x8100_0007])
            _ = rig.close("discovery")
        }
    }
}
