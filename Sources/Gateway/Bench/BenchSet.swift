/// Benchmarks side by side. Arrays hold nothing that can't be copied.
@safe
struct BenchSet: ~Copyable {
    private let storage: UnsafeMutablePointer<Bench>
    private let limit: Int
    private(set) var count = 0

    /// With room for so many.
    init(limit: Int) {
        self.limit = limit
        unsafe storage = .allocate(capacity: limit)
    }

    deinit {
        unsafe storage.deinitialize(count: count)
        unsafe storage.deallocate()
    }

    mutating func append(_ bench: consuming Bench) {
        precondition(count < limit)
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
}

/// What one thread measures: its worker of every pair that has one for it.
struct BenchMembers: ~Copyable {
    var benches: BenchSet
    /// Of each pair; nil where it has no worker for this thread.
    private var places: [Int?] = []

    init(_ thread: Int, _ pairs: [BenchPair]) throws {
        benches = BenchSet(limit: pairs.count)
        for pair in pairs {
            guard let worker = pair.setup.worker(on: thread) else {
                places.append(nil)
                continue
            }
            places.append(benches.count)
            benches.append(try Bench(pair, worker: worker))
        }
    }

    /// Where in `benches` this thread's part of a pair is; nil when it has none.
    func place(_ pair: Int) -> Int? { places[pair] }

    /// Sends packets of this size from now on.
    func load(_ size: BenchOptions.Size) {
        for index in 0..<benches.count { benches[index].load(size.lengths) }
    }

    /// Gives back what the workers hold.
    func drain() {
        for index in 0..<benches.count { benches[index].drain() }
    }
}
