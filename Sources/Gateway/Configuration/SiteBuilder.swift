import DataPlane
import ESP
import IPsec

/// Makes a `Site` of the tables of its file. Each section is read leniently, so that the sections after it can still be
/// judged: what could not be read is nil in its draft, and a rule that needs it says nothing. Not shared.
final class SiteBuilder {
    /// A port as far as it could be read.
    struct PortDraft {
        var path: String
        var name: String?
        var role: Topology.Role?
        var device: String?
        var addresses: [(path: String, address: IPInterfaceAddress)] = []
        var mtuOctets = 1500
        var localServices = true
        var vlan: UInt16?
    }

    /// A key and where it stands.
    struct KeyDraft {
        var path: String
        var key: KeyMaterial
    }

    /// One direction of a tunnel as far as it could be read.
    struct SADraft {
        var path: String
        var spi: SPI?
        var key: KeyDraft?
        var replayWindowPackets = 1024
    }

    /// A pair of SAs as far as it could be read.
    struct ChildDraft {
        var path: String
        var notBefore: Int64?
        var outbound: SADraft?
        var inbound: SADraft?
    }

    /// A tunnel as far as it could be read.
    struct TunnelDraft {
        var path: String
        var name: String?
        var localAddress: IPAddress?
        var remoteAddress: IPAddress?
        var localSubnets: [IPPrefix] = []
        var remoteSubnets: [IPPrefix] = []
        /// First that of the tunnel's own tables.
        var children: [ChildDraft] = []
        var lifetime = Lifetime()
        var innerMTUOctets: Int?
        var profile = AssociationProfile()
        var clampsMSS = false
        var learnsPathMTU = true
        var offload = Topology.Offload()
    }

    let root: ConfigurationTable
    let problems: ProblemList
    let masked: MaskedText
    let files: FileReader
    let credentials: CredentialsDirectory
    let directory: String
    let mode: SiteReader.Mode
    /// The site file's.
    let permissions: UInt32

    var ports: [PortDraft] = []
    /// Who has each device.
    var devices: [String: String] = [:]
    var routes: [Topology.Route] = []
    var neighbors: [Topology.Neighbor] = []
    var tunnels: [TunnelDraft] = []
    var policies: [Policy] = []
    var inlineKeyPaths: [String] = []
    /// The port that each block is behind, and the prefix lengths there are in each family, longest first.
    var ways: [IPPrefix: Int] = [:]
    var wayLengths: [IPFamily: [Int]] = [:]
    /// Whether everything that decides where a packet goes was read; otherwise "no route" would be said in error.
    var knowsPorts = false
    var knowsRoutes = false

    init(
        _ root: ConfigurationTable, problems: ProblemList, masked: MaskedText, files: FileReader,
        credentials: CredentialsDirectory, directory: String,
        mode: SiteReader.Mode, permissions: UInt32
    ) {
        self.root = root
        self.problems = problems
        self.masked = masked
        self.files = files
        self.credentials = credentials
        self.directory = directory
        self.mode = mode
        self.permissions = permissions
    }

    /// A builder that reads some of the tunnels of `whole`'s file on another thread.
    init(shareOf whole: SiteBuilder, _ problems: ProblemList) {
        (root, self.problems, masked) = (whole.root, problems, whole.masked)
        (files, credentials, directory) = (whole.files, whole.credentials, whole.directory)
        (mode, permissions) = (whole.mode, whole.permissions)
        (ports, devices, routes, neighbors) = (whole.ports, whole.devices, whole.routes, whole.neighbors)
        (ways, wayLengths) = (whole.ways, whole.wayLengths)
        (knowsPorts, knowsRoutes) = (whole.knowsPorts, whole.knowsRoutes)
    }

    /// What such a builder read.
    struct Share {
        fileprivate let tunnels: [TunnelDraft], inlineKeyPaths: [String]
    }

    var share: Share { Share(tunnels: tunnels, inlineKeyPaths: inlineKeyPaths) }

    func add(_ share: Share) {
        tunnels += share.tunnels
        inlineKeyPaths += share.inlineKeyPaths
    }

    /// The site, or nil when a problem is an error.
    func build() -> Site? {
        let gateway = readGateway(), dpdk = readDPDK()
        knowsPorts = root.has("port") && withoutErrors { readPorts() }
        knowsRoutes = withoutErrors { readRoutes() } && knowsPorts
        let punt = readPunt()
        indexWays()
        readNeighbors()
        readTunnels()
        readPolicies()
        judgeInlineKeys()
        guard problems.errorCount == 0 else { return nil }

        let site = Site(
            gateway: gateway, dpdk: dpdk,
            topology: Topology(
                ports: ports.compactMap(SiteBuilder.port) + (punt.map { [$0.port] } ?? []), routes: routes,
                neighbors: neighbors, tunnels: tunnels.compactMap(SiteBuilder.tunnel), policies: policies,
                puntRatePacketsPerSecond: punt?.ratePacketsPerSecond ?? 1000))
        guard site.topology.ports.count == ports.count + (punt == nil ? 0 : 1),
            site.topology.tunnels.count == tunnels.count
        else {
            problems.error(
                "", "the reader found no error and still could not resolve the site",
                hint: "this is a bug, please report it",
                exitCode: .software)
            return nil
        }
        judgeLanes(site.topology, workers: site.dpdk.workerCores.count)
        return site
    }

    private func withoutErrors(_ body: () -> Void) -> Bool {
        let before = problems.errorCount
        body()
        return problems.errorCount == before
    }

    private static func port(_ draft: PortDraft) -> Topology.Port? {
        guard let name = draft.name, let role = draft.role else { return nil }
        return Topology.Port(
            name: name, role: role, device: draft.device ?? "", addresses: draft.addresses.map(\.address),
            mtuOctets: draft.mtuOctets, localServices: draft.localServices, vlan: draft.vlan)
    }

