import DataPlane
import IPsec

/// How fast everything goes: what has changed between the last two looks, a second apart.
struct RateWatch: Sendable {
    /// What the SAs of a tunnel have carried together.
    struct Traffic: Sendable, Equatable {
        var outboundPackets: UInt64 = 0, outboundOctets: UInt64 = 0
        var inboundPackets: UInt64 = 0, inboundOctets: UInt64 = 0
    }

    /// Everything that is counted.
    struct Sample: Sendable {
        var at: ContinuousClock.Instant
        var counts: PacketCounts
        /// Of each worker.
        var busySeconds: [Double], receivedPackets: [UInt64]
        /// By tunnel, in the book's order.
        var tunnels: [(name: String, traffic: Traffic)]
    }

    /// Of one tunnel, per second.
    struct TunnelRate: Sendable {
        /// Its place in the book.
        var index: Int
        var name: String
        var outboundPackets = 0.0, outboundOctets = 0.0, inboundPackets = 0.0, inboundOctets = 0.0

        var packets: Double { outboundPackets + inboundPackets }
    }

    private(set) var seconds = 0.0
    /// Of one port, per second.
    struct PortRate: Sendable {
        var rxPackets = 0.0, rxOctets = 0.0, txPackets = 0.0, txOctets = 0.0
    }

    private(set) var ports: [PortRate] = []
    private(set) var drops: [DropReason: Double] = [:]
    private(set) var workers: [Double] = []
    /// The part of its time that each worker spent on rounds that had packets; nil before there are two looks.
    private(set) var busyShares: [Double?] = []
    /// Those that carry most, and of equal ones the first of the book.
    private(set) var busiest: [TunnelRate] = []
    private var last: Sample?

    /// Takes the next look.
    mutating func look(_ sample: Sample) {
        defer { last = sample }
        busyShares = busyShares.isEmpty ? sample.busySeconds.map { _ in nil } : busyShares
        guard let last else {
            ports = sample.counts.ports.map { _ in PortRate() }
            workers = sample.busySeconds.map { _ in 0 }
            return busiest = RateWatch.first(sample)
        }
        let elapsed = (sample.at - last.at) / .seconds(1)
        guard elapsed > 0 else { return }
        seconds = elapsed
        // A counter that went back has begun anew with its SA.
        func rate(_ now: UInt64, _ before: UInt64) -> Double { now > before ? Double(now - before) / elapsed : 0 }
        ports = zip(sample.counts.ports, last.counts.ports).map {
            PortRate(
                rxPackets: rate($0.rxPackets, $1.rxPackets), rxOctets: rate($0.rxOctets, $1.rxOctets),
                txPackets: rate($0.txPackets, $1.txPackets), txOctets: rate($0.txOctets, $1.txOctets))
        }
        drops = sample.counts.drops.reduce(into: [:]) { $0[$1.key] = rate($1.value, last.counts.drops[$1.key] ?? 0) }
        workers = zip(sample.receivedPackets, last.receivedPackets).map(rate)
        busyShares = zip(sample.busySeconds, last.busySeconds).map { min(1, max(0, $0 - $1) / elapsed) }
        let before = Dictionary(last.tunnels.map { ($0.name, $0.traffic) }) { first, _ in first }
        let rates = sample.tunnels.enumerated().map { index, tunnel in
            let (now, then) = (tunnel.traffic, before[tunnel.name] ?? Traffic())
            return TunnelRate(
                index: index, name: tunnel.name, outboundPackets: rate(now.outboundPackets, then.outboundPackets),
                outboundOctets: rate(now.outboundOctets, then.outboundOctets),
                inboundPackets: rate(now.inboundPackets, then.inboundPackets),
                inboundOctets: rate(now.inboundOctets, then.inboundOctets))
        }
        busiest = Array(
            rates.sorted { ($1.packets, $0.index) < ($0.packets, $1.index) }.prefix(
                ControlView.Summary.tunnelLimit))
    }

    private static func first(_ sample: Sample) -> [TunnelRate] {
        sample.tunnels.prefix(ControlView.Summary.tunnelLimit).enumerated().map {
            TunnelRate(index: $0, name: $1.name)
        }
    }
}
