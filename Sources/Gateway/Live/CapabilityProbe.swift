import DataPlane
import Foundation

/// `vpn-gw caps` where no gateway runs: starts DPDK on the site's devices, asks their drivers, and ends.
public enum CapabilityProbe {
    /// What `vpn-gw caps` prints of a site's ports, or of the one called `port`. Throws what keeps DPDK from starting,
    /// and `PortUnknown`.
    public static func text(_ site: Site, port: String?, json: Bool) async throws -> String {
        try Machine.check(site)
        let rows = try await EnvironmentThread().run {
            try Environment.start(
                Environment.Settings(
                    workerCores: site.dpdk.workerCores, hugePages: site.dpdk.hugePages, memoryMiB: 64,
                    devices: site.topology.ports.map(\.device), extraArguments: site.dpdk.ealArguments),
                keepAffinity: false)
            return try site.topology.ports.flatMap { ControlView.Capability.rows($0.name, try EngineSurvey.of($0)) }
        }
        return try ControlTable.text(.caps, of: ControlView.caps(rows), port: port, json: json)
    }
}

/// A name that no port has.
public struct PortUnknown: Error, CustomStringConvertible {
    let name: String
    let ports: [String]

    /// What it is, and which there are.
    public var description: String {
        let hint = nearest(to: name, among: ports).map { "did you mean \($0)?" }
        return "there is no port \"\(ConfigurationProblem.presentable(name))\": "
            + (hint ?? "there are \(ports.joined(separator: ", "))")
    }
}
