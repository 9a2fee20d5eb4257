import CDPDK
import IPsec
import Wire

/// Turns policies and the tunnels' own selectors into rules: of one classifier for each direction and family.
///
/// A later fragment shows no ports, so an entry that looks at ports can't tell whether it covers one. Of an entry that
/// discards or protects, later fragments are discarded, since passing them on in clear could leak what the entry guards
/// (RFC 4301 section 7); an entry that bypasses does not cover them. The same holds of ICMP messages' types.
struct PolicyPlan {
    private let topology: Topology

    init(_ topology: Topology) { self.topology = topology }

    /// A rule before it is one of DPDK's.
    private struct Rule {
        var selector: TrafficSelector
        /// Index among the entries.
        var result: UInt32
        /// Whether ports must be seen, must not, or don't matter.
        var visible: Bool?
        var priority: Int32
    }

    /// The classifiers of one direction.
    func classifier(_ direction: Direction, name: String) throws(DataPlaneError) -> PolicyClassifier {
        var entries = [PolicyEntry.none]
        var rules: [Rule] = []
        func add(_ selector: TrafficSelector, _ result: PolicyResult, _ policy: Int, visible: Bool?) {
            rules.append(Rule(selector: selector, result: UInt32(entries.count), visible: visible, priority: 0))
            entries.append(PolicyEntry(result: result, policy: UInt32(policy)))
        }
        for (index, policy) in topology.policiesInOrder(direction).enumerated() {
            let result = PolicyResult(policy.action)
            add(policy.selector, result, index, visible: policy.selector.needsPorts ? true : nil)
            if policy.selector.needsPorts, policy.action != .bypass {
                var portless = policy.selector
                portless.sourcePorts = nil
                portless.destinationPorts = nil
                portless.icmpMessages = nil
                portless.ipProtocol = PolicyPlan.ipProtocol(policy.selector)
                add(portless, PolicyResult(.discard), index, visible: false)
            }
        }
        for index in rules.indices { rules[index].priority = Int32(rules.count - index) }
        let unique = "\(name)-\(direction.rawValue)", what = "\(direction.rawValue) policies"
        let v4 = rules.filter { $0.selector.source.family == .v4 }.map(PolicyPlan.rule)
        let v6 = rules.filter { $0.selector.source.family == .v6 }.map(PolicyPlan.rule6)
        // A classifier needs a rule.
        var error: Int32 = 0
        var first: UnsafeMutableRawPointer?, second: UnsafeMutableRawPointer?
        if !v4.isEmpty {
            unsafe first = unsafe v4.withUnsafeBufferPointer { rules in
                unsafe cdpdk_classifier_create(unique, rules.baseAddress, UInt32(rules.count), &error)
            }
        }
        if error == 0 && !v6.isEmpty {
            unsafe second = unsafe v6.withUnsafeBufferPointer { rules in
                unsafe cdpdk_classifier6_create("\(unique)-6", rules.baseAddress, UInt32(rules.count), &error)
            }
        }
        let built = unsafe PolicyClassifier(v4: first, v6: second, entries: entries)
        guard error == 0 else { throw .table(what: what, error: error) }
        return built
    }

    private static func rule(_ rule: Rule) -> cdpdk_rule {
        let selector = rule.selector, ports = ports(selector), ipProtocol = ipProtocol(selector)
        return cdpdk_rule(
            source: selector.source.address.v4Number, destination: selector.destination.address.v4Number,
            source_length: UInt8(selector.source.length), destination_length: UInt8(selector.destination.length),
            protocol: ipProtocol ?? 0, protocol_mask: ipProtocol == nil ? 0 : 0xff,
            source_port_low: ports.source.lowerBound, source_port_high: ports.source.upperBound,
            destination_port_low: ports.destination.lowerBound, destination_port_high: ports.destination.upperBound,
            ports_visible: rule.visible == true ? 1 : 0, ports_visible_mask: rule.visible == nil ? 0 : 1,
            priority: rule.priority, result: rule.result)
    }

    private static func rule6(_ rule: Rule) -> cdpdk_rule6 {
        let selector = rule.selector, ports = ports(selector), ipProtocol = ipProtocol(selector)
        return cdpdk_rule6(
            source: words(selector.source.address), destination: words(selector.destination.address),
            source_length: UInt8(selector.source.length), destination_length: UInt8(selector.destination.length),
            protocol: ipProtocol ?? 0, protocol_mask: ipProtocol == nil ? 0 : 0xff,
            source_port_low: ports.source.lowerBound, source_port_high: ports.source.upperBound,
            destination_port_low: ports.destination.lowerBound, destination_port_high: ports.destination.upperBound,
            ports_visible: rule.visible == true ? 1 : 0, ports_visible_mask: rule.visible == nil ? 0 : 1,
            priority: rule.priority, result: rule.result)
    }

    private static func words(_ address: IPAddress) -> (UInt32, UInt32, UInt32, UInt32) {
        let number = address.rawValue
        return (
            UInt32(truncatingIfNeeded: number >> 96), UInt32(truncatingIfNeeded: number >> 64),
            UInt32(truncatingIfNeeded: number >> 32), UInt32(truncatingIfNeeded: number)
        )
    }

    /// An ICMP message's type and code stand where others have their source port.
    private static func ports(
        _ selector: TrafficSelector
    ) -> (source: ClosedRange<UInt16>, destination: ClosedRange<UInt16>) {
        (selector.icmpMessages ?? selector.sourcePorts ?? 0...UInt16.max, selector.destinationPorts ?? 0...UInt16.max)
    }

    private static func ipProtocol(_ selector: TrafficSelector) -> UInt8? {
        if selector.ipProtocol == nil, selector.icmpMessages != nil {
            return selector.source.family == .v4 ? IPProtocol.icmp : IPProtocol.icmpv6
        }
        return selector.ipProtocol
    }
}
