import DataPlane
import ESP
import Foundation
import IPsec

/// What this machine lacks for a site, in words that say how to mend it.
public enum MachineError: Error, CustomStringConvertible, Sendable {
    /// A worker's core that this process may not use.
    case noCore(Int, available: [Int])
    /// Hugepages are wanted and none is free.
    case noHugePages(neededMiB: Int, command: String)
    /// A network interface that a vdev names does not exist.
    case noInterface(name: String, port: String)
    /// A tunnel requires a NIC for a direction, which can't.
    case noOffload(tunnel: String, direction: Direction, reason: FallbackReason)
    /// A benchmark wants more workers than there are physical cores for.
    case tooFewCores(wanted: Int, available: [Int])
    /// A device needs a privilege that this process lacks.
    case noPrivilege(port: String, device: String)

    /// One line with the command that mends it.
    public var description: String {
        switch self {
        case .noCore(let core, let available):
            "worker_cores: core \(core) is not available here; this process may use "
                + available.map(String.init).joined(separator: ", ")
        case .noHugePages(let needed, let command):
            "no hugepages are free (\(needed) MiB are needed): run `\(command)`, or set huge_pages = false in [dpdk]"
        case .noInterface(let name, let port):
            "port \(port): there is no network interface \"\(name)\" here: run `ip link` to see which there are"
        case .noOffload(let tunnel, let direction, let reason):
            "tunnel \(tunnel): offload = \"required\", but not possible \(direction.rawValue) (\(reason.name)): "
                + "\(reason.help). Use \"auto\" to let software do what the NIC can't; `vpn-gw caps` says what it can"
        case .tooFewCores(let wanted, let available):
            "--workers \(wanted): each worker takes a physical core of its own, and this process has "
                + "\(available.count) (\(available.map(String.init).joined(separator: ", "))): "
                + "run `lscpu -e=cpu,core` to see them, and `taskset -c` to choose"
        case .noPrivilege(let port, let device):
            "port \(port): \(device) needs root, or the capabilities CAP_NET_RAW and CAP_NET_ADMIN: "
                + "run with sudo, or `setcap cap_net_raw,cap_net_admin+ep` on the binary"
        }
    }

    /// The process's exit code.
    public var exitCode: ExitCode {
        if case .noPrivilege = self { .noPermission } else { .unavailable }
    }
}

/// Looks at the machine before DPDK does: its own messages do not say what to do.
enum Machine {
    static func check(_ site: Site) throws(MachineError) {
        let available = Environment.processors
        for core in site.dpdk.workerCores where !available.contains(core) || core > Environment.highestWorkerCore {
            throw .noCore(core, available: available)
        }
        for port in site.topology.ports {
            guard let interface = interface(of: port.device) else { continue }
            guard unsafe if_nametoindex(interface) != 0 else { throw .noInterface(name: interface, port: port.name) }
            guard canOpenRawSocket() else { throw .noPrivilege(port: port.name, device: port.device) }
        }
        if site.dpdk.hugePages && !hasHugePages() {
            let needed = site.dpdk.memoryMiB ?? MemorySizing(site).memoryMiB
            throw .noHugePages(neededMiB: needed, command: "sysctl -w vm.nr_hugepages=\(needed / 2 + 1)")
        }
    }

    /// Whether NICs have the SAs that the site requires them to have.
    static func checkOffload(_ site: Site, _ book: TunnelBook, _ data: LiveDataPlane) throws(MachineError) {
        let choices = site.topology.tunnels.lazy.flatMap { [$0.offload.outbound, $0.offload.inbound] }
        guard choices.contains(.required) else { return }
        for wish in book.wishes(site.topology, ways: data.group.tables.ways, overrides: [:])
        where wish.choice == .required {
            guard case .software(let reason) = data.offload.path(of: wish) else { continue }
            let tunnel = book.entries.first { $0.children.contains { $0.pair?.hasAssociation(wish.id) ?? false } }
            throw .noOffload(
                tunnel: tunnel?.name ?? "", direction: wish.direction, reason: reason ?? .driverRefused)
        }
    }

    /// The kernel's interface that a vdev takes packets from; nil for devices that make their own.
    static func interface(of device: String) -> String? {
        guard device.hasPrefix("net_af_packet") || device.hasPrefix("net_af_xdp") else { return nil }
        let argument = device.split(separator: ",").first { $0.hasPrefix("iface=") }
        return argument.map { String($0.dropFirst("iface=".count)) }
    }

    /// Whether a port's link is up. A vdev over an interface of the kernel's can't tell, so the kernel is asked.
    static func linkIsUp(_ port: StartedPort, device: String) -> Bool {
        guard let interface = interface(of: device) else { return port.linkIsUp }
        var list: UnsafeMutablePointer<ifaddrs>?
        guard unsafe getifaddrs(&list) == 0 else { return true }
        defer { unsafe freeifaddrs(list) }
        var next = unsafe list
        while let entry = unsafe next {
            if unsafe String(cString: entry.pointee.ifa_name) == interface {
                return unsafe entry.pointee.ifa_flags & UInt32(IFF_RUNNING) != 0
            }
            unsafe next = unsafe entry.pointee.ifa_next
        }
        return false
    }

    private static func canOpenRawSocket() -> Bool {
        let descriptor = socket(AF_PACKET, Int32(SOCK_RAW.rawValue), 0)
        guard descriptor >= 0 else { return false }
        close(descriptor)
        return true
    }

    /// Free hugepages of any size, by what the kernel says of each.
    private static func hasHugePages() -> Bool {
        let directory = "/sys/kernel/mm/hugepages"
        let sizes = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return sizes.contains { size in
            let text = try? String(contentsOfFile: "\(directory)/\(size)/free_hugepages", encoding: .utf8)
            return (text.flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) } ?? 0) > 0
        }
    }
}

/// What the crypto stage of the workers will be.
enum CryptoProbe {
    static func description() throws(DataPlaneError) -> String {
        guard let stage = SoftwareCrypto() else { throw .noCrypto }
        return stage.description
    }
}
