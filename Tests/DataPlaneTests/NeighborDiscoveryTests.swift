import IPsec
import Testing
import Wire

@testable import DataPlane

extension OnDPDK {
    @Suite("Neighbour discovery")
    struct NeighborDiscoveryTests {
        init() throws { try TestEnvironment.start() }

        private static let second: UInt64 = 1_000_000_000
        private static let mac: UInt64 = 0x0200_0000_0042, other: UInt64 = 0x0200_0000_0043
        private static let solicited: UInt32 = 0x4000_0000, override: UInt32 = 0x2000_0000

        private func rig(_ site: Topology = Site6.topology(), workers: Int = 1) throws -> Rig {
            try Rig(site, workers: workers, mode: .replay(resolve: true))
        }

        private func key(_ address: UInt128, port: Int = Site6.dmz) -> NeighborKey {
            NeighborKey(port: UInt16(port), bits: address)
        }

        private func entry(_ rig: Rig, _ address: UInt128, port: Int = Site6.dmz) -> Neighbor? {
            rig.first.neighbors.find(key(address, port: port)).map { rig.first.neighbors.entries[$0] }
        }

        /// The DMZ's host says where it is.
        private func advertise(
            _ rig: Rig, _ target: UInt128 = Site6.server, mac: UInt64? = mac, flags: UInt32, now: UInt64,
            to destination: UInt128 = Site6.linkLocal(Site6.dmz), hopLimit: UInt8 = 255
        ) {
            let isGroup = destination >> 120 == 0xff
            rig.feed(
                [
                    Packet.discovery(
                        136, flags: flags, from: target, to: destination, target: target, mac: mac, option: 2,
                        frameTo: isGroup ? 0x3333_0000_0001 : Site6.mac(Site6.dmz), hopLimit: hopLimit)
                ], port: Site6.dmz)
            rig.poll(now: now)
        }

        private func send(_ rig: Rig, now: UInt64) {
            rig.feed([Site6.frame(Site6.udp())], port: Site6.lan)
            rig.poll(now: now)
        }

        /// A rig that has found the DMZ's host.
        private func resolved() throws -> Rig {
            let rig = try rig()
            send(rig, now: 0)
            _ = rig.take(Site6.dmz)
            advertise(rig, flags: Self.solicited | Self.override, now: 1)
            #expect(rig.take(Site6.dmz).count == 1)
            return rig
        }

        @Test("a next hop is asked for through its group, and what waited goes to who answers")
        func resolves() throws {
            let rig = try rig()
            send(rig, now: 0)
            let question = try #require(rig.take(Site6.dmz).first)
            let group = Site6.solicitedNode(Site6.server), from = Site6.linkLocal(Site6.dmz)
            #expect(
                question
                    == Packet.frame(
                        to: Site6.groupMAC(group), from: Site6.mac(Site6.dmz), type: 0x86dd,
                        Packet.IPv6(
                            hopLimit: 255, nextHeader: 58, source: from, destination: group,
                            payload: Packet.icmp6(
                                135, 0,
                                [0, 0, 0, 0] + bigEndian(Site6.server) + [1, 1]
                                    + bigEndian(Site6.mac(Site6.dmz)).suffix(6), from: from, to: group)
                        ).octets))
            advertise(rig, flags: Self.solicited | Self.override, now: 1)
            let sent = rig.take(Site6.dmz)
            #expect(sent.count == 1 && sent[0].prefix(6).elementsEqual(bigEndian(Self.mac).suffix(6)))
            // Looked at again, directly, when it is still in use.
            send(rig, now: 20 * Self.second)
            _ = rig.take(Site6.dmz)
            rig.poll(now: 31 * Self.second)
            let again = try #require(rig.take(Site6.dmz).first)
            #expect(again.prefix(6).elementsEqual(bigEndian(Self.mac).suffix(6)))
            #expect(Packet.uint128(again, at: 14 + 24) == Site6.server && again[14 + 40] == 135)
            _ = rig.close("resolves")
        }

