import DataPlane
import Foundation

/// `vpn-gw caps` where no gateway runs: starts DPDK on the site's devices, asks their drivers, and ends.
public enum CapabilityProbe {
    /// What `vpn-gw caps` prints of a site's ports, or of the one called `port`, in so many columns. Throws what keeps
    /// DPDK from starting, and `PortUnknown`.
    public static func text(_ site: Site, port: String?, json: Bool, columns: Int? = nil) async throws -> String {
        try Machine.check(site)
        let workers = site.dpdk.workerCores.count, devices = site.dpdk.cryptoDevices
        // Besides DPDK's own: what each crypto device may have in flight.
        let memoryMiB = 64 + devices.count * (2 + workers * WorkerGroup.crossingPackets >> 10)
        let view = try await EnvironmentThread().run {
            try Environment.start(
                Environment.Settings(
                    workerCores: site.dpdk.workerCores, hugePages: site.dpdk.hugePages, memoryMiB: memoryMiB,
                    devices: site.topology.ports.map(\.device) + devices, extraArguments: site.dpdk.ealArguments),
                keepAffinity: false)
            let rows = try site.topology.ports.flatMap {
                ControlView.Capability.rows($0.name, try EngineSurvey.of($0))
            }
            return ControlView.caps(rows, devices.map { CapabilityProbe.survey($0, workers: workers) })
        }
        return try ControlTable.text(.caps, of: view, port: port, json: json, columns: columns)
    }

    /// Starts a crypto device as a gateway does, with few sessions, and ends it.
    private static func survey(_ name: String, workers: Int) -> ControlView.CryptoDevice {
        do throws(DataPlaneError) {
            let coprocessor = try Coprocessor(name, workers: workers, sessions: 16)
            defer { coprocessor.close() }
            return ControlView.CryptoDevice(coprocessor)
        } catch { return ControlView.CryptoDevice(name, failed: error) }
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
