import DataPlane
import IPsec
import SAStore

/// What `vpn-gw check` prints: every problem and, when the site can be used, the site as the gateway understands it.
///
/// A function of its two arguments alone, as text for people (`text`) and as JSON for scripts (`json`) in the same
/// words.
public struct CheckReport: Sendable, Encodable {
    struct Problem: Sendable {
        var severity: String, line: Int?, path: String, message: String, hint: String
        /// As it is printed.
        var text: String

        init(_ problem: ConfigurationProblem) {
            (severity, line, path) = (problem.severity.rawValue, problem.line, problem.path)
            (message, hint, text) = (problem.message, problem.hint, problem.description)
        }
    }

    struct Port: Sendable, Encodable {
        var name: String, role: String, device: String, addresses: [String], mtuOctets: Int, localServices: Bool
        var vlan: UInt16?
    }

    struct Punt: Sendable, Encodable { var device: String, ratePacketsPerSecond: Int }

    struct Route: Sendable, Encodable { var destination: String, via: String, port: String }

    struct Neighbor: Sendable, Encodable { var address: String, mac: String, port: String }

    /// One SPD entry. What is any is nil.
    struct PolicyEntry: Sendable, Encodable {
        /// A tunnel's name for its own selectors.
        var name: String
        var action: String, direction: String, tunnel: String?, source: String, destination: String
        var ipProtocol: String?, sourcePorts: String?, destinationPorts: String?, icmpTypes: String?
        /// Nil for a tunnel's own selectors.
        var priority: Int?

        enum CodingKeys: String, CodingKey {
            case name, action, direction, tunnel, source, destination
            case ipProtocol = "protocol"
            case sourcePorts, destinationPorts, icmpTypes, priority
        }
    }

    struct Association: Sendable, Encodable {
        var spi: String
        /// The first 16 digits of the key's fingerprint.
        var keyFingerprint: String
        var replayWindowPackets: Int?
        /// Of an outbound SA, when the state directory was looked at.
        var sequenceNumbersReserved: UInt64?, restartsLeft: UInt64?
        /// Of an outbound SA: where it ends.
        var sequenceNumbersLast: UInt64?
    }

    struct Child: Sendable, Encodable {
        /// ISO 8601 in UTC; nil when nobody has said.
        var notBefore: String?
        /// Where there are several for one time: "beside" the others, on a worker of its own, or "spare".
        var use: String?
        var outbound: Association, inbound: Association
    }

    struct Tunnel: Sendable, Encodable {
        var name: String, localAddress: String, remoteAddress: String, localSubnets: [String], remoteSubnets: [String]
        var mode: String, securityProtocol: String, algorithm: String, icvOctets: Int
        var extendedSequenceNumbers: Bool, natTraversal: Bool, df: String, dscp: String, tfcPaddingOctets: Int
        var clampMss: Bool, learnPathMtu: Bool
        /// "ipv4" or "ipv6": of the outer header, and of what is carried.
        var outerFamily: String, innerFamilies: [String]
        var innerMtuOctets: Int, outbound: Association, inbound: Association
        /// Behind the pair that is `outbound` and `inbound`.
        var children: [Child]
        /// Pairs that are sent under at the same time from the beginning, each by another worker; nil: one.
        var lanes: Int?
        var softLifetimePackets: UInt64?, softLifetimeOctets: UInt64?, softLifetimeSeconds: UInt64?
        var hardLifetimePackets: UInt64?, hardLifetimeOctets: UInt64?, hardLifetimeSeconds: UInt64?
        var lifetimeSecondsSmallest: Int, lifetimeSecondsLargest: Int
    }

    struct Resolved: Sendable, Encodable {
        var name: String, stateDirectory: String, controlSocket: String, metricsAddress: String
        var hookCommand: [String]
        var workerCores: [Int], hugePages: Bool, memoryMib: Int?, cryptoDevices: [String], ealArguments: [String]
        var idle: String
        var punt: Punt?
        var ports: [Port], routes: [Route], neighbors: [Neighbor], policies: [PolicyEntry], tunnels: [Tunnel]
    }

    let valid: Bool
    var problems: [Problem]
    var site: Resolved?

    /// - Parameters:
    ///   - site: nil when it can't be used.
    ///   - problems: in the order to print them.
    public init(site: Site?, problems: [ConfigurationProblem]) {
        valid = site != nil
        self.problems = problems.map(Problem.init)
        self.site = site.map(Resolved.init)
    }
}

extension CheckReport.Resolved {
    /// The operator's own words go through `presentable`: somebody may have put a key where a name should be.
    init(_ site: Site) {
        let shown = ConfigurationProblem.presentable
        name = shown(site.gateway.name)
        stateDirectory = shown(site.gateway.stateDirectory)
        controlSocket = shown(site.gateway.controlSocket)
        metricsAddress = site.gateway.metricsAddress
        hookCommand = site.gateway.hookCommand.map(shown)
        workerCores = site.dpdk.workerCores
        hugePages = site.dpdk.hugePages
        memoryMib = site.dpdk.memoryMiB
        cryptoDevices = site.dpdk.cryptoDevices.map(shown)
        ealArguments = site.dpdk.ealArguments.map(shown)
        idle = site.dpdk.idle.rawValue
        ports = site.topology.ports.filter { $0.role != .punt }.map {
            CheckReport.Port(
                name: shown($0.name), role: $0.role.rawValue, device: shown($0.device),
                addresses: $0.addresses.map(\.description),
                mtuOctets: $0.mtuOctets, localServices: $0.localServices, vlan: $0.vlan)
        }
        punt = site.topology.ports.first { $0.role == .punt }.map {
            CheckReport.Punt(device: shown($0.device), ratePacketsPerSecond: site.topology.puntRatePacketsPerSecond)
        }
        routes = site.topology.routes.map {
            CheckReport.Route(
                destination: $0.destination.description, via: $0.via.description,
                port: shown(site.topology.ports[$0.port].name))
        }
        neighbors = site.topology.neighbors.map {
            CheckReport.Neighbor(
                address: $0.address.description, mac: $0.mac.description,
                port: shown(site.topology.ports[$0.port].name))
        }
        policies = Direction.allCases.flatMap { site.topology.policiesInOrder($0) }.map {
            CheckReport.PolicyEntry($0, site)
        }
        tunnels = site.topology.tunnels.map { CheckReport.Tunnel($0, workers: site.dpdk.workerCores.count) }
    }
}