        @Test("who does not answer three times makes no more packets wait")
        func givesUp() throws {
            let rig = try rig()
            send(rig, now: 0)
            for tenth: UInt64 in 1...60 { rig.poll(now: tenth * Self.second / 10) }
            #expect(rig.take(Site6.dmz).count == 3 && rig.group.counts.drops[.neighborUnresolved] == 1)
            _ = rig.close("gives up")
        }

        @Test("solicitations for every own address are answered, with the router's flag")
        func answers() throws {
            for (target, from) in [
                (v6("fd00:1::1"), Site6.host), (v6("fd00:1::"), Site6.host), (Site6.linkLocal(0), v6("fe80::5")),
                (v6("fd00:1::1"), 0),
            ] as [(UInt128, UInt128)] {
                for isDirect in [false, true] where from != 0 || !isDirect {
                    let rig = try rig(), group = Site6.solicitedNode(target)
                    let question = Packet.discovery(
                        135, from: from, to: isDirect ? target : group, target: target,
                        mac: from == 0 ? nil : Self.mac, option: 1,
                        frameTo: isDirect ? Site6.mac(0) : Site6.groupMAC(group))
                    rig.feed([question], port: 0)
                    rig.poll(now: 0)
                    let to = from == 0 ? v6("ff02::1") : from
                    let flags: UInt32 = 0x8000_0000 | Self.override | (from == 0 ? 0 : Self.solicited)
                    #expect(
                        rig.take(0) == [
                            Packet.frame(
                                to: from == 0 ? 0x3333_0000_0001 : Self.mac, from: Site6.mac(0), type: 0x86dd,
                                Packet.IPv6(
                                    hopLimit: 255, nextHeader: 58, source: target, destination: to,
                                    payload: Packet.icmp6(
                                        136, 0,
                                        bigEndian(flags) + bigEndian(target) + [2, 1]
                                            + bigEndian(Site6.mac(0)).suffix(6), from: target, to: to)
                                ).octets)
                        ])
                    let counts = rig.group.counts
                    #expect(counts.consumed == 1 && counts.originated == 1 && counts.dropped == 0)
                    _ = rig.close("answers")
                }
            }
        }

        @Test("who asks for us is learned, for five seconds unless it answers")
        func learnsAsker() throws {
            let rig = try rig(), own = v6("fd00:3::1"), group = Site6.solicitedNode(own)
            rig.feed(
                [
                    Packet.discovery(
                        135, from: Site6.server, to: group, target: own, mac: Self.mac, option: 1,
                        frameTo: Site6.groupMAC(group))
                ], port: Site6.dmz)
            rig.poll(now: 0)
            #expect(entry(rig, Site6.server)?.destination.rawValue == Self.mac)
            send(rig, now: 1)
            #expect(rig.take(Site6.dmz).count == 2)
            rig.poll(now: 6 * Self.second)
            let check = rig.take(Site6.dmz)
            #expect(check.count == 1 && check[0][14 + 40] == 135 && entry(rig, Site6.server)?.state == .stale)
            advertise(rig, flags: Self.solicited, now: 6 * Self.second + 1)
            #expect(entry(rig, Site6.server)?.state == .reachable)
            _ = rig.close("learns asker")
        }

        @Test("RFC 4861 7.2.5: what an advertisement may change")
        func overrides() throws {
            // Another MAC address without the flag: the one we know is asked, and stays.
            var rig = try resolved()
            advertise(rig, mac: Self.other, flags: Self.solicited, now: 2)
            #expect(entry(rig, Site6.server)?.destination.rawValue == Self.mac)
            rig.poll(now: Self.second)
            #expect(entry(rig, Site6.server)?.state == .stale)
            _ = rig.close("no override")
            // With it, it is believed; unasked, for a short while.
            rig = try resolved()
            advertise(rig, mac: Self.other, flags: Self.override, now: 2, to: v6("ff02::1"))
            #expect(entry(rig, Site6.server)?.destination.rawValue == Self.other)
            #expect(entry(rig, Site6.server)?.dueAt == 2 + 5 * Self.second)
            _ = rig.close("override")
            // No address at all confirms the one we know.
            rig = try resolved()
            advertise(rig, mac: nil, flags: Self.solicited, now: Self.second)
            #expect(entry(rig, Site6.server)?.dueAt == 31 * Self.second)
            _ = rig.close("confirms")
        }

        @Test("nobody speaks for us, for a static neighbour, from beyond the link, or from a group")
        func refuses() throws {
            var site = Site6.topology()
            site.neighbors = [
                .init(port: Site6.dmz, address: IPAddress(v6: Site6.server), mac: MACAddress(rawValue: Self.mac))
            ]
            var rig = try rig(site)
            advertise(rig, mac: Self.other, flags: Self.solicited | Self.override, now: 0)
            #expect(entry(rig, Site6.server)?.destination.rawValue == Self.mac)
            for own in [
                v6("fd00:3::1"), v6("fd00:1::1"), Site6.linkLocal(Site6.dmz), v6("fd00:1::5"), v6("2001:db8:9::1"),
            ] {
                advertise(rig, own, mac: Self.other, flags: Self.solicited | Self.override, now: 1)
                #expect(entry(rig, own) == nil)
            }
            #expect(rig.group.counts.drops[.martian] == 0)
            _ = rig.close("static")
            rig = try resolved()
            advertise(rig, mac: Self.other, flags: Self.solicited | Self.override, now: 2, hopLimit: 254)
            advertise(rig, mac: 0x3333_0000_0042, flags: Self.solicited | Self.override, now: 2)
            #expect(entry(rig, Site6.server)?.destination.rawValue == Self.mac)
            #expect(rig.group.counts.drops[.malformed] == 1)
            _ = rig.close("from beyond")
        }

        @Test("a live port takes its own groups and no others")
        func groups() throws {
            let rig = try Rig(Site6.topology(), mode: .live)
            let own = v6("fd00:1::1"), group = Site6.solicitedNode(own)
            for (frameTo, isForUs) in [
                (Site6.groupMAC(group), true), (0x3333_0000_0001, true), (Site6.mac(0), true),
                (Site6.groupMAC(Site6.solicitedNode(Site6.linkLocal(0))), true), (0x3333_ff00_0077, false),
                (0x3333_0000_0002, false), (Site6.mac(1), false),
            ] as [(UInt64, Bool)] {
                let before = rig.group.counts.drops[.notForUs] ?? 0
                rig.feed(
                    [
                        Packet.discovery(
                            135, from: Site6.host, to: group, target: own, mac: Self.mac, option: 1, frameTo: frameTo)
                    ], port: 0)
                rig.poll(now: 0)
                #expect((rig.group.counts.drops[.notForUs] ?? 0) - before == (isForUs ? 0 : 1), "\(frameTo)")
            }
            _ = rig.take(0)
            _ = rig.close("groups")
        }

        @Test("it goes round all workers, and one answers", arguments: [Site6.lan, Site6.dmz])
        func goesRound(port: Int) throws {
            let rig = try rig(workers: 2), own = v6(port == 0 ? "fd00:1::1" : "fd00:3::1")
            let asker = own + 8, group = Site6.solicitedNode(own)
            rig.feed(
                [
                    Packet.discovery(
                        135, from: asker, to: group, target: own, mac: Self.mac, option: 1,
                        frameTo: Site6.groupMAC(group))
                ], port: port)
            for now: UInt64 in 0..<3 { rig.poll(now: now) }
            #expect(rig.take(port).count == 1)
            let key = key(asker, port: port)
            let first = rig.first.neighbors.find(key) != nil, second = rig.second?.neighbors.find(key) != nil
            #expect(first && second)
            let counts = rig.group.counts
            #expect(counts.isConserved && counts.consumed == 1 && counts.originated == 1 && counts.inFlight == 0)
            _ = rig.close("goes round")
        }
    }
}
