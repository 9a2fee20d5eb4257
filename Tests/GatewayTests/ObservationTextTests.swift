import DataPlane
import Foundation
import IPsec
import SeededRandom
import Testing

@testable import DataPlane
@testable import Gateway

@Suite("What is told of a packet that was followed")
struct ObservationTextTests {
    static let names = TracedPacket.Names(
        ports: ["lan", "wan"], tunnels: ["site-b"],
        path: { _, direction in direction == .inbound ? "inline" : "software" })

    /// 192.0.2.2 to 192.0.2.1, ESP of SPI 0x2001 with number 17, in a frame.
    static let frame: [UInt8] =
        [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]
        + [0x45, 0, 0, 60, 0, 0, 0, 0, 64, 50, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]
        + [0, 0, 0x20, 0x01, 0, 0, 0, 17] + [UInt8](repeating: 7, count: 32)
    /// 10.0.2.5 port 53 to 10.0.1.7 port 4242, UDP.
    static let inner: [UInt8] =
        [0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 5, 10, 0, 1, 7]
        + [0, 53, 0x10, 0x92, 0, 9, 0, 0, 1]

    static func observation(
        received: [UInt8] = frame, inner: [UInt8] = [], sent: [UInt8] = [],
        _ change: (inout ObservationRecord) -> Void
    ) -> Observation {
        var record = ObservationRecord()
        record.port = 1
        record.receivedOctets = UInt32(received.count)
        record.innerOctets = UInt32(inner.count)
        record.sentOctets = UInt32(sent.count)
        change(&record)
        return Observation(record: record, worker: 0, received: received, inner: inner, sent: sent)
    }

    private func packet(_ observation: Observation) -> TracedPacket {
        TracedPacket(observation, time: "2027-01-01T00:00:00.000000000Z", Self.names)
    }

    private func text(_ packet: TracedPacket, _ stage: String) -> String? {
        packet.stages.first { $0.stage == stage }?.text
    }

