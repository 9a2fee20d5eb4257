import Foundation

/// Results as lines for people and for spreadsheets.
enum BenchText {
    private static let names = [
        "path", "direction", "inner_octets", "associations", "workers", "cycles_per_packet_median",
        "cycles_per_packet_min", "io_floor_cycles", "cycles_per_octet", "packets_per_second", "inner_bits_per_second",
        "joules_per_gigabyte",
    ]

    static func csv(_ rows: [BenchRow]) -> [String] {
        [names.joined(separator: ",")]
            + rows.map { row in
                let figures = [
                    row.cyclesPerPacketMedian, row.cyclesPerPacketMin, row.ioFloorCycles, row.cyclesPerOctet,
                    row.packetsPerSecond, row.innerBitsPerSecond,
                ].map { String(format: "%.3f", $0) }
                let octets = String(format: "%.1f", row.innerOctets)
                let names = [row.path, row.direction, octets, "\(row.associations)", "\(row.workers)"]
                return (names + figures + [row.joulesPerGigabyte.map { "\($0)" } ?? ""]).joined(separator: ",")
            }
    }

    static func csv(_ rows: [LatencyRow]) -> [String] {
        [LatencyRow.CodingKeys.allCases.map(\.rawValue).joined(separator: ",")]
            + rows.map { row in
                let figures = [
                    row.noLossPacketsPerSecond, row.offeredPacketsPerSecond, Double(row.packets), row.p50Nanoseconds,
                    row.p90Nanoseconds, row.p99Nanoseconds, row.p999Nanoseconds, row.maxNanoseconds,
                ].map { String(format: "%.0f", $0) }
                let octets = String(format: "%.1f", row.innerOctets)
                let names = [
                    row.path, row.direction, octets, "\(row.associations)", "\(row.workers)", "\(row.loadPercent)",
                ]
                return (names + figures).joined(separator: ",")
            }
    }

    static func table(_ rows: [BenchRow]) -> [String] {
        var lines = [
            "path            direction   SAs  workers   octets   cycles/packet     min   I/O floor   cycles/octet     "
                + "Mpps   inner Gbit/s"
        ]
        for row in rows {
            let figures = String(
                format: "%6d %8d %8.0f %15.1f %7.1f %11.1f %14.3f %8.2f %14.2f", row.associations, row.workers,
                row.innerOctets, row.cyclesPerPacketMedian, row.cyclesPerPacketMin, row.ioFloorCycles,
                row.cyclesPerOctet, row.packetsPerSecond / 1e6, row.innerBitsPerSecond / 1e9)
            lines.append(
                TerminalText.padded(row.path, to: 16, isNumber: false)
                    + TerminalText.padded(row.direction, to: 9, isNumber: false) + figures)
        }
        lines.append("TSC cycles, medians, feed included; compare only within one run")
        return lines
    }

    static func table(_ rows: [LatencyRow]) -> [String] {
        var lines = [
            "path            direction   SAs  workers   octets   load     Mpps    p50 ns    p90 ns    p99 ns  p99.9 ns"
                + "    max ns"
        ]
        for row in rows {
            let figures = String(
                format: "%6d %8d %8.0f %5d%% %8.2f %9.0f %9.0f %9.0f %9.0f %9.0f", row.associations, row.workers,
                row.innerOctets, row.loadPercent, row.offeredPacketsPerSecond / 1e6, row.p50Nanoseconds,
                row.p90Nanoseconds, row.p99Nanoseconds, row.p999Nanoseconds, row.maxNanoseconds)
            lines.append(
                TerminalText.padded(row.path, to: 16, isNumber: false)
                    + TerminalText.padded(row.direction, to: 9, isNumber: false) + figures)
        }
        lines.append("From when a packet was due to when it was sent, at parts of the rate that is kept up with")
        return lines
    }

    static func table(_ stages: [BenchStages.Row]) -> [String] {
        guard !stages.isEmpty else { return [] }
        return ["", "ESP alone   SAs   octets   out: headers    crypto   in: headers    crypto"]
            + stages.map { row in
                String(
                    format: "          %5d %8d %14.1f %9.1f %13.1f %9.1f", row.associations, row.innerOctets,
                    row.outboundGlue, row.outboundCrypto, row.inboundGlue, row.inboundCrypto)
            }
    }
}
