import CDPDK

/// On which NUMA node each worker's packets and rings lie: on its core's. What a worker makes for itself lies there by
/// itself, since it is made where it runs.
public struct NodePlan: Equatable, Sendable {
    /// Of each worker; nil: wherever there is memory.
    public let workers: [Int?]
    /// The node of each worker's core; empty on a machine that has one.
    private let cores: [Int]
    private let names: [Int]

    /// - Parameters:
    ///   - workerCores: of each worker.
    ///   - nodes: the node of each of them; empty on a machine that has one node.
    ///   - hugePages: DPDK has ordinary memory as one piece, wherever the kernel put that.
    public init(workerCores: [Int], nodes: [Int], hugePages: Bool) {
        precondition(nodes.isEmpty || nodes.count == workerCores.count)
        names = workerCores
        cores = nodes
        workers = workerCores.indices.map { hugePages && !nodes.isEmpty ? nodes[$0] : nil }
    }

    /// Of this machine, once EAL runs with a core for each worker.
    public init(workerCores: [Int], hugePages: Bool) {
        let nodes = rte_socket_count() > 1 ? workerCores.map { Int(rte_lcore_to_socket_id(UInt32($0))) } : []
        self.init(workerCores: workerCores, nodes: nodes, hugePages: hugePages)
    }

    /// Workers whose packets come from one pool, by their index; the pools in the order of their first.
    public var pools: [[Int]] {
        var pools: [(node: Int?, workers: [Int])] = []
        for (worker, node) in workers.enumerated() {
            if let place = pools.firstIndex(where: { $0.node == node }) {
                pools[place].workers.append(worker)
            } else {
                pools.append((node, [worker]))
            }
        }
        return pools.map(\.workers)
    }

    /// What an operator is told of a port whose device is on `node`, nil where that is not known; nil when there is
    /// nothing to tell.
    public func note(deviceNode node: Int?) -> String? {
        guard let node else { return nil }
        let far = zip(names, cores).filter { $0.1 != node }
        guard !far.isEmpty else { return nil }
        let list = far.map { "\($0.0) (node \($0.1))" }.joined(separator: ", ")
        return "its device is on NUMA node \(node), worker core(s) \(list) are not: each packet crosses between nodes"
    }
}