    @Test("an inbound packet, from the wire to the host")
    func inbound() {
        let lan: [UInt8] = [2, 0, 0, 0, 1, 7, 2, 0, 0, 0, 0, 1, 8, 0] + Self.inner
        let packet = packet(
            Self.observation(inner: Self.inner, sent: lan) {
                ($0.inboundSPI, $0.inboundTunnel, $0.number) = (0x2001, 0, 17)
                ($0.windowHighest, $0.windowSize) = (20, 64)
                ($0.routeKind, $0.routePort) = (4, 0)
                ($0.fate, $0.outPort) = (.sent, 0)
            })
        #expect(
            packet.stages.map(\.stage) == ["received", "association", "window", "integrity", "inner", "route", "sent"])
        #expect(
            text(packet, "received")
                == "on port wan, 74 octets from 02:00:00:00:00:02: 192.0.2.2 -> 192.0.2.1 esp "
                + "SPI 0x00002001 sequence number 17"
        )
        #expect(text(packet, "association") == "inbound SA 0x00002001 of tunnel site-b, inline by the NIC")
        #expect(text(packet, "window") == "sequence number 17 is inside the window of 64 up to 20, and new")
        #expect(text(packet, "integrity") == "the ICV is right")
        #expect(text(packet, "inner") == "10.0.2.5 -> 10.0.1.7 udp 53 -> 4242, 29 octets")
        #expect(text(packet, "route") == "by port lan")
        #expect(text(packet, "sent")?.hasPrefix("by port lan, 43 octets to 02:00:00:00:01:07: 10.0.2.5") == true)
        #expect(packet.fate == "sent" && packet.outPort == "lan" && packet.sequenceNumber == 17)
    }

    @Test(
        "what is said of the window and the ICV is what the reason allows",
        arguments: [
            (DropReason.replayed, "was accepted before", nil), (.late, "is below", nil),
            (.integrityFailed, "is inside", "the ICV is wrong"), (.badTrailer, "is inside", "the ICV is right"),
            (.selectorMismatch, "is inside", "the ICV is right"), (.ttlExpired, "is inside", "the ICV is right"),
        ] as [(DropReason, String, String?)])
    func reasons(reason: DropReason, window: String, integrity: String?) {
        let packet = packet(
            Self.observation {
                ($0.inboundSPI, $0.inboundTunnel, $0.number) = (0x2001, 0, 17)
                ($0.windowHighest, $0.windowSize) = (20, 64)
                ($0.fate, $0.reasonNumber) = (.dropped, reason.rawValue)
            })
        #expect(text(packet, "window")?.contains(window) == true)
        #expect(text(packet, "integrity") == integrity)
        #expect(packet.reason == reason.name && packet.stages.last?.text == "\(reason.name): \(reason.help)")
    }

    @Test("every fate and every reason has words")
    func words() {
        for fate in 0...UInt8(9) {
            guard let fate = ObservationRecord.Fate(rawValue: fate) else {
                Issue.record("fate \(fate)")
                continue
            }
            for reason in DropReason.allCases {
                let packet = packet(
                    Self.observation { ($0.fate, $0.reasonNumber) = (fate, reason.rawValue) })
                #expect(packet.stages.last?.text.isEmpty == false && (packet.reason != nil) == (fate == .dropped))
            }
        }
    }

    @Test("a packet that nobody knows how to read is still told of", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func hostile(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for round in 0..<500 {
            var frame = [Self.frame, [UInt8](Self.frame.prefix(12)) + [0x86, 0xdd, 0x60] + random.octets(90)][round % 2]
            for _ in 0..<3 { frame[Int(random.next() % UInt64(frame.count))] = random.octets(1)[0] }
            frame.removeLast(Int(random.next() % UInt64(frame.count + 1)))
            let words = PacketWords(frame: frame), inside = PacketWords(ip: frame)
            #expect(!words.text.isEmpty && !inside.text.isEmpty && words.text.count < 200, "seed \(seed)")
            let packet = packet(
                Self.observation(received: frame, inner: frame, sent: frame) {
                    ($0.fate, $0.outPort, $0.inboundTunnel, $0.outboundTunnel) = (.sent, 9, 9, 9)
                    ($0.inboundSPI, $0.routeKind, $0.verdict) = (1, 200, 200)
                })
            #expect(!packet.stages.isEmpty)
        }
    }

    @Test("packets in words: IPv6, fragments, messages, tags")
    func packets() {
        #expect(PacketWords(frame: [1]).text == "a frame of 1 octets")
        let arp: [UInt8] =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1] + [UInt8](repeating: 0, count: 6) + [10, 0, 0, 2]
        let ends: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]
        #expect(PacketWords(frame: ends + [8, 6] + arp).text == "arp who has 10.0.0.2, tell 10.0.0.1")
        #expect(
            PacketWords(frame: ends + [0x81, 0, 0, 7, 8, 0] + Self.inner).text
                == "vlan 7 10.0.2.5 -> 10.0.1.7 udp 53 -> 4242")
        var fragment = Self.inner
        (fragment[6], fragment[7]) = (0, 2)
        #expect(PacketWords(ip: fragment).text == "10.0.2.5 -> 10.0.1.7 fragment at 16 of protocol 17")
        let address: [UInt8] = [0xfd] + [UInt8](repeating: 0, count: 14) + [1]
        let six: [UInt8] = [0x60, 0, 0, 0, 0, 16, 0, 64] + address + address
        #expect(
            PacketWords(ip: six + [58, 0, 1, 4, 0, 0, 0, 0] + [128, 0, 0, 0, 0, 0, 0, 0]).text
                == "fd00::1 -> fd00::1 icmpv6 echo request")
        let natted: [UInt8] =
            Array(Self.inner.prefix(20)) + [0x11, 0x94, 0x11, 0x94, 0, 20, 0, 0, 0, 0, 1, 2, 0, 0, 0, 9]
        let words = PacketWords(ip: natted)
        #expect(words.spi == SPI(rawValue: 0x102) && words.sequenceNumber == 9)
    }
}
