import IPsec
import Synchronization
import Wire

/// What workers know of neighbours, for operators who ask. Every worker has a table of its own; it copies it when it
/// keeps house and somebody has asked.
public final class NeighborCensus: Sendable {
    /// A neighbour as one worker knows it.
    public struct Row: Sendable {
        /// Index of the port.
        public let port: Int
        /// Its address.
        public let address: IPAddress
        /// Nil while it is asked for.
        public let mac: MACAddress?
        /// "static", "reachable", "stale" or "incomplete".
        public let state: String
        /// Since it last answered, in seconds; nil for those that did not have to.
        public let ageSeconds: UInt64?
    }

    private let wanted: Atomic<UInt64>
    private let answers: Mutex<[[Row]?]>

    init(workers: Int) {
        wanted = Atomic(0)
        answers = Mutex(Array(repeating: nil, count: workers))
    }

    /// Asks all workers; `rows` has their answers within about a tenth of a second.
    public func ask() {
        answers.withLock { answers in
            for index in answers.indices { answers[index] = nil }
            wanted.store((1 << UInt64(answers.count)) &- 1, ordering: .releasing)
        }
    }

    /// What all workers answered, each neighbour once; nil as long as an answer is missing.
    public var rows: [Row]? {
        answers.withLock { answers in
            var found: [NeighborKey: Row] = [:]
            for answer in answers {
                guard let answer else { return nil }
                for row in answer {
                    let key = NeighborKey(port: UInt16(row.port), address: row.address)
                    if found[key].map({ $0.mac == nil }) ?? true { found[key] = row }
                }
            }
            return found.values.sorted { ($0.port, $0.address) < ($1.port, $1.address) }
        }
    }

    /// Whether the worker is asked.
    func isWanted(by worker: Int) -> Bool { wanted.load(ordering: .acquiring) & (1 << UInt64(worker)) != 0 }

    func answer(_ worker: Int, _ neighbors: borrowing NeighborTable, now: UInt64, ticksPerSecond: UInt64) {
        var rows: [Row] = []
        for index in 0..<neighbors.count {
            let entry = neighbors.entries[index]
            guard entry.state != .free, entry.isUsable || entry.waiting > 0 else { continue }
            let heardAt = entry.dueAt - min(entry.dueAt, NeighborTable.reachableSeconds * ticksPerSecond)
            rows.append(
                Row(
                    port: Int(entry.port), address: entry.key.address,
                    mac: entry.isUsable ? entry.destination : nil,
                    state: entry.state == .permanent ? "static" : String(describing: entry.state),
                    ageSeconds: entry.state == .reachable ? (now - min(now, heardAt)) / ticksPerSecond : nil))
        }
        wanted.bitwiseAnd(~(1 << UInt64(worker)), ordering: .relaxed)
        answers.withLock { $0[worker] = rows }
    }
}