    private static func tunnel(_ draft: TunnelDraft) -> Topology.Tunnel? {
        let children = draft.children.compactMap(child)
        guard let name = draft.name, let local = draft.localAddress, let remote = draft.remoteAddress,
            let innerMTU = draft.innerMTUOctets, !children.isEmpty, children.count == draft.children.count
        else { return nil }
        var tunnel = Topology.Tunnel(
            name: name, localAddress: local, remoteAddress: remote, localSubnets: draft.localSubnets,
            remoteSubnets: draft.remoteSubnets, children: children, profile: draft.profile, lifetime: draft.lifetime,
            clampsMSS: draft.clampsMSS, learnsPathMTU: draft.learnsPathMTU, innerMTUOctets: innerMTU)
        tunnel.offload = draft.offload
        return tunnel
    }

    private static func child(_ draft: ChildDraft) -> Topology.Child? {
        guard let outbound = draft.outbound, let inbound = draft.inbound, let outboundSPI = outbound.spi,
            let inboundSPI = inbound.spi, let outboundKey = outbound.key, let inboundKey = inbound.key
        else { return nil }
        return Topology.Child(
            notBefore: draft.notBefore, outbound: Topology.Outbound(spi: outboundSPI, key: outboundKey.key),
            inbound: Topology.Inbound(
                spi: inboundSPI, key: inboundKey.key, replayWindowPackets: inbound.replayWindowPackets))
    }

    // MARK: [gateway] and [dpdk]

    private func readGateway() -> Site.Gateway {
        let table = root.table("gateway")
        let gateway = Site.Gateway(
            name: table?.string("name") ?? "vpn-gw",
            stateDirectory: table?.string("state_directory") ?? "/var/lib/vpn-gw",
            controlSocket: table?.string("control_socket") ?? "/run/vpn-gw/control.sock",
            metricsAddress: table?.string("metrics_address") ?? "127.0.0.1:9464",
            hookCommand: table?.strings("hook_command").map(\.text) ?? [])
        if gateway.controlSocket.utf8.count > 107 {
            problems.error(
                "gateway.control_socket", "\(gateway.controlSocket.utf8.count) octets are too long for a Unix socket",
                hint: "107 octets at most")
        }
        if let program = gateway.hookCommand.first, !program.hasPrefix("/") {
            problems.error(
                "gateway.hook_command[0]", "\"\(program)\" is no absolute path",
                hint: "hook_command = [\"/usr/local/libexec/vpn-gw-hook\"]; no shell and no PATH looks for it")
        }
        if ControlServer.endpoint(gateway.metricsAddress) == nil {
            problems.error(
                "gateway.metrics_address", "\"\(gateway.metricsAddress)\" is no IP address with a TCP port",
                hint: "metrics_address = \"127.0.0.1:9464\" or \"[::1]:9464\"")
        }
        return gateway
    }

    private func readDPDK() -> Site.DPDK {
        let table = root.table("dpdk")
        if let table, table.has("worker_cores") { judgeCores(table) }
        return Site.DPDK(
            workerCores: table?.has("worker_cores") == true ? table?.integers("worker_cores").map(\.number) ?? [] : [0],
            hugePages: table?.boolean("huge_pages") ?? true, memoryMiB: table?.integer("memory_mib"),
            cryptoDevices: table.map(readCryptoDevices) ?? [],
            ealArguments: table?.strings("eal_arguments").map(\.text) ?? [], idle: table.flatMap(readIdle) ?? .poll)
    }

    private func readIdle(_ table: ConfigurationTable) -> WorkerIdle? {
        guard let text = table.string("idle") else { return nil }
        if let idle = WorkerIdle(rawValue: text) { return idle }
        let choices = WorkerIdle.allCases.map(\.rawValue)
        problems.error(
            table.path("idle"), "\"\(text)\" is none of \(choices.map { "\"\($0)\"" }.joined(separator: ", "))",
            hint: suggestion(text, choices))
        return nil
    }

    /// Each once, and none that is a port's.
    private func readCryptoDevices(_ table: ConfigurationTable) -> [String] {
        let entries = table.strings("crypto_devices")
        var seen: [String: String] = [:]
        for (path, device) in entries {
            let name = Environment.Settings.portName(device)
            if name.isEmpty {
                problems.error(path, "is empty", hint: "a PCI address, or a vdev: \"crypto_aesni_mb0\"")
            } else if let other = seen[name] ?? devices[name.lowercased()] {
                problems.error(
                    path, "\"\(ConfigurationProblem.presentable(name))\" is also named by \(other)",
                    hint: "each device once")
            }
            seen[name] = path
        }
        if entries.count > Coprocessor.limit {
            problems.error(
                "\(table.path("crypto_devices"))[\(Coprocessor.limit)]", "one device too many",
                hint: "\(Coprocessor.limit) at most")
        }
        return entries.map(\.text)
    }

    private func judgeCores(_ table: ConfigurationTable) {
        let cores = table.integers("worker_cores"), path = table.path("worker_cores")
        if cores.isEmpty, case .array([])? = table.values["worker_cores"] {
            problems.error(path, "is empty", hint: "worker_cores = [1]: one worker for each core")
        }
        var seen: Set<Int> = []
        for (path, core) in cores {
            if !(0...SiteBuilder.highestCore).contains(core) {
                problems.error(path, "core \(core) is out of range", hint: "0 to \(SiteBuilder.highestCore)")
            } else if !seen.insert(core).inserted {
                problems.error(path, "core \(core) is named twice", hint: "a core runs one worker")
            }
        }
    }

    /// What a `cpu_set_t` holds.
    private static let highestCore = 1023
}
