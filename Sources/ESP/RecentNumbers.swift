/// Which sequence numbers an SA sent within about the last second: who quotes one of them has seen its packets just
/// now. For ICMP errors, which anybody can forge (RFC 5927 section 7.2).
struct RecentNumbers: BitwiseCopyable {
    /// Tenths of a second that count as recent, the running one included.
    static let tenths: UInt64 = 10

    /// The first number of each tenth, at its index modulo `tenths`.
    private var firsts = InlineArray<10, UInt64>(repeating: .max)
    /// The tenth behind the latest one that was noted; 0 before the first.
    private var end: UInt64 = 0

    /// Says that `next` and those behind it are sent in tenth `tenth` or later. Tenths never go back.
    @inline(__always)
    mutating func note(_ next: UInt64, tenth: UInt64) {
        if tenth &+ 1 != end { begin(tenth, next) }
    }

    @inline(never)
    private mutating func begin(_ tenth: UInt64, _ next: UInt64) {
        // Tenths in which nothing was noted begin with this number too.
        var step = max(end, tenth - min(tenth, RecentNumbers.tenths - 1))
        while step <= tenth {
            firsts[Int(step % RecentNumbers.tenths)] = next
            step += 1
        }
        end = tenth + 1
    }

    /// Whether `number`, which was sent, was sent in the last `tenths` of `tenth`.
    func contains(_ number: UInt64, tenth: UInt64) -> Bool {
        let oldest = tenth - min(tenth, RecentNumbers.tenths - 1)
        return oldest < end && number >= firsts[Int(oldest % RecentNumbers.tenths)]
    }
}
