import Synchronization

/// Where workers find the tables of the moment: an address that the control plane changes and workers read once a
/// round. Tables that were replaced are kept until every worker has gone over to later ones.
@safe
public final class TableCell: @unchecked Sendable {
    private let address: Atomic<UInt>
    /// Those that a worker may still look at, oldest first; the last one is what workers go over to.
    private let kept: Mutex<[ForwardingTables]>

    init(_ tables: ForwardingTables) {
        unsafe address = Atomic(UInt(bitPattern: Unmanaged.passUnretained(tables).toOpaque()))
        kept = Mutex([tables])
    }

    /// Whether there are other tables than those at `known`.
    @inline(__always)
    func hasOther(than known: UInt) -> Bool { address.load(ordering: .relaxed) != known }

    /// The address of the latest, and the latest, which stay as long as the caller's worker has not told of later ones.
    func read() -> (address: UInt, tables: Unmanaged<ForwardingTables>) {
        let bits = address.load(ordering: .acquiring)
        guard let pointer = unsafe UnsafeRawPointer(bitPattern: bits) else { preconditionFailure("no tables") }
        return unsafe (bits, Unmanaged.fromOpaque(pointer))
    }

    /// The latest.
    var latest: ForwardingTables {
        kept.withLock { kept in
            guard let last = kept.last else { preconditionFailure("no tables") }
            return last
        }
    }

    func publish(_ tables: ForwardingTables) {
        kept.withLock { kept in
            precondition(kept.last.map { $0.generation < tables.generation } ?? true)
            kept.append(tables)
        }
        unsafe address.store(UInt(bitPattern: Unmanaged.passUnretained(tables).toOpaque()), ordering: .releasing)
    }

    /// Lets go of all that are older than `generation`, which every worker has reached. True when the latest is left
    /// alone.
    func reclaim(upTo generation: UInt64) -> Bool {
        // What goes is released outside of the lock: it may be much.
        let (gone, isAlone) = kept.withLock { kept in
            let first = kept.firstIndex { $0.generation >= generation } ?? kept.count - 1
            defer { kept.removeFirst(first) }
            return (kept[..<first], kept.count - first == 1)
        }
        _ = gone
        return isAlone
    }
}
