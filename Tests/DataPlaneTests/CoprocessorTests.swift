import CDPDK
import IPsec
import SeededRandom
import Testing

@testable import DataPlane

extension OnDPDK {
    @Suite("SAs of a crypto device")
    struct CoprocessorTests {
        init() throws { try TestEnvironment.start() }

        static let devices = TestEnvironment.cryptoDevices
        private static let lan = LookasideSite.lan, wan = LookasideSite.wan

        private func sizes(_ count: Int) -> [Int] { (0..<count).map { $0 < 70 ? $0 : ($0 * 37) % 1300 } }

        @Test("it knows the known answer, and a driver without AES-GCM is refused with its name", arguments: devices)
        func selfTest(device: String) throws {
            let pool = try PacketPool(name: TestEnvironment.name(), count: 63, frameOctets: 2048)
            for _ in 0..<2 {
                let coprocessor = try Coprocessor(device, workers: 2, sessions: 8)
                #expect(coprocessor.isRight(pool) && coprocessor.sessions.isEmpty && coprocessor.sessionLimit == 8)
                #expect(coprocessor.close() == 0)
            }
            #expect(pool.inUse == 0)
            pool.destroy()
            #expect(throws: DataPlaneError.noCoprocessor(device: "crypto_none7,socket_id=0")) {
                _ = try Coprocessor("crypto_none7,socket_id=0", workers: 1, sessions: 8)
            }
            #expect {
                _ = try Coprocessor(device, workers: 64, sessions: 8)
            } throws: {
                guard case .coprocessorFailed(device, _, let step, 0)? = $0 as? DataPlaneError else { return false }
                return step.contains("queue pair")
            }
        }

        /// What a gateway makes of frames that come in by one port and leave by the other; with a device, all of them
        /// through that.
        private func pass(_ frames: [[UInt8]], isFar: Bool, _ site: LookasideSite, device: String?) throws -> [[UInt8]]
        {
            let topology = try site.topology(isFar: isFar), from = isFar ? Self.wan : Self.lan
            let lookaside = try device.map { try LookasideRig(topology, device: $0) }
            let rig = try lookaside?.rig ?? Rig(topology)
            var made: [[UInt8]] = []
            for start in stride(from: 0, to: frames.count, by: 32) {
                rig.feed(Array(frames[start..<start + 32]), port: from)
                for now in 1...2 as ClosedRange<UInt64> { rig.poll(now: now) }
                made += rig.take(1 - from)
            }
            #expect(made.count == frames.count, "\(site): \(rig.group.counts)")
            if let lookaside { #expect(lookaside.offloaded == UInt64(frames.count), "\(site)") }
            _ = rig.close("\(site)")
            return made
        }

        @Test("what goes out and what comes in is as software does it, octet by octet", arguments: devices)
        func identical(device: String) throws {
            for site in LookasideSite.all {
                let frames = sizes(160).enumerated().map { site.frame(UInt32($0.offset), octets: $0.element) }
                let outside = try pass(frames, isFar: false, site, device: device)
                #expect(try outside == pass(frames, isFar: false, site, device: nil), "\(site)")
                let inside = try pass(outside, isFar: true, site, device: device)
                #expect(try inside == pass(outside, isFar: true, site, device: nil), "\(site)")
                #expect(inside.compactMap(LookasideSite.number) == (0..<160).map { UInt32($0) }, "\(site)")
            }
        }

        /// What the near gateway of a site sends for packets of these sizes.
        private func sealed(_ site: LookasideSite, _ count: Int) throws -> [[UInt8]] {
            let rig = try Rig(try site.topology(isFar: false))
            var frames: [[UInt8]] = []
            for number in 0..<UInt32(count) {
                rig.feed([site.frame(number, octets: 30 + Int(number))], port: Self.lan)
                rig.poll(now: 1)
                frames += rig.take(Self.wan)
            }
            _ = rig.close("sealed")
            return frames
        }

        // RFC 4303 3.4.3, 3.4.4.1: what is refused under the same names as by software.
        @Test("a wrong ICV, a copy in flight, a copy of an old one, an odd length", arguments: devices)
        func refused(device: String) throws {
            for site in LookasideSite.all {
                let frames = try sealed(site, 6), start = site.espStart
                let peer = try LookasideRig(try site.topology(isFar: true), device: device)
                var forged = frames[1], zero = frames[2]
                forged[forged.count - 1] ^= 1
                zero.replaceSubrange(start + 4..<start + 8, with: [0, 0, 0, 0])
                peer.rig.feed([frames[0], forged, zero, frames[3], frames[3], frames[5]], port: Self.wan)
                peer.rig.poll(now: 1)
                #expect(peer.rig.group.counts.inFlight == 5, "\(site)")
                peer.rig.poll(now: 2)
                // The genuine one is still fresh; the others are not.
                peer.rig.feed([frames[1], frames[0], frames[3]], port: Self.wan)
                peer.rig.poll(now: 3)
                peer.rig.poll(now: 4)
                let numbers = peer.rig.take(Self.lan).compactMap(LookasideSite.number)
                #expect(numbers == [0, 3, 5, 1], "\(site)")
                #expect(peer.drops == [.integrityFailed: 1, .malformed: 1, .replayed: 3], "\(site)")
                _ = peer.rig.close("\(site) \(device)")
            }
        }

        @Test("with other tables, and at the end, what is in flight arrives first", arguments: devices)
        func changes(device: String) throws {
            let site = LookasideSite(mode: .tunnel, outer: .v4), frames = try sealed(site, 20)
            let far = try site.topology(isFar: true)
            let peer = try LookasideRig(far, device: device)
            peer.rig.feed(Array(frames[0..<8]), port: Self.wan)
            peer.rig.poll(now: 1)
            #expect(peer.rig.take(Self.lan).isEmpty && peer.rig.group.counts.inFlight == 8)
            // The SA goes; what had come before is opened by it.
            var states = peer.rig.group.tables.states
            (states[0].inbound, states[0].outbound) = ([], nil)
            try peer.rig.publish(far, states)
            peer.rig.feed(Array(frames[8..<9]), port: Self.wan)
            peer.rig.poll(now: 2)
            #expect(peer.rig.take(Self.lan).compactMap(LookasideSite.number) == (0..<8).map { UInt32($0) })
            #expect(peer.drops == [.unknownSPI: 1] && peer.rig.group.counts.isConserved)
            _ = peer.rig.close("tables")

            for isOutbound in [false, true] {
                let rig = try LookasideRig(try site.topology(isFar: !isOutbound), device: device)
                let port = isOutbound ? Self.lan : Self.wan, other = isOutbound ? Self.wan : Self.lan
                let given = isOutbound ? (0..<9).map { site.frame($0, octets: 9) } : Array(frames[0..<9])
                rig.rig.feed(given, port: port)
                rig.rig.poll(now: 1)
                #expect(rig.rig.group.counts.inFlight == 9)
                let last = rig.rig.close("stop")
                #expect(last[other].count == 9 && rig.rig.kept == 0)
            }
        }

        @Test("a device that gives nothing back is left, and all is accounted for", arguments: devices)
        func stuck(device: String) throws {
            let site = LookasideSite(mode: .tunnel, outer: .v4)
            let rig = try LookasideRig(try site.topology(isFar: false), device: device)
            var number: UInt32 = 0
            func feed(_ count: Int) {
                rig.rig.feed((0..<count).map { site.frame(number + UInt32($0), octets: 40) }, port: Self.lan)
                number += UInt32(count)
            }
            let id = unsafe cdpdk_crypto_by_name(device)
            cdpdk_crypto_stop(UInt8(id))
            // More than there is room for: dropped, and said so.
            for round in 1...20 as ClosedRange<UInt64> {
                feed(30)
                rig.rig.poll(now: round)
                #expect(rig.rig.group.counts.isConserved)
            }
            #expect(rig.rig.group.counts.inFlight == UInt64(Worker.crossingLimit))
            #expect(rig.drops == [.cryptoError: 600 - UInt64(Worker.crossingLimit)])
            #expect(rig.rig.take(Self.wan).isEmpty && rig.rig.group.stuckCoprocessors.isEmpty)
            #expect(!rig.keeper.isLost(device: 0))
            // A tenth of a second later software does it, whether the control plane knows or not.
            rig.rig.poll(now: 100_000_100)
            #expect(rig.rig.group.stuckCoprocessors == [0])
            feed(5)
            rig.rig.poll(now: 100_000_101)
            #expect(rig.rig.take(Self.wan).count == 5)
            rig.keeper.look(now: 1)
            #expect(rig.keeper.takeEvents() == [.coprocessorLost(device: 0)] && rig.keeper.isLost(device: 0))
            #expect(rig.keeper.path(of: rig.wishes[0].id) == .software(.unhealthy))
            feed(5)
            rig.rig.poll(now: 100_000_102)
            #expect(rig.rig.take(Self.wan).count == 5)
            rig.keeper.look(now: 2)
            #expect(rig.keeper.takeEvents() == [])
            #expect(rig.wishes[0].counts.fallback == ["unhealthy": 10])
            rig.keeper.stop()
            _ = rig.rig.close("stuck")
            #expect(rig.drops == [.cryptoError: 600] && rig.rig.kept == Worker.crossingLimit)
        }

        @Test("there and back between device and software, nothing is lost and nothing overtaken", arguments: devices)
        func order(device: String) throws {
            for site in [LookasideSite(mode: .tunnel, outer: .v6), LookasideSite(mode: .transport, outer: .v4)] {
                let seed = UInt64.random(in: 0 ... .max)
                var random = SplitMix64(seed: seed)
                let near = try LookasideRig(try site.topology(isFar: false), device: device)
                let far = try LookasideRig(try site.topology(isFar: true), device: Self.other(device))
                var sent: UInt32 = 0, arrived: [UInt32] = [], numbers: [UInt32] = []
                var software = 0
                func round(_ now: UInt64) {
                    near.rig.poll(now: now)
                    _ = near.rig.group.reclaim()
                    let outside = near.rig.take(Self.wan)
                    numbers += outside.map { Packet.uint32($0, at: site.espStart + 4) }
                    far.rig.feed(outside, port: Self.wan)
                    far.rig.poll(now: now)
                    arrived += far.rig.take(Self.lan).compactMap(LookasideSite.number)
                }
                for now in 1...400 as ClosedRange<UInt64> {
                    for side in [near, far] where random.once(in: 5) {
                        _ = side.rig.group.gates.set(.crossing, 0, random.once(in: 2))
                    }
                    if random.once(in: 9) {
                        // Tables that say the same, and ones with other routes.
                        var topology = try site.topology(isFar: false)
                        if random.once(in: 2) { topology.routes.removeLast(site.outer == .v4 ? 1 : 0) }
                        try near.rig.publish(topology, near.rig.group.tables.states)
                    }
                    let frames = (0..<random.below(33)).map { index in
                        site.frame(sent + UInt32(index), octets: random.below(900))
                    }
                    sent += UInt32(near.rig.feed(frames, port: Self.lan))
                    round(now)
                    #expect(near.rig.group.counts.isConserved && far.rig.group.counts.isConserved, "seed \(seed)")
                }
                for side in [near, far] { software += side.wishes.reduce(0) { $0 + $1.counts.fallback.count } }
                for now in 401...405 as ClosedRange<UInt64> { round(now) }
                #expect(numbers == (0..<sent).map { $0 + 1 }, "seed \(seed), \(site)")
                #expect(arrived == Array(0..<sent), "seed \(seed), \(site): \(near.drops) \(far.drops)")
                #expect(software == 2 && near.offloaded > 0 && far.offloaded > 0, "seed \(seed)")
                _ = near.rig.close("seed \(seed)")
                _ = far.rig.close("seed \(seed)")
            }
        }

        @Test("a packet that is cut behind its ESP does not overtake what the device has", arguments: devices)
        func outerFragments(device: String) throws {
            let site = LookasideSite(mode: .tunnel, outer: .v4)
            var topology = try site.topology(isFar: false)
            topology.tunnels[0].innerMTUOctets = 1200
            let rig = try LookasideRig(topology, device: device)
            let sizes = [10, 20, 1200, 30, 1190, 1200, 40]
            rig.rig.feed(
                sizes.enumerated().map { site.frame(UInt32($0.offset), octets: $0.element, isIPv6: true) },
                port: Self.lan)
            rig.rig.poll(now: 1)
            rig.rig.poll(now: 2)
            let first = rig.rig.take(Self.wan).filter { Packet.uint16($0, at: 20) & 0x1fff == 0 }
            #expect(first.map { Packet.uint32($0, at: site.espStart + 4) } == [1, 2, 3, 4, 5, 6, 7])
            #expect(rig.offloaded == 4 && rig.wishes[0].counts.fallback == ["fragment": 3])
            _ = rig.rig.close("outer fragments")
        }

        private static func other(_ device: String) -> String { devices.first { $0 != device } ?? device }

        @Test("each worker has a lane of its own", arguments: devices)
        func workers(device: String) throws {
            let site = LookasideSite(mode: .tunnel, outer: .v4), frames = try sealed(site, 30)
            let peer = try LookasideRig(try site.topology(isFar: true), device: device, workers: 2)
            // Worker 1 polls the port, worker 0 owns the SA.
            peer.rig.feed(frames, port: Self.wan)
            for now in 1...4 as ClosedRange<UInt64> { peer.rig.poll(now: now) }
            #expect(peer.rig.take(Self.lan).compactMap(LookasideSite.number) == (0..<30).map { UInt32($0) })
            #expect(peer.offloaded == 30)
            _ = peer.rig.close("workers")
        }

        @Test("SAs are given and taken back; a site that wants more than there is room for has the rest by software")
        func keeper() throws {
            let site = LookasideSite(mode: .tunnel, outer: .v4), near = try site.topology(isFar: false)
            let rig = try LookasideRig(near, device: Self.devices[0])
            let states = rig.rig.group.tables.states
            func follow(_ choice: OffloadChoice) { rig.keeper.follow(LookasideRig.wishes(states, near, choice)) }
            func paths() -> [OffloadPath] { rig.wishes.map { rig.keeper.path(of: $0.id) } }
            #expect(paths() == [.lookaside(device: 0), .lookaside(device: 0)] && rig.keeper.used(device: 0) == 2)
            let handles = rig.wishes.map(\.handle)
            #expect(handles.allSatisfy { CoprocessorHandle.isOne($0) && CoprocessorHandle.device($0) == 0 })
            follow(.lookaside)
            #expect(rig.wishes.map(\.handle) == handles, "what it has it keeps")
            for choice in [OffloadChoice.off, .auto, .required] {
                follow(choice)
                #expect(rig.keeper.used(device: 0) == 0 && rig.wishes.allSatisfy { $0.handle == 0 })
                #expect(
                    paths()
                        == (choice == .off
                            ? [.software(nil), .software(nil)] : [.software(.noEngine), .software(.noEngine)]))
                follow(.lookaside)
                #expect(rig.keeper.used(device: 0) == 2)
            }
            var padded = rig.wishes
            padded[0].profile.tfcPaddingOctets = 256
            follow(.off)
            rig.keeper.follow(padded)
            #expect(paths() == [.software(.tfcPadding), .lookaside(device: 0)])
            // All of its 64 sessions but two are somebody else's.
            follow(.off)
            let held = try (0..<62).map { _ in
                try #require(
                    rig.rig.group.coprocessors[0].makeSession(.outbound, near.tunnels[0].children[0].outbound.key))
            }
            follow(.lookaside)
            #expect(rig.keeper.used(device: 0) == 2)
            follow(.off)
            _ = try #require(
                rig.rig.group.coprocessors[0].makeSession(.inbound, near.tunnels[0].children[0].outbound.key))
            follow(.lookaside)
            #expect(paths() == [.lookaside(device: 0), .software(.saTableFull)])
            for session in held { rig.rig.group.coprocessors[0].destroySession(session) }
            _ = rig.rig.close("keeper")

            let plain = try Rig(near)
            let without = OffloadKeeper(plain.group, ports: plain.ports.map(\.port), workers: 1)
            let wishes = LookasideRig.wishes(plain.group.tables.states, near)
            without.follow(wishes)
            #expect(without.path(of: wishes[0]) == .software(.noCryptoDevice))
            _ = plain.close("without")
        }
    }
}
