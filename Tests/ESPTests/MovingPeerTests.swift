import IPsec
import SeededRandom
import Testing

@testable import ESP

/// RFC 7296 2.23, RFC 3948: a peer behind NAT whose address and port change.
@Suite("A peer that moves")
struct MovingPeerTests {
    /// With UDP; a second is 1000 ticks.
    private static func rig(_ family: IPFamily) throws -> ProfileRig {
        var profile = AssociationProfile()
        profile.natTraversal = true
        return try ProfileRig(profile, outer: family)
    }

    /// The next packets of a rig.
    private static func packets(_ count: Int, of rig: inout ProfileRig) -> [[UInt8]] {
        var random = SplitMix64(seed: 1)
        return rig.protect((0..<count).map { _ in innerPacket(octets: 40, using: &random) }).map(\.octets)
    }

    /// From another address or port. Nobody here looks at checksums.
    private static func moved(_ packet: [UInt8], address: UInt8 = 0, port: UInt16) -> [UInt8] {
        var packet = packet
        let isV4 = packet[0] >> 4 == 4, udp = isV4 ? 20 : 40
        packet[isV4 ? 15 : 23] ^= address
        packet.replaceSubrange(udp..<udp + 2, with: bigEndian(port))
        return packet
    }

    @Test("moves by a packet that is above all others, once a second", arguments: IPFamily.allCases)
    func moves(family: IPFamily) throws {
        var rig = try MovingPeerTests.rig(family)
        let packets = MovingPeerTests.packets(12, of: &rig)
        func from(_ index: Int, _ address: UInt8, _ port: UInt16) -> [UInt8] {
            MovingPeerTests.moved(packets[index - 1], address: address, port: port)
        }
        #expect(rig.open(packets[3], now: 5000).octets.count == 40)
        // Not the latest: anybody may have kept it.
        #expect(rig.open(from(3, 1, 4500), sourceDiffers: true, now: 5000) == .dropped(.tunnelAddressMismatch))
        #expect(rig.open(from(4, 1, 4500), sourceDiffers: true, now: 5000) == .dropped(.replayed))
        #expect(rig.open(packets[2], now: 5000).octets.count == 40)

        // Two of a burst from there: the first moves it, the second is from its peer.
        let burst = rig.open([from(5, 0, 999), from(6, 0, 999)], sourceDiffers: true, now: 5000)
        #expect(burst.map(\.movesPeer) == [true, false] && burst.allSatisfy { $0.verdict.octets.count == 40 })
        let (remote, port) = rig.inbound.with { ($0.remote, $0.remotePort) }
        #expect(port == 999 && remote == ProfileRig.address(family, remote: false))

        // Not again within a second, and the window has no mark of it.
        #expect(rig.open(from(7, 9, 1000), sourceDiffers: true, now: 5999) == .dropped(.tunnelAddressMismatch))
        #expect(rig.state.highest == 6)
        let again = rig.open([from(7, 9, 1000)], sourceDiffers: true, now: 6000)[0]
        #expect(again.movesPeer && again.verdict.octets.count == 40)
        #expect(rig.inbound.with { $0.remotePort } == 1000 && rig.inbound.with { $0.remote } != remote)

        // The old place is elsewhere now.
        #expect(rig.open(from(2, 0, 4500), sourceDiffers: true, now: 9000) == .dropped(.tunnelAddressMismatch))
        // What the caller saw before an earlier packet moved it does not count.
        #expect(rig.open(from(8, 9, 1000), sourceDiffers: true, now: 6001).octets.count == 40)
    }

    @Test("what is not authentic moves nothing", arguments: IPFamily.allCases)
    func forged(family: IPFamily) throws {
        var rig = try MovingPeerTests.rig(family)
        let packets = MovingPeerTests.packets(2, of: &rig)
        var forged = MovingPeerTests.moved(packets[0], port: 7)
        forged[forged.count - 1] ^= 1
        let opened = rig.open([forged], sourceDiffers: true, now: 5000)[0]
        #expect(opened == .init(verdict: .dropped(.integrityFailed)))
        #expect(rig.inbound.with { $0.remotePort } == 4500 && rig.state == .init())
        // A number above the ceiling moves nothing either until it is taken.
        rig.inbound.with { $0.setCeiling(1, notice: 1) }
        let ahead = rig.open([MovingPeerTests.moved(packets[1], port: 7)], sourceDiffers: true, now: 5000)[0]
        #expect(ahead == .init(verdict: .dropped(.ahead)) && rig.inbound.with { $0.remotePort } == 4500)
    }

    @Test("outbound packets go where the peer is", arguments: IPFamily.allCases)
    func outbound(family: IPFamily) throws {
        var rig = try MovingPeerTests.rig(family)
        var random = SplitMix64(seed: 2)
        let address = family == .v4 ? IPAddress(v4: 0x0102_0304) : IPAddress(v6: 0x0102_0304)
        rig.outbound.with { $0.moveRemote(to: address, port: 777) }
        #expect(rig.outbound.with { $0.remote } == address)
        let sent = rig.protect(packet(family, octets: 60, using: &random)).octets
        let udp = family == .v4 ? 20 : 40
        #expect(
            [UInt8](sent[udp - 4..<udp + 4]) == [1, 2, 3, 4] + bigEndian(4500 as UInt16) + bigEndian(777 as UInt16))
        #expect(family == .v6 || onesComplementSum([UInt8](sent.prefix(20))) == 0xffff)
        if family == .v6 {
            // RFC 8200 8.1
            let pseudo = [UInt8](sent[8..<40]) + bigEndian(UInt32(sent.count - 40)) + [0, 0, 0, 17]
            #expect(onesComplementSum(pseudo + sent[40...]) == 0xffff)
        }
    }
}
