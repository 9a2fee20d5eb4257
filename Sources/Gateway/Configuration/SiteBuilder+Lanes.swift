import DataPlane

/// What several workers make of a tunnel's pairs (RFC 9611), where that may not be what was meant.
extension SiteBuilder {
    func judgeLanes(_ topology: Topology, workers: Int) {
        guard workers > 1 else { return }
        for (tunnel, draft) in zip(topology.tunnels, tunnels) where tunnel.children.count > 1 {
            let generations = LaneAssignment.generations(tunnel.children)
            for (index, pairs) in generations.enumerated() {
                if pairs.count > workers { noteSpares(draft, pairs, workers) }
                guard index > 0, min(pairs.count, workers) < min(generations[index - 1].count, workers) else {
                    continue
                }
                noteFewer(draft, pairs, before: min(generations[index - 1].count, workers))
            }
        }
    }

    private func noteSpares(_ draft: TunnelDraft, _ pairs: [Int], _ workers: Int) {
        let path = draft.children[pairs[workers]].path
        problems.note(
            path, "\(pairs.count) pairs for one time, and \(workers) workers: \(workers) are used side by side",
            hint: "the others wait until one of these ends; worker_cores has a worker for each core")
    }

    private func noteFewer(_ draft: TunnelDraft, _ pairs: [Int], before: Int) {
        let child = draft.children[pairs[0]]
        problems.note(
            "\(child.path).not_before",
            "from \(child.notBefore.map(CalendarTime.text) ?? "") on \(pairs.count) worker(s) send for the tunnel, "
                + "\(before) before",
            hint: "pairs with one not_before are used side by side, and take the place of all that were before")
    }
}
