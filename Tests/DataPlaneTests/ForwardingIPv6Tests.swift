import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("IPv6 from port to port")
    struct ForwardingIPv6Tests {
        init() throws { try TestEnvironment.start() }

        /// Sends frames into the LAN and returns what comes out by each port, and why something did not.
        private func run(
            _ frames: [[UInt8]], _ site: Topology = Site6.topology(), port: Int = Site6.lan
        ) throws -> (sent: [[[UInt8]]], drops: [DropReason: UInt64]) {
            let rig = try Rig(site)
            rig.feed(frames, port: port)
            rig.poll(now: 1)
            let sent = (0..<3).map { rig.take($0) }, drops = rig.group.counts.drops.filter { $0.value > 0 }
            _ = rig.close("IPv6")
            return (sent, drops)
        }

        @Test("a packet goes on with one hop less, and nothing else of it changes")
        func forwards() throws {
            let packets = [
                Site6.udp(), Site6.udp(extensions: [(0, [0, 0, 1, 4, 0, 0, 0, 0])]),
                Site6.udp(extensions: [(60, [0, 0, 1, 4, 0, 0, 0, 0]), Packet.fragment(offset: 800, more: true)]),
                Site6.udp(extensions: [(43, [0, 0, 4, 0, 0, 0, 0, 0])]),
            ]
            let (sent, drops) = try run(packets.map { Site6.frame($0) })
            #expect(drops.isEmpty)
            let expected = packets.map { packet -> [UInt8] in
                var packet = packet
                packet.hopLimit = 63
                return Packet.frame(
                    to: 0x0200_0000_0001, from: Site6.mac(Site6.dmz), type: 0x86dd, packet.octets)
            }
            #expect(sent[Site6.dmz] == expected)
        }

        @Test("bursts of both families keep their order")
        func mixed() throws {
            var frames: [[UInt8]] = []
            for number in 0..<24 as Range<UInt8> {
                if number % 3 == 0 {
                    frames.append(
                        Packet.frame(
                            to: 0, Packet.IPv4(source: 0x0a00_0105, destination: 0x0a00_0307, payload: [number]).octets)
                    )
                } else {
                    var packet = Site6.udp()
                    packet.nextHeader = 253
                    packet.payload = [number]
                    frames.append(Site6.frame(packet))
                }
            }
            let (sent, drops) = try run(frames)
            #expect(drops.isEmpty && sent[Site6.dmz].map { $0[$0.count - 1] } == Array(0..<24))
        }

        @Test("who sent what has no hop left, or is too large, hears of it from the port's own address")
        func errors() throws {
            for (packet, type, mtu) in [
                (Site6.udp(hopLimit: 1), 3, 0), (Site6.udp(octets: 1300), 2, 1300), (Site6.udp(octets: 1300), 2, 1280),
            ] as [(Packet.IPv6, UInt8, UInt32)] {
                let site = Site6.topology(mtu: mtu == 1280 ? 1000 : mtu == 0 ? 1500 : Int(mtu))
                let (sent, drops) = try run([Site6.frame(packet)], site)
                #expect(drops == [type == 3 ? .ttlExpired : .packetTooBig: 1])
                let frame = try #require(sent[Site6.lan].first)
                let error = frame.dropFirst(14).map(\.self)
                var quoted = packet
                if type == 2 { quoted.hopLimit -= 1 }
                #expect(sent[Site6.dmz].isEmpty && Packet.uint16(frame, at: 12) == 0x86dd)
                #expect(Packet.uint128(error, at: 8) == v6("fd00:1::1") && Packet.uint128(error, at: 24) == Site6.host)
                #expect(error[40] == type && Packet.uint32(error, at: 44) == mtu && Packet.isIntact6(error))
                #expect(error.count <= 1280 && Array(error[48...]) == Array(quoted.octets.prefix(1232)))
            }
        }

        @Test("nobody hears of errors, later pieces of what may be one, and packets that IPv6 owes everybody")
        func silence() throws {
            var error = Site6.udp(hopLimit: 1)
            error.nextHeader = 58
            error.payload = Packet.icmp6(1, 0, [0, 0, 0, 0], from: error.source, to: error.destination)
            var redirect = error
            redirect.payload[0] = 137
            var piece = error
            piece.extensions = [Packet.fragment(offset: 8, more: false)]
            let small = Site6.udp(octets: 1200)
            for packet in [error, redirect, piece, small] {
                let (sent, drops) = try run([Site6.frame(packet)], Site6.topology(mtu: 1000))
                #expect(sent.allSatisfy(\.isEmpty) && drops.values.reduce(0, +) == 1)
            }
        }

        @Test(
            "addresses that no packet on a link may have",
            arguments: [
                ("::", "fd00:3::7"), ("::1", "fd00:3::7"), ("ff02::5", "fd00:3::7"), ("::ffff:10.0.0.1", "fd00:3::7"),
                ("fd00:1::1", "fd00:3::7"), ("fd00:3::1", "fd00:3::7"), ("fd00:3::", "fd00:3::7"), ("fd00:1::5", "::1"),
                ("fd00:1::5", "ff02::1"), ("fd00:1::5", "ff0e::7"), ("fd00:1::5", "::ffff:10.0.3.7"),
                ("fe80::7", "fd00:3::7"), ("fd00:1::5", "fe80::9"), ("fe80::7", "fe80::9"),
            ])
        func martians(source: String, destination: String) throws {
            let (sent, drops) = try run([Site6.frame(Site6.udp(v6(source), v6(destination)))])
            #expect(sent.allSatisfy(\.isEmpty) && drops == [.martian: 1])
        }

        @Test("headers that do not hold")
        func malformed() throws {
            let good = Site6.udp().octets
            var version = good
            version[0] = 0x40
            var tooLong = good
            tooLong[5] &+= 1
            let chain = Site6.udp(extensions: [(60, [0, 9, 1, 4, 0, 0, 0, 0])]).octets
            let late = Site6.udp(extensions: [(60, [0, 0, 1, 4, 0, 0, 0, 0]), (0, [0, 0, 1, 4, 0, 0, 0, 0])]).octets
            let circle = Site6.udp(
                extensions: [(43, [0, 2, 0, 1, 0, 0, 0, 0] + Array(repeating: 3, count: 16))]
            ).octets
            for packet in [version, tooLong, chain, late, circle, Array(good.prefix(39)), []] {
                let (sent, drops) = try run([Packet.frame(to: 0, type: 0x86dd, packet)])
                #expect(sent.allSatisfy(\.isEmpty) && drops == [.malformed: 1], "\(packet)")
            }
        }

        @Test("echo for an own address is answered, without the question's extension headers")
        func echo() throws {
            for extensions in [
                [], [(0, [0, 0, 1, 4, 0, 0, 0, 0])], [(60, [0, 1, 1, 12] + Array(repeating: 0, count: 12))],
            ]
                as [[(number: UInt8, octets: [UInt8])]]
            {
                for (from, to) in [
                    ("fd00:1::5", "fd00:1::1"), ("fd00:1::5", "fd00:3::1"), ("fd00:1::5", "fd00:1::"),
                    ("fe80::5", "fe80::ff:fe00:100"),
                ] {
                    var question = Site6.udp(v6(from), v6(to), extensions: extensions)
                    question.nextHeader = 58
                    question.payload = Packet.icmp6(128, 0, [1, 2, 3, 4, 5], from: v6(from), to: v6(to))
                    let (sent, drops) = try run([Site6.frame(question)])
                    #expect(drops.isEmpty)
                    let frame = try #require(sent[Site6.lan].first, "\(from) to \(to)")
                    let answer = frame.dropFirst(14).map(\.self)
                    #expect(
                        answer
                            == Packet.IPv6(
                                nextHeader: 58, source: v6(to), destination: v6(from),
                                payload: Packet.icmp6(129, 0, [1, 2, 3, 4, 5], from: v6(to), to: v6(from))
                            ).octets)
                }
            }
        }

        @Test("echo that is damaged, in pieces, or to a link-local address from beyond, is not answered")
        func echoRefused() throws {
            let own = v6("fd00:1::1"), link = Site6.linkLocal(0)
            let message = Packet.icmp6(128, 0, [1, 2, 3, 4], from: Site6.host, to: own)
            var damaged = Site6.udp(Site6.host, own)
            damaged.nextHeader = 58
            damaged.payload = message.dropLast() + [9]
            var piece = damaged
            piece.payload = message
            piece.extensions = [Packet.fragment(offset: 0, more: true)]
            var beyond = Site6.udp(Site6.host, link)
            beyond.nextHeader = 58
            beyond.payload = Packet.icmp6(128, 0, [1, 2, 3, 4], from: Site6.host, to: link)
            for (packet, reason) in [(damaged, .noPolicy), (piece, .noPolicy), (beyond, .martian)]
                as [(Packet.IPv6, DropReason)]
            {
                let (sent, drops) = try run([Site6.frame(packet)])
                #expect(sent.allSatisfy(\.isEmpty) && drops == [reason: 1])
            }
        }

        @Test("a site without IPv6 has no table for it and drops it")
        func without() throws {
            let site = Topology(
                ports: [port("lan", .protected, ["10.0.1.1/24"]), port("wan", .unprotected, ["192.0.2.1/24"])],
                routes: [], neighbors: [], tunnels: [], policies: [])
            let rig = try Rig(site)
            #expect(unsafe rig.group.tables.routing.fib6 == nil && site.routeTable6Octets == 0)
            rig.feed([Site6.frame(Site6.udp())], port: 0)
            rig.feed([Site6.frame(Site6.udp(), to: 1)], port: 1)
            rig.poll(now: 0)
            #expect(rig.group.counts.drops[.noPolicy] == 2)
            _ = rig.close("without IPv6")
        }
    }
}
