import Foundation

/// What this machine's processors can do, by the kernel's list of their features.
public struct ProcessorFeatures: Sendable {
    /// The kernel's names of the level that vpn-gw is built for, x86-64-v3, without those that every processor of that
    /// level's time has.
    static let baseline = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave", "sse4_2", "popcnt"]

    /// The kernel's names; empty when it says nothing.
    let names: Set<String>

    /// Of the text of /proc/cpuinfo, or of its beginning: the first processor stands for all.
    init(_ text: String) {
        let line = text.split(separator: "\n").first { $0.hasPrefix("flags") }
        let list = line.flatMap { $0.split(separator: ":", maxSplits: 1).dropFirst().first } ?? ""
        names = Set(list.split(whereSeparator: \.isWhitespace).map(String.init))
    }

    /// Of the level that vpn-gw is built for, those that are missing. None when the kernel says nothing.
    var missing: [String] { names.isEmpty ? [] : ProcessorFeatures.baseline.filter { !names.contains($0) } }

    /// Why this program can't run here, in one line; nil when it can. To be asked before anything else: what it is
    /// built from takes these instructions without asking, and would die of SIGILL.
    public static var refusal: String? {
        // On a machine of many processors the whole file takes long to make.
        guard let file = FileHandle(forReadingAtPath: "/proc/cpuinfo") else { return nil }
        let text = String(decoding: (try? file.read(upToCount: 8192)) ?? Data(), as: UTF8.self)
        return ProcessorFeatures(text).refusal
    }

    var refusal: String? {
        let missing = missing
        guard !missing.isEmpty else { return nil }
        return "this processor lacks \(missing.joined(separator: ", ")): vpn-gw is built for x86-64-v3 (Haswell, "
            + "Zen or later); in a virtual machine, give it the host's processor model"
    }
}
