import DataPlane
import Foundation

/// Runs benchmarks and prints what they found.
public struct BenchReport: Sendable {
    /// One for each number of SAs, size and direction.
    public private(set) var rows: [BenchRow] = []
    private var stages: [BenchStages.Row] = []
    private var writes: [String] = []

    /// Measures everything that `options` ask for; `progress` is told what is being measured. Starts DPDK's
    /// environment: once in a process.
    ///
    /// With a directory every row is also measured with numbers reserved in a store below it, which goes at the end.
    public static func run(
        _ options: BenchOptions, reservingBelow directory: String? = nil, progress: (String) -> Void
    ) throws -> BenchReport {
        guard let directory else { return try measure(options, progress: progress) }
        let path = "\(directory)/vpn-gw-bench-\(getpid())"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: path) }
        var options = options
        options.storeDirectory = path
        return try measure(options, progress: progress)
    }

    private static func measure(_ options: BenchOptions, progress: (String) -> Void) throws -> BenchReport {
        // The most tunnels want the most memory: 4 KiB each for policies, besides what the route table takes.
        let memory = 512 + (options.associations.max() ?? 0) / 128
        try Environment.start(
            Environment.Settings(
                workerCores: [], hugePages: false, memoryMiB: memory,
                devices: options.paths.contains(.lookaside) ? Bench.cryptoDevices.compactMap { $0 } : [],
                extraArguments: []),
            keepAffinity: true)
        var report = BenchReport()
        for associations in options.associations {
            guard let directory = options.storeDirectory else {
                try report.measure(options, associations, progress)
                continue
            }
            var bench = try Bench(associations: associations)
            var reserving = try Bench(associations: associations, directory: directory)
            for size in options.sizes {
                progress("\(associations) SA(s), \(size.name) octets, without and with reservations")
                var samples = Bench.Samples(), traffic = BenchTraffic(lengths: size.lengths, associations: associations)
                var durable = Bench.Samples()
                for index in -200..<options.samples {
                    if index == 0 { (samples, durable) = (Bench.Samples(), Bench.Samples()) }
                    try bench.sample(&traffic, rounds: options.roundsPerSample, into: &samples)
                    try reserving.patientSample(&traffic, rounds: options.roundsPerSample, into: &durable)
                }
                report.add(options, size, associations, samples, path: "software")
                report.add(options, size, associations, durable, path: "software+store")
            }
            report.add(associations, reserving.reserved, repeated: reserving.repeated)
            try bench.close()
            try reserving.close()
        }
        if options.stages {
            for size in options.sizes where size.lengths.count == 1 {
                progress("ESP alone, \(size.name) octets")
                report.stages.append(
                    try BenchStages.measure(innerOctets: size.lengths[0], samples: options.samples))
            }
        }
        return report
    }

    /// All paths at one number of SAs, in turn within each sample: figures of one line are of the same moments.
    private mutating func measure(
        _ options: BenchOptions, _ associations: Int, _ progress: (String) -> Void
    ) throws {
        var benches = BenchSet()
        for path in options.paths { benches.append(try Bench(associations: associations, path: path)) }
        for size in options.sizes {
            progress("\(associations) SA(s), \(size.name) octets")
            var samples = options.paths.map { _ in Bench.Samples() }
            var traffic = BenchTraffic(lengths: size.lengths, associations: associations)
            for index in -20..<options.samples {
                if index == 0 { samples = options.paths.map { _ in Bench.Samples() } }
                for place in options.paths.indices {
                    try benches[place].sample(&traffic, rounds: options.roundsPerSample, into: &samples[place])
                }
            }
            for (place, path) in options.paths.enumerated() {
                add(options, size, associations, samples[place], path: path.rawValue)
            }
        }
        try benches.close()
    }

    private mutating func add(
        _ options: BenchOptions, _ size: BenchOptions.Size, _ associations: Int, _ samples: Bench.Samples, path: String
    ) {
        for direction in options.directions {
            rows.append(BenchReport.row(direction, size, associations, samples, path: path))
        }
    }

    /// What reservations cost the disk.
    private mutating func add(
        _ associations: Int, _ reserved: (packets: UInt64, commits: UInt64, octets: UInt64), repeated: Int
    ) {
        let millions = Double(max(1, reserved.packets)) / 1e6
        writes.append(
            String(
                format:
                    "%d SA(s): %.1f million packets sent, %d commits, %.1f commits and %.1f KiB written per million; "
                    + "%d samples taken again because packets waited",
                associations, millions, reserved.commits, Double(reserved.commits) / millions,
                Double(reserved.octets) / 1024 / millions, repeated))
    }

    private static func row(
        _ direction: BenchOptions.Direction, _ size: BenchOptions.Size, _ associations: Int, _ samples: Bench.Samples,
        path: String
    ) -> BenchRow {
        let cycles: [Double] =
            switch direction {
            case .encap: samples.encap
            case .decap: samples.decap
            case .both: samples.both
            }
        let median = self.median(cycles)
        let perSecond = Double(Environment.ticksPerSecond) / median
        return BenchRow(
            path: path, direction: direction.rawValue, innerOctets: size.meanOctets, associations: associations,
            cyclesPerPacketMedian: median, cyclesPerPacketMin: cycles.min() ?? 0,
            ioFloorCycles: self.median(samples.floor), cyclesPerOctet: median / size.meanOctets,
            packetsPerSecond: perSecond, innerBitsPerSecond: perSecond * size.meanOctets * 8)
    }

    static func median(_ values: [Double]) -> Double { values.isEmpty ? 0 : values.sorted()[values.count / 2] }

    /// Text in the form that was asked for; JSON and CSV hold the rows, and those of ESP alone where that was measured.
    public func render(as format: BenchOptions.Format) throws -> String {
        switch format {
        case .table: return (table + writes + stageTable).joined(separator: "\n")
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            return String(decoding: try encoder.encode(rows + stageRows), as: UTF8.self)
        case .csv: return ([BenchReport.csvHead] + (rows + stageRows).map(csv)).joined(separator: "\n")
        }
    }

    private static let csvHead =
        "path,direction,inner_octets,associations,workers,cycles_per_packet_median,cycles_per_packet_min,"
        + "io_floor_cycles,cycles_per_octet,packets_per_second,inner_bits_per_second,joules_per_gigabyte"

    private func csv(_ row: BenchRow) -> String {
        let figures = [
            row.cyclesPerPacketMedian, row.cyclesPerPacketMin, row.ioFloorCycles, row.cyclesPerOctet,
            row.packetsPerSecond, row.innerBitsPerSecond,
        ].map { String(format: "%.3f", $0) }
        let octets = String(format: "%.1f", row.innerOctets)
        let names = [row.path, row.direction, octets, "\(row.associations)", "\(row.workers)"]
        return (names + figures + [""]).joined(separator: ",")
    }

    private var table: [String] {
        var lines = [
            "path            direction   SAs   octets   cycles/packet     min   I/O floor   cycles/octet     Mpps   "
                + "inner Gbit/s"
        ]
        for row in rows {
            let figures = String(
                format: "%6d %8.0f %15.1f %7.1f %11.1f %14.3f %8.2f %14.2f", row.associations, row.innerOctets,
                row.cyclesPerPacketMedian, row.cyclesPerPacketMin, row.ioFloorCycles, row.cyclesPerOctet,
                row.packetsPerSecond / 1e6, row.innerBitsPerSecond / 1e9)
            lines.append(
                row.path.padding(toLength: 16, withPad: " ", startingAt: 0)
                    + row.direction.padding(toLength: 9, withPad: " ", startingAt: 0) + figures)
        }
        lines.append("TSC cycles, medians, feed included; compare only within one run")
        return lines
    }

    /// ESP alone as rows of their own: path "esp", without ports or lookups.
    private var stageRows: [BenchRow] {
        stages.flatMap { stage in
            [("encap", stage.outbound), ("decap", stage.inbound)].map { direction, cycles in
                let perSecond = Double(Environment.ticksPerSecond) / cycles.median, octets = Double(stage.innerOctets)
                return BenchRow(
                    path: "esp", direction: direction, innerOctets: octets, associations: 1,
                    cyclesPerPacketMedian: cycles.median, cyclesPerPacketMin: cycles.least, ioFloorCycles: 0,
                    cyclesPerOctet: cycles.median / octets, packetsPerSecond: perSecond,
                    innerBitsPerSecond: perSecond * octets * 8)
            }
        }
    }

    private var stageTable: [String] {
        guard !stages.isEmpty else { return [] }
        return ["", "ESP alone     octets   out: headers    crypto   in: headers    crypto"]
            + stages.map { row in
                String(
                    format: "          %10d %14.1f %9.1f %13.1f %9.1f", row.innerOctets, row.outboundGlue,
                    row.outboundCrypto, row.inboundGlue, row.inboundCrypto)
            }
    }
}
