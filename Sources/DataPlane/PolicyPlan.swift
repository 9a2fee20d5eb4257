import CDPDK
import IPsec

/// Turns policies and the tunnels' own selectors into the rules of one classifier for each direction.
///
/// A later fragment shows no ports, so an entry that looks at ports can't tell whether it covers one. Of an entry that
/// discards or protects, later fragments are discarded, since passing them on in clear could leak what the entry guards
/// (RFC 4301 section 7); an entry that bypasses does not cover them.
struct PolicyPlan {
    private let topology: Topology

    init(_ topology: Topology) { self.topology = topology }

    /// The classifier of one direction.
    func classifier(_ direction: Direction, name: String) throws(DataPlaneError) -> UnsafeMutableRawPointer {
        var rules: [cdpdk_rule] = []
        for policy in topology.policiesInOrder(direction) {
            let result = PolicyResult(policy.action)
            rules.append(rule(policy.selector, result, visible: policy.selector.needsPorts ? true : nil))
            if policy.selector.needsPorts, policy.action != .bypass {
                var portless = policy.selector
                portless.sourcePorts = nil
                portless.destinationPorts = nil
                rules.append(rule(portless, PolicyResult(.discard), visible: false))
            }
        }
        if rules.isEmpty {
            // A classifier needs a rule: one for a source that is a martian, and so never gets here.
            let nobody = IPPrefix(IPAddress(v4: .max))
            rules = [rule(TrafficSelector(source: nobody, destination: nobody), PolicyResult(.discard), visible: nil)]
        }
        for index in rules.indices { rules[index].priority = Int32(rules.count - index) }
        var error: Int32 = 0
        let built = unsafe rules.withUnsafeBufferPointer { rules in
            unsafe cdpdk_classifier_create(
                "\(name)-\(direction.rawValue)", rules.baseAddress, UInt32(rules.count), &error)
        }
        guard let built = unsafe built else { throw .table(what: "\(direction.rawValue) policies", error: error) }
        return unsafe built
    }

    private func rule(_ selector: TrafficSelector, _ result: PolicyResult, visible: Bool?) -> cdpdk_rule {
        let source = selector.sourcePorts ?? 0...UInt16.max, destination = selector.destinationPorts ?? 0...UInt16.max
        return cdpdk_rule(
            source: selector.source.address.v4Number, destination: selector.destination.address.v4Number,
            source_length: UInt8(selector.source.length), destination_length: UInt8(selector.destination.length),
            protocol: selector.ipProtocol ?? 0, protocol_mask: selector.ipProtocol == nil ? 0 : 0xff,
            source_port_low: source.lowerBound, source_port_high: source.upperBound,
            destination_port_low: destination.lowerBound, destination_port_high: destination.upperBound,
            ports_visible: visible == true ? 1 : 0, ports_visible_mask: visible == nil ? 0 : 1, priority: 0,
            result: result.rawValue)
    }
}
