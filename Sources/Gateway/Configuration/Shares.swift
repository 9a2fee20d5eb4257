import DataPlane
import Dispatch
import Synchronization

/// Work on the many elements of a large site, in shares that the processors take at the same time.
enum Shares {
    /// Those that work at the same time. More would not pay: what comes before and after is one's.
    static var processors: Int { min(Environment.processors.count, 8) }

    /// What `transform` makes of each share of `0..<count`, in order. It is called on several threads at once, each
    /// with a share of its own, and on the caller's alone where there are few elements or one processor: it must change
    /// nothing that is not its share's.
    ///
    /// - Parameters:
    ///   - smallest: elements that are worth a share; fewer are read faster than they are shared out.
    ///   - most: how many shares there may be; a processor that is through with one takes the next.
    static func map<Result: Sendable>(
        _ count: Int, smallest: Int = 512, most: Int = processors, _ transform: (Range<Int>) -> Result
    ) -> [Result] {
        let shares = min(most, count / smallest)
        guard shares > 1 else { return [transform(0..<count)] }
        let results = Mutex<[Result?]>(Array(repeating: nil, count: shares))
        withoutActuallyEscaping(transform) { transform in
            nonisolated(unsafe) let transform = transform
            DispatchQueue.concurrentPerform(iterations: shares) { share in
                let result = unsafe transform(count * share / shares..<count * (share + 1) / shares)
                results.withLock { $0[share] = result }
            }
        }
        return results.withLock { $0.compactMap { $0 } }
    }

    /// Lets another thread let go of what nobody uses any more: a large site's tables take long to free.
    static func free(_ object: AnyObject) {
        nonisolated(unsafe) let object = object
        DispatchQueue.global().async { withExtendedLifetime(unsafe object) {} }
    }
}
