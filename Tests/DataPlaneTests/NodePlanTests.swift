import Testing

@testable import DataPlane

@Suite("On which NUMA node what lies")
struct NodePlanTests {
    @Test("a machine of one node has one pool, wherever that is, and nothing to tell")
    func oneNode() {
        let plan = NodePlan(workerCores: [1, 2, 3], nodes: [], hugePages: true)
        #expect(plan.workers == [nil, nil, nil] && plan.pools == [[0, 1, 2]])
        #expect(plan.note(deviceNode: 0) == nil && plan.note(deviceNode: nil) == nil)
    }

    @Test("each worker's packets lie on its core's node, one pool for each node that has workers")
    func twoNodes() {
        let plan = NodePlan(workerCores: [1, 17, 2, 18], nodes: [0, 1, 0, 1], hugePages: true)
        #expect(plan.workers == [0, 1, 0, 1] && plan.pools == [[0, 2], [1, 3]])
        let far = NodePlan(workerCores: [16, 17], nodes: [1, 1], hugePages: true)
        #expect(far.workers == [1, 1] && far.pools == [[0, 1]])
    }

    @Test("ordinary memory is one piece, and cores may be far from a device all the same")
    func ordinaryMemory() {
        let plan = NodePlan(workerCores: [1, 17], nodes: [0, 1], hugePages: false)
        #expect(plan.workers == [nil, nil] && plan.pools == [[0, 1]])
        #expect(plan.note(deviceNode: 0)?.contains("core(s) 17 (node 1)") == true)
    }

    @Test("a port whose device is on another node than a worker's core is told of, with the cores")
    func notes() {
        let plan = NodePlan(workerCores: [1, 17, 18], nodes: [0, 1, 1], hugePages: true)
        #expect(
            plan.note(deviceNode: 0)?.hasPrefix("its device is on NUMA node 0, worker core(s) 17 (node 1), 18") == true)
        #expect(plan.note(deviceNode: 1)?.contains("core(s) 1 (node 0) are not") == true)
        #expect(plan.note(deviceNode: nil) == nil)
        #expect(NodePlan(workerCores: [1, 2], nodes: [0, 0], hugePages: true).note(deviceNode: 0) == nil)
    }
}

@Suite("How packets come to several workers")
struct PacketSpreadingTests {
    @Test(
        "by the device as far as that goes",
        arguments: [
            (1, 1, false, false, PacketSpreading.none), (1, 1, true, true, .none), (2, 1, false, false, .software),
            (2, 2, false, false, .device), (2, 2, true, false, .deviceByAddresses), (4, 2, true, true, .deviceBySPI),
        ])
    func cases(workers: Int, queues: Int, hasRSS: Bool, hasSPI: Bool, expected: PacketSpreading) {
        #expect(PacketSpreading(workers: workers, rxQueues: queues, hasRSS: hasRSS, hasSPI: hasSPI) == expected)
    }
}
