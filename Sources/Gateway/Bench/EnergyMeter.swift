import Foundation

/// What the machine's processors have used, by the kernel's counters of it (RAPL: Intel's and AMD's, which only root
/// may read).
struct EnergyMeter: Sendable {
    private struct Package: Sendable {
        var file: String
        /// Where the counter begins again at 0, in microjoules.
        var range: UInt64
    }

    private let packages: [Package]

    /// The counters of all processor packages below `root`; nil where there are none that can be read. Parts of a
    /// package and the platform's counter, which counts packages again, are left out.
    init?(root: String = "/sys/class/powercap") {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        packages = names.sorted().compactMap { name in
            let parts = name.split(separator: ":")
            guard parts.count == 2, parts[0] == "intel-rapl", let kind = EnergyMeter.text("\(root)/\(name)/name"),
                kind.hasPrefix("package"), let range = EnergyMeter.number("\(root)/\(name)/max_energy_range_uj")
            else { return nil }
            return Package(file: "\(root)/\(name)/energy_uj", range: range)
        }
        guard !packages.isEmpty, read() != nil else { return nil }
    }

    /// What each counter shows, in microjoules; nil when one can't be read.
    func read() -> [UInt64]? {
        let values = packages.compactMap { EnergyMeter.number($0.file) }
        return values.count == packages.count ? values : nil
    }

    /// Joules between two readings, which must be less than a counter's range apart: minutes at full load.
    func joules(from first: [UInt64], to last: [UInt64]) -> Double {
        var microjoules: UInt64 = 0
        for (index, package) in packages.enumerated() {
            let (before, after) = (first[index], last[index])
            microjoules += after >= before ? after - before : after + (package.range - min(package.range, before))
        }
        return Double(microjoules) / 1e6
    }

    private static func number(_ path: String) -> UInt64? { text(path).flatMap { UInt64($0) } }

    private static func text(_ path: String) -> String? {
        (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
