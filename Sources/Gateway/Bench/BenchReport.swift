import DataPlane
import Foundation

/// What benchmarks found, and how it is printed.
public struct BenchReport: Sendable {
    /// One for each number of SAs, size, path, number of workers and direction.
    public private(set) var rows: [BenchRow] = []
    /// One for each of these and each load, where latency was asked for.
    public internal(set) var latencies: [LatencyRow] = []
    private var stages: [BenchStages.Row] = []
    private var writes: [String] = []

    mutating func add(
        _ options: BenchOptions, _ size: BenchOptions.Size, _ associations: Int, _ samples: Bench.Samples,
        path: String, workers: Int
    ) {
        for direction in options.directions {
            rows.append(BenchReport.row(direction, size, associations, samples, path: path, workers: workers))
        }
    }

    mutating func add(_ stage: BenchStages.Row) { stages.append(stage) }

    /// What reservations cost the disk.
    mutating func addWrites(
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
        path: String, workers: Int
    ) -> BenchRow {
        let cycles: [Double] =
            switch direction {
            case .encap: samples.encap
            case .decap: samples.decap
            case .both: samples.both
            }
        let median = self.median(cycles)
        let perSecond = Double(workers) * Double(Environment.ticksPerSecond) / median
        return BenchRow(
            path: path, direction: direction.rawValue, innerOctets: size.meanOctets, associations: associations,
            workers: workers,
            cyclesPerPacketMedian: median, cyclesPerPacketMin: cycles.min() ?? 0,
            ioFloorCycles: self.median(samples.floor), cyclesPerOctet: median / size.meanOctets,
            packetsPerSecond: perSecond, innerBitsPerSecond: perSecond * size.meanOctets * 8,
            joulesPerGigabyte: direction == .encap ? joulesPerGigabyte(samples, size) : nil,
            isMixed: size.lengths.count > 1)
    }

    /// Per 10⁹ inner octets.
    private static func joulesPerGigabyte(_ samples: Bench.Samples, _ size: BenchOptions.Size) -> Double? {
        guard let joules = samples.joules, samples.metered > 0 else { return nil }
        return joules / (Double(samples.metered) * size.meanOctets / 1e9)
    }

    static func median(_ values: [Double]) -> Double { values.isEmpty ? 0 : values.sorted()[values.count / 2] }

    /// ESP alone as rows of their own: path "esp", without ports or lookups.
    private var stageRows: [BenchRow] {
        stages.flatMap { stage in
            [("encap", stage.outbound), ("decap", stage.inbound)].map { direction, cycles in
                let perSecond = Double(Environment.ticksPerSecond) / cycles.median, octets = Double(stage.innerOctets)
                return BenchRow(
                    path: "esp", direction: direction, innerOctets: octets, associations: stage.associations,
                    cyclesPerPacketMedian: cycles.median, cyclesPerPacketMin: cycles.least, ioFloorCycles: 0,
                    cyclesPerOctet: cycles.median / octets, packetsPerSecond: perSecond,
                    innerBitsPerSecond: perSecond * octets * 8)
            }
        }
    }

    /// Text in the form that was asked for; JSON and CSV hold the rows, and those of ESP alone where that was measured.
    public func render(as format: BenchOptions.Format) throws -> String {
        let timesLatency = !latencies.isEmpty
        switch format {
        case .table:
            let lines = timesLatency ? BenchText.table(latencies) : BenchText.table(rows) + ratios
            return (lines + writes + BenchText.table(stages)).joined(separator: "\n")
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            let data = timesLatency ? try encoder.encode(latencies) : try encoder.encode(rows + stageRows)
            return String(decoding: data, as: UTF8.self)
        case .csv:
            return (timesLatency ? BenchText.csv(latencies) : BenchText.csv(rows + stageRows)).joined(separator: "\n")
        }
    }

    /// What packets cost with several workers, as a multiple of what they cost with the fewest that were measured.
    private var ratios: [String] {
        let fewest = rows.map(\.workers).min() ?? 1
        let lines = rows.filter { $0.workers > fewest }.compactMap { row -> String? in
            let one = rows.first { $0.workers == fewest && $0.isSameWork(as: row) }
            return one.map {
                String(
                    format: "  %.3f times with %d workers (least: %.3f): %@ %@, %d SA(s), %.0f octets",
                    row.cyclesPerPacketMedian / $0.cyclesPerPacketMedian, row.workers,
                    row.cyclesPerPacketMin / $0.cyclesPerPacketMin, row.path, row.direction, row.associations,
                    row.innerOctets)
            }
        }
        return lines.isEmpty ? [] : ["", "Cycles a packet, against \(fewest) worker(s):"] + lines
    }
}
