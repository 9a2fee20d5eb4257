import DataPlane
import Foundation

/// Where and when something was measured, in one line: figures without it say nothing.
enum BenchMachine {
    static var description: String {
        let model = processorModel((try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? "")
        let clock = String(format: "TSC %.2f GHz", Double(Environment.ticksPerSecond) / 1e9)
        let stage = (try? CryptoProbe.description()) ?? ""
        let date = Date().formatted(.iso8601.year().month().day())
        return [model, clock, stage, "vpn-gw \(SoftwareVersion.text)", date].filter { !$0.isEmpty }
            .joined(separator: " · ")
    }

    /// As the kernel tells it.
    static func processorModel(_ text: String) -> String {
        let line = text.split(separator: "\n").first { $0.hasPrefix("model name") }
        return line?.split(separator: ":", maxSplits: 1).last?.trimmingCharacters(in: .whitespaces)
            ?? "processor unknown"
    }
}
