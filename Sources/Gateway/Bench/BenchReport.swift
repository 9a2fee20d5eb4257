import DataPlane
import Foundation

/// Runs benchmarks and prints what they found.
public enum BenchReport {
    /// Measures everything that `options` ask for; `progress` is told what is being measured. Starts DPDK's environment.
    public static func run(_ options: BenchOptions, progress: (String) -> Void) throws -> [BenchRow] {
        try Environment.start(
            Environment.Settings(
                workerCores: [], hugePages: false, memoryMiB: 512, devices: [], extraArguments: []), keepAffinity: false)
        defer { Environment.stop() }
        var rows: [BenchRow] = []
        for associations in options.associations {
            var bench = try Bench(associations: associations)
            for size in options.sizes {
                progress("\(associations) SA(s), \(size.name) octets")
                let samples = try bench.measure(size, associations: associations, options)
                for direction in options.directions {
                    rows.append(row(direction, size, associations, samples))
                }
            }
            bench.close()
        }
        return rows
    }

    private static func row(
        _ direction: BenchOptions.Direction, _ size: BenchOptions.Size, _ associations: Int, _ samples: Bench.Samples
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
            direction: direction.rawValue, innerOctets: size.meanOctets, associations: associations,
            cyclesPerPacketMedian: median, cyclesPerPacketMin: cycles.min() ?? 0,
            ioFloorCycles: self.median(samples.floor), cyclesPerOctet: median / size.meanOctets,
            packetsPerSecond: perSecond, innerBitsPerSecond: perSecond * size.meanOctets * 8)
    }

    static func median(_ values: [Double]) -> Double { values.isEmpty ? 0 : values.sorted()[values.count / 2] }

    /// Text in the form that was asked for.
    public static func render(_ rows: [BenchRow], as format: BenchOptions.Format) throws -> String {
        switch format {
        case .table: return table(rows)
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            return String(decoding: try encoder.encode(rows), as: UTF8.self)
        case .csv:
            let head =
                "path,direction,inner_octets,associations,workers,cycles_per_packet_median,cycles_per_packet_min,"
                + "io_floor_cycles,cycles_per_octet,packets_per_second,inner_bits_per_second,joules_per_gigabyte"
            return ([head] + rows.map(csv)).joined(separator: "\n")
        }
    }

    private static func csv(_ row: BenchRow) -> String {
        let figures = [
            row.cyclesPerPacketMedian, row.cyclesPerPacketMin, row.ioFloorCycles, row.cyclesPerOctet,
            row.packetsPerSecond, row.innerBitsPerSecond,
        ].map { String(format: "%.3f", $0) }
        let names = [row.path, row.direction, String(format: "%.1f", row.innerOctets), "\(row.associations)", "\(row.workers)"]
        return (names + figures + [""]).joined(separator: ",")
    }

    private static func table(_ rows: [BenchRow]) -> String {
        var lines = ["direction   SAs   octets   cycles/packet     min   I/O floor   cycles/octet     Mpps   inner Gbit/s"]
        for row in rows {
            let name = row.direction.padding(toLength: 9, withPad: " ", startingAt: 0)
            lines.append(
                name
                    + String(
                        format: "%6d %8.0f %15.1f %7.1f %11.1f %14.3f %8.2f %14.2f", row.associations, row.innerOctets,
                        row.cyclesPerPacketMedian, row.cyclesPerPacketMin, row.ioFloorCycles, row.cyclesPerOctet,
                        row.packetsPerSecond / 1e6, row.innerBitsPerSecond / 1e9))
        }
        lines.append("cycles are TSC cycles, feed included; compare only within one run")
        return lines.joined(separator: "\n")
    }
}
