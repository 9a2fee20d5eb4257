// The SPD as workers ask it: a classifier for each direction and family, and what each policy was asked for.

import CDPDK
import IPsec
import Synchronization

/// What a classifier's result stands for: 8 octets.
struct PolicyEntry: BitwiseCopyable {
    var result: PolicyResult
    /// Its place among the policies of its direction, in order.
    var policy: UInt32

    /// What stands for "no policy matched".
    static let none = PolicyEntry(result: .none, policy: .max)
}

/// The rules of one direction, compiled.
@safe
final class PolicyClassifier: @unchecked Sendable {
    /// Nil where no rule has addresses of the family: then nothing matches.
    let v4: UnsafeMutableRawPointer?
    let v6: UnsafeMutableRawPointer?
    /// What the classifiers' results stand for; 0 for none.
    let entries: FixedArray<PolicyEntry>

    init(v4: UnsafeMutableRawPointer?, v6: UnsafeMutableRawPointer?, entries: [PolicyEntry]) {
        unsafe self.v4 = unsafe v4
        unsafe self.v6 = unsafe v6
        self.entries = FixedArray(entries)
    }

    deinit {
        if let v4 = unsafe v4 { unsafe cdpdk_classifier_free(v4) }
        if let v6 = unsafe v6 { unsafe cdpdk_classifier_free(v6) }
    }
}

/// How often a policy was asked for.
public struct PolicyCount: Equatable, Sendable {
    /// Packets that it covered, and their octets from the IP header on.
    public var packets: UInt64 = 0, octets: UInt64 = 0
}

/// The SPD: a classifier for each direction, and counters for each policy and worker.
@safe
final class PolicyTable: @unchecked Sendable {
    let outbound: PolicyClassifier
    let inbound: PolicyClassifier
    /// The policies of each direction by what makes them the same in another table.
    private let identities: [[Identity]]
    /// What was counted before this table, by direction and policy.
    private let before: [[PolicyCount]]
    /// The table that this one came after, as long as it may still count, and where its policies stood there.
    private let counters = Mutex<[PolicyCounters]>([])
    private let earlier: [PolicyCounters]
    private let places: [[Int?]]

    private struct Identity: Hashable {
        let selector: TrafficSelector, isProtect: Bool, isBypass: Bool, tunnel: String?
    }

    /// `name` must be unique among the tables that live. Policies that `previous` had too go on to count from there.
    init(_ topology: Topology, name: String, previous: PolicyTable? = nil) throws(DataPlaneError) {
        let plan = PolicyPlan(topology)
        outbound = try plan.classifier(.outbound, name: name)
        inbound = try plan.classifier(.inbound, name: name)
        identities = Direction.allCases.map { direction in
            topology.policiesInOrder(direction).map { PolicyTable.identity($0, topology) }
        }
        let known = previous?.identities ?? identities.map { _ in [] }
        places = zip(identities, known).map { now, then in
            var indices: [Identity: [Int]] = [:]
            for (index, identity) in then.enumerated().reversed() { indices[identity, default: []].append(index) }
            return now.map { indices[$0]?.popLast() }
        }
        // What the one before it came after has long ceased to count: its workers went over to `previous` since.
        before = places.enumerated().map { direction, places in
            places.map { place in place.flatMap { previous?.settled(direction, $0) } ?? PolicyCount() }
        }
        earlier = previous?.counters.withLock { $0 } ?? []
    }

    private static func identity(_ policy: Policy, _ topology: Topology) -> Identity {
        var tunnel: String?
        if case .protect(let index) = policy.action { tunnel = topology.tunnels[index].name }
        return Identity(
            selector: policy.selector, isProtect: tunnel != nil, isBypass: policy.action == .bypass, tunnel: tunnel)
    }

    private static func index(_ direction: Direction) -> Int { Direction.allCases.firstIndex(of: direction) ?? 0 }

    /// Makes counters for so many workers, before the first of them sees the table.
    func prepare(workers: Int) {
        counters.withLock { counters in
            while counters.count < workers { counters.append(PolicyCounters(identities.map(\.count))) }
        }
    }

    /// The counters of a worker, which live as long as the table.
    func counters(of worker: Int) -> PolicyCounters.View { counters.withLock { $0[worker].view } }

    /// What does not change any more: all but what this table counts.
    private func settled(_ direction: Int, _ policy: Int) -> PolicyCount {
        var count = before[direction][policy]
        guard let place = places[direction][policy] else { return count }
        for counters in earlier { counters.add(direction, place, to: &count) }
        return count
    }

    /// How often each policy was asked for, in the order of `Topology.policiesInOrder`, summed over workers.
    func counts(_ direction: Direction) -> [PolicyCount] {
        let index = PolicyTable.index(direction), counters = counters.withLock { $0 }
        return identities[index].indices.map { policy in
            var count = settled(index, policy)
            for counters in counters { counters.add(index, policy, to: &count) }
            return count
        }
    }

    /// What of a topology decides what is in it.
    struct Basis: Equatable {
        let policies: [Policy]
        let local: [[IPPrefix]]
        let remote: [[IPPrefix]]

        init(_ topology: Topology) {
            policies = topology.policies
            local = topology.tunnels.map(\.localSubnets)
            remote = topology.tunnels.map(\.remoteSubnets)
        }
    }
}

/// What one worker counts for policies: it alone writes, anybody may read.
@safe
final class PolicyCounters: @unchecked Sendable {
    // Of each direction, packets and octets of each policy in turn.
    private let storage: UnsafeMutablePointer<Atomic<UInt64>>
    private let counts: [Int]

    /// Zeros, for so many policies in each direction.
    init(_ counts: [Int]) {
        self.counts = counts
        let words = 2 * counts.reduce(0, +)
        unsafe storage = UnsafeMutableRawPointer.allocate(
            byteCount: max(1, (words + 7) / 8) * 64, alignment: 64
        ).bindMemory(to: Atomic<UInt64>.self, capacity: words)
        for index in 0..<words { unsafe (storage + index).initialize(to: Atomic(0)) }
    }

    deinit { unsafe storage.deallocate() }

    fileprivate func add(_ direction: Int, _ policy: Int, to count: inout PolicyCount) {
        guard policy < counts[direction] else { return }
        let first = 2 * (counts[..<direction].reduce(0, +) + policy)
        count.packets += unsafe storage[first].load(ordering: .relaxed)
        count.octets += unsafe storage[first + 1].load(ordering: .relaxed)
    }

    var view: View {
        unsafe View(
            outbound: Side(start: storage, count: counts[0]),
            inbound: Side(start: storage + 2 * counts[0], count: counts[1]))
    }

    /// Both directions as their worker writes them, in memory that the table keeps.
    struct View {
        let outbound: Side
        let inbound: Side
    }

    /// One direction, likewise.
    @safe
    struct Side: BitwiseCopyable {
        private let start: UnsafeMutablePointer<Atomic<UInt64>>
        private let count: Int

        fileprivate init(start: UnsafeMutablePointer<Atomic<UInt64>>, count: Int) {
            unsafe self.start = unsafe start
            self.count = count
        }

        /// Counts packets for a policy; nothing for "none".
        @inline(__always)
        func add(packets: UInt64, octets: UInt64, to policy: UInt32) {
            guard Int(policy) < count else { return }
            let place = unsafe start + 2 &* Int(policy)
            unsafe place[0].store(place[0].load(ordering: .relaxed) &+ packets, ordering: .relaxed)
            unsafe place[1].store(place[1].load(ordering: .relaxed) &+ octets, ordering: .relaxed)
        }
    }
}
