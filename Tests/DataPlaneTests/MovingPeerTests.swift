import IPsec
import Testing

@testable import DataPlane

extension OnDPDK {
    /// RFC 3948, RFC 7296 section 2.23.
    @Suite("Peers behind a NAT")
    struct MovingPeerTests {
        init() throws { try TestEnvironment.start() }

        private static let second: UInt64 = 1_000_000_000

        /// A gateway that keeps its peer's NAT awake, and the peer.
        private final class Pair {
            let near: Rig, far: Rig
            let nearPairs: ChildPairs
            let here: IPAddress, there: IPAddress
            private let outer: Int

            init(
                over family: IPFamily, natTraversal: Bool = true, mode: WorkerMode = .replay(resolve: true)
            ) throws {
                let isV4 = family == .v4
                let here = address(isV4 ? "192.0.2.1" : "2001:db8::1")
                let there = address(isV4 ? "192.0.2.2" : "2001:db8::2")
                (self.here, self.there) = (here, there)
                outer = 14 + (isV4 ? 20 : 40)
                func site(_ isFar: Bool) throws -> Topology {
                    let (lan, other) = isFar ? ("10.9.0.0/24", "10.0.1.0/24") : ("10.0.1.0/24", "10.9.0.0/24")
                    var side = try tunnel(
                        0, local: isFar ? there : here, remote: isFar ? here : there, localSubnets: [prefix(lan)],
                        remoteSubnets: [prefix(other)], isReversed: isFar)
                    side.profile.natTraversal = natTraversal
                    return Topology(
                        ports: [
                            port("lan", .protected, [isFar ? "10.9.0.1/24" : "10.0.1.1/24"]),
                            port("wan", .unprotected, ["\(isFar ? there : here)/\(isV4 ? 24 : 64)"]),
                        ], routes: [],
                        neighbors: [
                            .init(port: 0, address: address("10.0.1.5"), mac: .placeholder),
                            .init(port: 1, address: there, mac: .placeholder),
                            .init(port: 1, address: MovingPeerTests.elsewhere(family), mac: .placeholder),
                        ], tunnels: [side], policies: [])
                }
                var pairs: ChildPairs?
                near = try Rig(try site(false), mode: mode) { arena in
                    let made = try ChildPairs(try site(false), arena: arena, workers: 1)
                    pairs = made
                    return made.states(sending: [0])
                }
                nearPairs = try #require(pairs)
                far = try Rig(try site(true))
            }

            /// ESP in UDP from the peer, behind a NAT that has it elsewhere.
            func fromPeer(_ count: Int, at address: IPAddress? = nil, port: UInt16 = 4500) -> [[UInt8]] {
                let inner = Packet.IPv4(source: 0x0a09_0005, destination: 0x0a00_0105, payload: [1, 2, 3, 4])
                far.feed(Array(repeating: Packet.frame(to: 0, inner.octets), count: count), port: 0)
                far.poll(now: 0)
                return far.take(1).map { MovingPeerTests.from(address ?? there, port, $0) }
            }

            /// One packet to the peer, as it leaves.
            func send(now: UInt64) -> [[UInt8]] {
                let inner = Packet.IPv4(source: 0x0a00_0105, destination: 0x0a09_0005, payload: [1, 2, 3, 4])
                near.feed([Packet.frame(to: 0, inner.octets)], port: 0)
                near.poll(now: now)
                return near.take(1)
            }

            /// Rounds every twentieth of a second, from one time up to another; when what left by the WAN did.
            func idle(from start: UInt64, to end: UInt64) -> [(at: UInt64, frame: [UInt8])] {
                stride(from: start, to: end, by: Int(MovingPeerTests.second / 20)).flatMap { now in
                    near.poll(now: now)
                    return near.take(1).map { (now, $0) }
                }
            }

            var notices: [WorkerNotice] {
                var taken: [WorkerNotice] = []
                near.group.takeNotices { taken.append($0) }
                return taken
            }

            /// What the control plane does with a notice.
            func follow(_ notice: WorkerNotice) throws {
                var site = near.group.tables.topology
                site.tunnels[0].remoteAddress = notice.peerAddress
                site.tunnels[0].remotePort = notice.port
                site.tunnels[0].peerHasMoved = true
                try near.publish(site, nearPairs.states(sending: [0]))
            }

            /// Where a packet in UDP goes, and what is in it.
            func read(_ frame: [UInt8]) -> (to: IPAddress, port: UInt16, payload: [UInt8]) {
                let to =
                    here.family == .v4
                    ? IPAddress(v4: Packet.uint32(frame, at: 30)) : IPAddress(v6: Packet.uint128(frame, at: 38))
                return (to, Packet.uint16(frame, at: outer + 2), Array(frame[(outer + 8)...]))
            }

