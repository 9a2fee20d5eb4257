/// What to measure.
public struct BenchOptions: Sendable {
    /// Which way packets go: out, in, or one burst each way through one worker.
    public enum Direction: String, Sendable, CaseIterable { case encap, decap, both }
    /// Who does the cryptography.
    public enum Path: String, Sendable, CaseIterable {
        /// The processor.
        case software
        /// A NIC, whose own part and whose driver's is left out.
        case inline
        /// A crypto device in software, beside the packets' way: DPDK's crypto_aesni_mb.
        case lookaside
        /// Nobody: all that is left of the way.
        case null

        /// Polls until a burst that came has left: what a device has is fetched by the next one.
        var polls: Int { self == .lookaside ? 2 : 1 }
    }
    /// How the result is printed.
    public enum Format: String, Sendable, CaseIterable { case table, json, csv }

    /// One or more inner lengths in octets, measured as one row; named as the operator named it.
    public struct Size: Sendable {
        /// As the operator named it.
        public var name: String
        /// Inner lengths in octets, taken in turn.
        public var lengths: [Int]

        /// 7 × 64 : 4 × 552 : 1 × 1420 inner octets.
        public static let imix = Size(
            name: "imix", lengths: [64, 552, 64, 64, 552, 64, 64, 1420, 552, 64, 64, 552])

        /// One length.
        public init(octets: Int) { self.init(name: String(octets), lengths: [octets]) }

        init(name: String, lengths: [Int]) {
            self.name = name
            self.lengths = lengths
        }

        /// Reads "imix" or a number within `octetLimits`.
        public init?(_ text: String) {
            if text == Size.imix.name {
                self = .imix
            } else {
                guard let octets = Int(text), BenchOptions.octetLimits.contains(octets) else { return nil }
                self.init(octets: octets)
            }
        }

        var meanOctets: Double { Double(lengths.reduce(0, +)) / Double(lengths.count) }
    }

    /// The sizes of the contract, and IMIX.
    public static let defaultSizes = [64, 128, 256, 512, 1024, 1420, 8900].map(Size.init(octets:)) + [Size.imix]
    /// Inner lengths that can be measured.
    public static let octetLimits = 20...9000

    /// Numbers of SAs that can be measured: all workers' together.
    public static let associationLimits = 1...BenchSite.tunnelLimit
    /// Numbers of samples that can be taken of a row.
    public static let sampleLimits = 1...100_000
    /// Numbers of workers that can be measured.
    public static let workerLimits = 1...8

    /// What to measure, a row each.
    public var sizes = defaultSizes
    /// Directions to print; all are measured.
    public var directions = Direction.allCases
    /// Paths, in turn within a sample.
    public var paths = [Path.software]
    /// Numbers of SAs, a set of rows each; every worker has so many of its own.
    public var associations = [1]
    /// Numbers of workers, in turn within a sample, each on a core of its own.
    public var workers = [1]
    /// Bursts of 32 packets in a sample.
    public var roundsPerSample = 16
    /// Samples of each row.
    public var samples = 400
    /// Also measure ESP's passes alone.
    public var stages = false
    /// Measure what time packets take at several loads, in place of cycles.
    public var latency = false

    /// Every path with every number of workers: a row each.
    var pathsAndWorkers: [(path: Path, workers: Int)] {
        paths.flatMap { path in workers.map { (path, $0) } }
    }

    /// The contract's defaults.
    public init() {}
}
