/// Benchmarks side by side. Arrays hold nothing that can't be copied.
@safe
struct BenchSet: ~Copyable {
    private static let limit = 8
    private let storage = UnsafeMutablePointer<Bench>.allocate(capacity: BenchSet.limit)
    private var count = 0

    deinit {
        unsafe storage.deinitialize(count: count)
        unsafe storage.deallocate()
    }

    mutating func append(_ bench: consuming Bench) {
        precondition(count < BenchSet.limit)
        unsafe (storage + count).initialize(to: bench)
        count += 1
    }

    subscript(_ index: Int) -> Bench {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(storage + index)
        }
        nonmutating unsafeMutableAddress {
            precondition(index >= 0 && index < count)
            return unsafe storage + index
        }
    }

    /// Closes all.
    func close() throws {
        for index in 0..<count { try self[index].close() }
    }
}