            /// Whether lengths and checksums of a packet in UDP hold; over IPv4 there is no UDP checksum (RFC 3948
            /// section 2.1), over IPv6 there must be one.
            func isWhole(_ frame: [UInt8]) -> Bool {
                let ip = Array(frame[14...]), length = Int(Packet.uint16(frame, at: outer + 4))
                guard Packet.uint16(frame, at: outer) == 4500, length == frame.count - outer else { return false }
                if here.family == .v4 {
                    return onesComplementSum(ip[0..<20]) == 0xffff && Int(Packet.uint16(ip, at: 2)) == ip.count
                        && Packet.uint16(frame, at: outer + 6) == 0
                }
                let pseudo = ip[8..<40] + bigEndian(UInt32(length)) + [0, 0, 0, 17]
                return Int(Packet.uint16(ip, at: 4)) == length && Packet.uint16(frame, at: outer + 6) != 0
                    && onesComplementSum(pseudo + ip[40...]) == 0xffff
            }

            func close(_ context: String) {
                _ = near.close(context)
                _ = far.close(context)
            }
        }

        private static func elsewhere(_ family: IPFamily) -> IPAddress {
            address(family == .v4 ? "192.0.2.77" : "2001:db8::77")
        }

        /// The same packet from another address and port. ESP has its ICV, and nobody looks at the UDP checksum.
        private static func from(_ source: IPAddress, _ port: UInt16, _ frame: [UInt8]) -> [UInt8] {
            var frame = frame
            if let number = source.v4 {
                frame.replaceSubrange(24..<26, with: [0, 0])
                frame.replaceSubrange(26..<30, with: bigEndian(number))
                frame.replaceSubrange(24..<26, with: bigEndian(~onesComplementSum(frame[14..<34])))
                frame.replaceSubrange(34..<36, with: bigEndian(port))
            } else {
                frame.replaceSubrange(22..<38, with: bigEndian(source.rawValue))
                frame.replaceSubrange(54..<56, with: bigEndian(port))
            }
            return frame
        }

        @Test("one that moved is told of, also when its packet had to wait for the disk", arguments: IPFamily.allCases)
        func waited(family: IPFamily) throws {
            let pair = try Pair(over: family), there = MovingPeerTests.elsewhere(family)
            func setCeiling(_ ceiling: UInt64) {
                pair.nearPairs.inbound[0][0].reference.with { $0.setCeiling(ceiling, notice: ceiling) }
            }
            setCeiling(2)
            pair.near.feed(pair.fromPeer(2) + pair.fromPeer(2, at: there, port: 61_000), port: 1)
            pair.near.poll(now: 0)
            #expect(pair.near.take(0).count == 2 && pair.near.first.ahead.count == 2 && pair.notices.isEmpty)
            setCeiling(100)
            pair.near.poll(now: 1)
            #expect(pair.near.take(0).count == 2 && pair.near.first.ahead.count == 0)
            let (notices, inbound) = (pair.notices, pair.nearPairs.inbound[0][0])
            #expect(
                notices == [
                    .peerMoved(spi: inbound.spi.rawValue, association: inbound.id, to: there, port: 61_000)
                ])
            // And so what goes to it does.
            try pair.follow(try #require(notices.first))
            let sent = pair.send(now: 2).map(pair.read)
            #expect(sent.map(\.to) == [there] && sent.map(\.port) == [61_000])
            pair.close("waited")
        }

        // RFC 3948 sections 2.3 and 4
        @Test("after a quiet while a keepalive goes to where the peer is, and not before", arguments: IPFamily.allCases)
        func keepalive(family: IPFamily) throws {
            let pair = try Pair(over: family), second = Self.second
            // A tunnel is looked at once a second.
            let quiet = Worker.keepaliveSeconds * second, latest = quiet + 2 * second
            var now = second
            func expectKeepalive(to address: IPAddress, port: UInt16, after last: UInt64) throws {
                let left = pair.idle(from: now, to: last + latest)
                let at = try #require(left.first?.at)
                #expect(left.count == 1 && at >= last + quiet && at < last + latest)
                let read = pair.read(left[0].frame)
                #expect(read.to == address && read.port == port && read.payload == [0xff])
                #expect(pair.isWhole(left[0].frame))
                now = last + latest
            }
            pair.near.poll(now: now)
            try expectKeepalive(to: pair.there, port: 4500, after: now)
            // Packets that are sent do as well; those that come do not.
            for _ in 0..<4 {
                #expect(pair.send(now: now).count == 1)
                #expect(pair.idle(from: now, to: now + quiet / 2).isEmpty)
                now += quiet / 2
            }
            let sent = now - quiet / 2
            pair.near.feed(pair.fromPeer(1), port: 1)
            try expectKeepalive(to: pair.there, port: 4500, after: sent)
            // Where the peer has gone.
            let there = Self.elsewhere(family)
            #expect(pair.send(now: now).count == 1)
            let last = now
            pair.near.feed(pair.fromPeer(1, at: there, port: 61_000), port: 1)
            pair.near.poll(now: now)
            try pair.follow(try #require(pair.notices.first))
            try expectKeepalive(to: there, port: 61_000, after: last)
            pair.close("keepalive")
        }

        @Test("nobody hears a keepalive from a tunnel without NAT traversal, or in replay")
        func silent() throws {
            let pair = try Pair(over: .v4, mode: .replay(resolve: false))
            #expect(pair.idle(from: 0, to: 60 * Self.second).isEmpty)
            pair.close("replay")
            let plain = try Pair(over: .v4, natTraversal: false)
            #expect(plain.send(now: 0).count == 1 && plain.idle(from: 0, to: 60 * Self.second).isEmpty)
            plain.close("plain")
        }
    }
}
