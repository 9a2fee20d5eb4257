import IPsec
import Testing
import Wire

@testable import DataPlane

extension OnDPDK {
    @Suite("Neighbours when routes change")
    struct NeighborMoveTests {
        init() throws { try TestEnvironment.start() }

        private static let second: UInt64 = 1_000_000_000
        private static let asker: UInt32 = 0x0a00_0105, dmz: UInt32 = 0x0a00_0307

        /// Two protected ports, and a gateway that `vias` routes go by.
        private static func site(vias: [String] = [], neighbors: [Topology.Neighbor] = []) -> Topology {
            Topology(
                ports: [
                    port("lan", .protected, ["10.0.1.1/24"]), port("dmz", .protected, ["10.0.3.1/24"]),
                    port("wan", .unprotected, ["192.0.2.1/24"]),
                ],
                routes: vias.enumerated().map { number, via in
                    .init(destination: prefix("10.7.\(number).0/24"), via: address(via), port: 1)
                }, neighbors: neighbors, tunnels: [], policies: [])
        }

        private static func isStatic(_ host: UInt32, _ mac: UInt64) -> Topology.Neighbor {
            .init(port: 1, address: IPAddress(v4: host), mac: MACAddress(rawValue: mac))
        }

        private func rig(_ site: Topology, workers: Int = 1) throws -> Rig {
            try Rig(site, workers: workers, mode: .replay(resolve: true))
        }

        /// Sends packets with these numbers from the LAN to a host of the other net, or behind it.
        private func send(_ numbers: [UInt8], to destination: UInt32, _ rig: Rig, now: UInt64) {
            rig.feed(
                numbers.map {
                    Packet.frame(
                        to: 0x0200_0000_0100,
                        Packet.IPv4(source: Self.asker, destination: destination, payload: [$0]).octets)
                }, port: 0)
            rig.poll(now: now)
        }

        /// The other net's host answers.
        private func answer(_ host: UInt32, _ mac: UInt64, _ rig: Rig, now: UInt64) {
            let reply = Packet.arp(
                operation: 2, senderMAC: mac, sender: host, targetMAC: 0x0200_0000_0101, target: 0x0a00_0301)
            rig.feed([Packet.frame(to: 0x0200_0000_0101, from: mac, type: 0x0806, reply)], port: 1)
            rig.poll(now: now)
        }

        /// IPv4 frames: where they went and the number that they carry.
        private func delivered(_ frames: [[UInt8]]) -> [Delivery] {
            frames.filter { Packet.uint16($0, at: 12) == 0x0800 }.map {
                Delivery(mac: Packet.uint64([0, 0] + $0.prefix(6), at: 0), number: $0[34])
            }
        }

        private struct Delivery: Equatable {
            let mac: UInt64, number: UInt8
        }

        private func questions(_ frames: [[UInt8]]) -> [UInt32] {
            frames.filter { Packet.uint16($0, at: 12) == 0x0806 && $0[21] == 1 }.map { Packet.uint32($0, at: 38) }
        }

        private func publish(_ rig: Rig, _ site: Topology) throws {
            let before = rig.group.tables
            let tables = try rig.publish(site, [])
            #expect(tables.routing !== before.routing)
        }

        @Test("a learned neighbour is known after other routes, also when it becomes a gateway's next hop")
        func learned() throws {
            let rig = try rig(Self.site())
            send([1], to: Self.dmz, rig, now: 0)
            #expect(questions(rig.take(1)) == [Self.dmz])
            answer(Self.dmz, 0x0200_0000_0042, rig, now: 1)
            #expect(delivered(rig.take(1)) == [Delivery(mac: 0x0200_0000_0042, number: 1)])
            try publish(rig, Self.site(vias: ["10.0.3.9", "10.0.3.7"]))
            send([2], to: Self.dmz, rig, now: 2)
            send([3], to: 0x0a07_0105, rig, now: 3)
            #expect(
                delivered(rig.take(1)) == [
                    Delivery(mac: 0x0200_0000_0042, number: 2), Delivery(mac: 0x0200_0000_0042, number: 3),
                ])
            // And back: what was pinned is one among others again.
            try publish(rig, Self.site(vias: ["10.0.3.9"]))
            send([4], to: Self.dmz, rig, now: 4)
            #expect(delivered(rig.take(1)) == [Delivery(mac: 0x0200_0000_0042, number: 4)])
            _ = rig.close("learned")
        }

        @Test("a static neighbour that no longer is stays until it does not answer, and may become static again")
        func staticAndBack() throws {
            let rig = try rig(Self.site(neighbors: [Self.isStatic(Self.dmz, 0x0200_0000_0011)]))
            send([1], to: Self.dmz, rig, now: 0)
            try publish(rig, Self.site())
            send([2], to: Self.dmz, rig, now: 1)
            #expect(delivered(rig.take(1)).map(\.mac) == [0x0200_0000_0011, 0x0200_0000_0011])
            // It is used: so it is asked, and goes on to be used, until three questions had no answer.
            var asked = 0
            for tenth: UInt64 in 1...60 {
                rig.poll(now: tenth * Self.second / 10)
                asked += questions(rig.take(1)).filter { $0 == Self.dmz }.count
            }
            #expect(asked == 3)
            send([3], to: Self.dmz, rig, now: 7 * Self.second)
            #expect(delivered(rig.take(1)).isEmpty)
            // Static again with another address: who waits goes there.
            try publish(rig, Self.site(neighbors: [Self.isStatic(Self.dmz, 0x0200_0000_0022)]))
            rig.poll(now: 7 * Self.second + 1)
            #expect(delivered(rig.take(1)) == [Delivery(mac: 0x0200_0000_0022, number: 3)])
            // Nobody may change it now.
            answer(Self.dmz, 0x0200_0000_0033, rig, now: 7 * Self.second + 2)
            send([4], to: Self.dmz, rig, now: 7 * Self.second + 3)
            #expect(delivered(rig.take(1)) == [Delivery(mac: 0x0200_0000_0022, number: 4)])
            _ = rig.close("static")
        }

