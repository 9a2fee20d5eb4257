import DataPlane

/// Which lane each pair of a tunnel's file belongs to (RFC 9611: one SA for each core).
///
/// Pairs with the same time, or all without one, are used side by side: one lane each, as far as there are workers. A
/// pair more than that is a spare of the lane that it falls to. With one worker there is one lane, and everything in it
/// follows one after the other.
struct LaneAssignment {
    /// Of each pair; 0 to the number of workers less one.
    private(set) var lanes: [Int]
    /// Whether each pair is sent under by itself when its time has come: the first of its lane and time.
    private(set) var begins: [Bool]

    /// `kept` says which lane a pair is in already: it stays there. Pairs are in the file's order.
    init(_ children: [Topology.Child], workers: Int, kept: [Int?] = []) {
        lanes = Array(repeating: 0, count: children.count)
        begins = Array(repeating: true, count: children.count)
        let kept = kept.isEmpty ? children.map { _ in nil } : kept
        if children.count == 1 {
            lanes[0] = kept[0] ?? 0
            return
        }
        // Without a pair to begin with, those that have no time wait for it.
        let hasFirst = children.first?.notBefore == nil
        for pairs in LaneAssignment.generations(children) {
            var taken = Set(pairs.indices.compactMap { kept[pairs[$0]] })
            var opened: Set<Int> = []
            for (rank, pair) in pairs.enumerated() {
                let free = kept[pair] == nil ? (0..<workers).first { !taken.contains($0) } : nil
                lanes[pair] = kept[pair] ?? free ?? rank % workers
                taken.insert(lanes[pair])
                begins[pair] = opened.insert(lanes[pair]).inserted && (hasFirst || children[pair].notBefore != nil)
            }
        }
    }

    /// Indices of the pairs that have one time, in the file's order; those without one come first.
    static func generations(_ children: [Topology.Child]) -> [[Int]] {
        let groups = Dictionary(grouping: children.indices) { children[$0].notBefore ?? .min }
        return groups.sorted { $0.key < $1.key }.map(\.value)
    }
}
