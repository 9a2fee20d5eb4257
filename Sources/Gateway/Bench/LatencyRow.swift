/// What a packet took at one load. Times are from when it was due to when it was sent.
public struct LatencyRow: Sendable, Encodable {
    /// Who encrypts, as `BenchRow.path`.
    public var path: String
    /// "encap" or "decap".
    public var direction: String
    /// Mean inner IP length.
    public var innerOctets: Double
    /// Number of SAs of each worker.
    public var associations: Int
    /// Number of workers, each with its own feed at an equal part of the load.
    public var workers: Int
    /// The load, in per cent of `noLossPacketsPerSecond`.
    public var loadPercent: Int
    /// What all workers together keep up with: bursts without a pause, median.
    public var noLossPacketsPerSecond: Double
    /// What came, to all workers together.
    public var offeredPacketsPerSecond: Double
    /// Packets timed.
    public var packets: UInt64
    /// Percentiles, each at most a 128th too much.
    public var p50Nanoseconds: Double
    /// As above.
    public var p90Nanoseconds: Double
    /// As above.
    public var p99Nanoseconds: Double
    /// Of 1000 packets, 999 take no longer.
    public var p999Nanoseconds: Double
    /// The longest of all, exactly.
    public var maxNanoseconds: Double

    enum CodingKeys: String, CodingKey, CaseIterable {
        case path, direction
        case innerOctets = "inner_octets"
        case associations, workers
        case loadPercent = "load_percent"
        case noLossPacketsPerSecond = "no_loss_packets_per_second"
        case offeredPacketsPerSecond = "offered_packets_per_second"
        case packets
        case p50Nanoseconds = "p50_nanoseconds"
        case p90Nanoseconds = "p90_nanoseconds"
        case p99Nanoseconds = "p99_nanoseconds"
        case p999Nanoseconds = "p999_nanoseconds"
        case maxNanoseconds = "max_nanoseconds"
    }
}

/// What one worker found at each load, of one size and direction of a pair.
struct LatencyResult: Sendable {
    var interval: Double
    var histograms: [LatencyHistogram]
}