        @Test("packets that wait go on to wait, and leave in their order with the answer", arguments: [1, 2])
        func waiting(workers: Int) throws {
            let rig = try rig(Self.site(vias: ["10.0.3.7"]), workers: workers)
            send([1, 2], to: Self.dmz, rig, now: 0)
            send([3], to: 0x0a07_0005, rig, now: 1)  // by the gateway, which is the same
            send([9], to: Self.dmz + 1, rig, now: 1)  // somebody else
            try publish(rig, Self.site(vias: ["10.0.3.99", "10.0.3.8"]))
            rig.poll(now: 2)
            #expect(rig.first.heldCount == 4 && rig.group.counts.isConserved)
            #expect(delivered(rig.take(1)).isEmpty)
            for round: UInt64 in 3..<6 { rig.poll(now: round) }
            answer(Self.dmz, 0x0200_0000_0042, rig, now: 6)
            for round: UInt64 in 7..<10 { rig.poll(now: round) }
            #expect(delivered(rig.take(1)) == [1, 2, 3].map { Delivery(mac: 0x0200_0000_0042, number: $0) })
            answer(Self.dmz + 1, 0x0200_0000_0043, rig, now: 10)
            for round: UInt64 in 11..<14 { rig.poll(now: round) }
            #expect(delivered(rig.take(1)) == [Delivery(mac: 0x0200_0000_0043, number: 9)])
            #expect(rig.first.heldCount == 0 && rig.group.counts.dropped == 0)
            _ = rig.close("waiting")
        }

        @Test("packets that wait for somebody who is not there any more are dropped in time")
        func gone() throws {
            let rig = try rig(Self.site())
            send([1, 2, 3], to: Self.dmz, rig, now: 0)
            var other = Self.site()
            other.ports[1].addresses = [IPInterfaceAddress("10.0.4.1/24")].compactMap { $0 }
            try publish(rig, other)
            rig.poll(now: 1)
            #expect(rig.first.heldCount == 3)
            // He is not on that link now, and may not say that he is.
            answer(Self.dmz, 0x0200_0000_0042, rig, now: 2)
            #expect(rig.first.heldCount == 3)
            for tenth: UInt64 in 1...60 { rig.poll(now: tenth * Self.second / 10) }
            #expect(rig.first.heldCount == 0 && rig.group.counts.drops[.neighborUnresolved] == 3)
            #expect(delivered(rig.take(1)).isEmpty)
            _ = rig.take(1)
            _ = rig.close("gone")
        }

        @Test("a full table moves: what is waited for and pinned has its place")
        func full() throws {
            let rig = try Rig(Self.site(), mode: .replay(resolve: true))
            // Everybody of a large block speaks; then somebody is waited for.
            var site = Self.site(vias: ["10.0.3.7"])
            site.ports[1].addresses = [IPInterfaceAddress("10.0.3.1/16")].compactMap { $0 }
            site.ports[0].addresses = [IPInterfaceAddress("10.1.1.1/24")].compactMap { $0 }
            try publish(rig, site)
            let hosts = NeighborTable.dynamicLimit + 500
            for first in stride(from: 0, to: hosts, by: 32) {
                let questions = (first..<min(first + 32, hosts)).map { number in
                    Packet.frame(
                        to: 0xffff_ffff_ffff, from: 0x0200_0100_0000 + UInt64(number), type: 0x0806,
                        Packet.arp(
                            operation: 1, senderMAC: 0x0200_0100_0000 + UInt64(number),
                            sender: 0x0a00_1000 + UInt32(number), target: 0x0a00_0301))
                }
                rig.feed(questions, port: 1)
                rig.poll(now: UInt64(first))
                _ = rig.take(1)
            }
            send([1], to: 0x0a00_0f01, rig, now: 10_000)
            send([2], to: 0x0a07_0001, rig, now: 10_001)
            var next = site
            next.routes = [.init(destination: prefix("10.7.0.0/24"), via: address("10.0.3.200"), port: 1)]
            try publish(rig, next)
            rig.poll(now: 10_002)
            #expect(rig.first.heldCount == 2 && rig.group.counts.isConserved)
            answer(0x0a00_0f01, 0x0200_0000_0042, rig, now: 10_003)
            answer(Self.dmz, 0x0200_0000_0043, rig, now: 10_004)
            #expect(
                delivered(rig.take(1)) == [
                    Delivery(mac: 0x0200_0000_0042, number: 1), Delivery(mac: 0x0200_0000_0043, number: 2),
                ])
            // Of the others nearly all are known still.
            var known = 0
            for number in 0..<UInt32(hosts)
            where rig.first.neighbors.find(NeighborKey(port: 1, address: 0x0a00_1000 + number)) != nil { known += 1 }
            #expect(known > NeighborTable.dynamicLimit - 10, "\(known)")
            _ = rig.close("full")
        }
    }
}