extension CheckReport.PolicyEntry {
    init(_ policy: Policy, _ site: Site) {
        switch policy.action {
        case .bypass: (action, tunnel) = ("bypass", nil)
        case .discard: (action, tunnel) = ("discard", nil)
        case .protect(let index):
            (action, tunnel) = ("protect", ConfigurationProblem.presentable(site.topology.tunnels[index].name))
        }
        name = ConfigurationProblem.presentable(policy.name)
        direction = policy.direction.rawValue
        source = policy.selector.source.description
        destination = policy.selector.destination.description
        ipProtocol = policy.selector.ipProtocol.map { number in
            SiteBuilder.protocols.first { $0.value == number }?.key ?? String(number)
        }
        sourcePorts = policy.selector.sourcePorts.map(CheckReport.range)
        destinationPorts = policy.selector.destinationPorts.map(CheckReport.range)
        icmpTypes = policy.selector.icmpMessages.map(CheckReport.messages)
        priority = policy.priority == .max ? nil : policy.priority
    }
}

extension CheckReport.Tunnel {
    init(_ tunnel: Topology.Tunnel, workers: Int) {
        name = ConfigurationProblem.presentable(tunnel.name)
        localAddress = tunnel.localAddress.description
        remoteAddress = tunnel.remoteAddress.description
        localSubnets = tunnel.localSubnets.map(\.description)
        remoteSubnets = tunnel.remoteSubnets.map(\.description)
        let profile = tunnel.profile
        mode = profile.mode.rawValue
        securityProtocol = profile.algorithm.securityProtocol == .esp ? "esp" : "ah"
        (algorithm, icvOctets) = (profile.algorithm.name, profile.algorithm.icvOctets)
        extendedSequenceNumbers = profile.extendedSequenceNumbers
        natTraversal = profile.natTraversal
        df = profile.dontFragment.rawValue
        dscp =
            switch profile.dscp {
            case .copy: "copy"
            case .fixed(let point): String(point)
            }
        tfcPaddingOctets = profile.tfcPaddingOctets
        (clampMss, learnPathMtu) = (tunnel.clampsMSS, tunnel.learnsPathMTU)
        outerFamily = CheckReport.word(tunnel.localAddress.family)
        innerFamilies = IPFamily.allCases.filter { family in
            [tunnel.localSubnets, tunnel.remoteSubnets].allSatisfy { $0.contains { $0.family == family } }
        }.map(CheckReport.word)
        innerMtuOctets = tunnel.innerMTUOctets
        outbound = CheckReport.Association(tunnel.children[0].outbound, profile)
        inbound = CheckReport.Association(tunnel.children[0].inbound)
        let assignment = LaneAssignment(tunnel.children, workers: workers)
        children = tunnel.children.indices.dropFirst().map { index in
            let child = tunnel.children[index]
            let isOne =
                assignment.begins[index] && assignment.lanes[index] == 0 || workers == 1 && child.notBefore == nil
            return CheckReport.Child(
                notBefore: child.notBefore.map(CalendarTime.text),
                use: isOne ? nil : assignment.begins[index] ? "beside" : "spare",
                outbound: CheckReport.Association(child.outbound, profile),
                inbound: CheckReport.Association(child.inbound))
        }
        let first = tunnel.children.indices.count { tunnel.children[$0].notBefore == nil && assignment.begins[$0] }
        lanes = first > 1 ? first : nil
        let soft = tunnel.lifetime.soft, hard = tunnel.lifetime.hard
        (softLifetimePackets, softLifetimeOctets, softLifetimeSeconds) = (soft.packets, soft.octets, soft.seconds)
        (hardLifetimePackets, hardLifetimeOctets, hardLifetimeSeconds) = (hard.packets, hard.octets, hard.seconds)
        lifetimeSecondsSmallest = SALifetime.seconds(
            inner: SALifetime.smallestInnerOctets, profile, outer: tunnel.localAddress.family)
        lifetimeSecondsLargest = SALifetime.seconds(
            inner: tunnel.innerMTUOctets, profile, outer: tunnel.localAddress.family)
    }
}

extension CheckReport.Association {
    init(_ outbound: Topology.Outbound, _ profile: AssociationProfile) {
        spi = outbound.spi.description
        keyFingerprint = outbound.key.fingerprint.short
        sequenceNumbersLast = ReservationRequest.lastSequenceNumber(of: profile)
    }

    init(_ inbound: Topology.Inbound) {
        spi = inbound.spi.description
        keyFingerprint = inbound.key.fingerprint.short
        replayWindowPackets = inbound.replayWindowPackets
    }
}
