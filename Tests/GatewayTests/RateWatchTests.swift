import DataPlane
import Testing

@testable import Gateway

@Suite("How fast everything goes")
struct RateWatchTests {
    private let begin = ContinuousClock.now

    private func sample(
        _ seconds: Double, rx: UInt64 = 0, busy: Double = 0, tunnels: [(String, UInt64)] = []
    ) -> RateWatch.Sample {
        var counts = PacketCounts(ports: 1)
        counts.ports[0].rxPackets = rx
        counts.ports[0].rxOctets = rx * 100
        counts.drops[.replayed] = rx / 10
        return RateWatch.Sample(
            at: begin + .seconds(seconds), counts: counts, busySeconds: [busy], receivedPackets: [rx],
            tunnels: tunnels.map { ($0.0, RateWatch.Traffic(outboundPackets: $0.1, outboundOctets: $0.1 * 50)) })
    }

    @Test("there are none before the second look, and what was counted before is in none")
    func first() {
        var rates = RateWatch()
        rates.look(sample(0, rx: 1_000_000, busy: 7, tunnels: [("a", 5)]))
        #expect(rates.seconds == 0 && rates.ports[0].rxPackets == 0 && rates.busyShares == [nil])
        #expect(rates.busiest.map(\.name) == ["a"] && rates.busiest[0].packets == 0)
    }

    @Test("they are of the time that has gone by")
    func second() {
        var rates = RateWatch()
        rates.look(sample(0, rx: 1000, busy: 1))
        rates.look(sample(2, rx: 3000, busy: 2.5))
        #expect(rates.ports[0].rxPackets == 1000 && rates.ports[0].rxOctets == 100_000)
        #expect(rates.drops[.replayed] == 100 && rates.workers == [1000])
        #expect(rates.busyShares == [0.75])
        rates.look(sample(3, rx: 3000, busy: 9))
        #expect(rates.ports[0].rxPackets == 0 && rates.busyShares == [1])
    }

    @Test("the busiest tunnels come first, those of one rate in the book's order, and no more than there is room for")
    func busiest() {
        var rates = RateWatch()
        let names = (0..<100).map { "t\($0)" }
        rates.look(sample(0, tunnels: names.map { ($0, 10) }))
        rates.look(sample(1, tunnels: names.map { ($0, $0 == "t70" ? 500 : $0 == "t50" ? 60 : 10) }))
        #expect(rates.busiest.count == ControlView.Summary.tunnelLimit)
        #expect(rates.busiest.prefix(4).map(\.name) == ["t70", "t50", "t0", "t1"])
        #expect(rates.busiest[0].outboundPackets == 490 && rates.busiest[0].outboundOctets == 24500)
    }

    @Test("a tunnel that is new, gone, or counts anew has no rate below zero")
    func changes() {
        var rates = RateWatch()
        rates.look(sample(0, tunnels: [("a", 100), ("b", 5)]))
        rates.look(sample(1, tunnels: [("b", 2), ("c", 7)]))
        #expect(rates.busiest.map(\.name) == ["c", "b"] && rates.busiest.map(\.packets) == [7, 0])
    }
}
