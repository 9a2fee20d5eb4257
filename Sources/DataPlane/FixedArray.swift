import CDPDK

/// A fixed number of trivial elements in memory of their own: what a worker uses where an Array would count references.
@safe
struct FixedArray<Element: BitwiseCopyable>: ~Copyable {
    private let storage: UnsafeMutablePointer<Element>
    let count: Int

    /// `count` copies of `value`, aligned to a cache line.
    init(repeating value: Element, count: Int) {
        self.count = count
        unsafe storage = UnsafeMutableRawPointer.allocate(
            byteCount: max(1, count) * MemoryLayout<Element>.stride, alignment: 64
        ).bindMemory(to: Element.self, capacity: max(1, count))
        unsafe storage.initialize(repeating: value, count: count)
    }

    /// The elements of an array.
    init(_ elements: [Element]) {
        count = elements.count
        unsafe storage = UnsafeMutableRawPointer.allocate(
            byteCount: max(1, count) * MemoryLayout<Element>.stride, alignment: 64
        ).bindMemory(to: Element.self, capacity: max(1, count))
        for (index, element) in elements.enumerated() { unsafe (storage + index).initialize(to: element) }
    }

    /// Room for `count` elements, each of which is written before it is read.
    init(unfilled count: Int) {
        self.count = count
        let octets = max(1, count) * MemoryLayout<Element>.stride
        let memory = UnsafeMutableRawPointer.allocate(byteCount: octets, alignment: 64)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: octets)
        unsafe storage = memory.bindMemory(to: Element.self, capacity: max(1, count))
    }

    deinit { unsafe storage.deallocate() }

    @inline(__always)
    subscript(_ index: Int) -> Element {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(storage + index)
        }
        nonmutating unsafeMutableAddress {
            precondition(index >= 0 && index < count)
            return unsafe storage + index
        }
    }

    /// Gives the elements from `first` to before `end` one value. One check for all of them, and several a store.
    @inline(__always)
    func fill(with value: Element, from first: Int, to end: Int) {
        precondition(first >= 0 && first <= end && end <= count)
        unsafe (storage + first).update(repeating: value, count: end &- first)
    }

    /// The address of an element, for C; `count` elements follow the first.
    @inline(__always)
    func unsafePointer(at index: Int) -> UnsafeMutablePointer<Element> {
        precondition(index >= 0 && index <= count)
        return unsafe storage + index
    }

    /// The elements in memory that somebody else keeps alive, for readers that must not count references to it.
    var unownedView: FixedArrayView<Element> { unsafe FixedArrayView(storage: storage, count: count) }
}

/// Reads a `FixedArray` that somebody else keeps alive for longer than the view is used.
@safe
struct FixedArrayView<Element: BitwiseCopyable>: @unchecked Sendable {
    private let storage: UnsafeMutablePointer<Element>
    let count: Int

    fileprivate init(storage: UnsafeMutablePointer<Element>, count: Int) {
        unsafe self.storage = unsafe storage
        self.count = count
    }

    @inline(__always)
    subscript(_ index: Int) -> Element {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(storage + index)
        }
    }

    /// Fetches an element that is needed soon.
    @inline(__always)
    func fetch(_ index: Int) {
        precondition(index >= 0 && index < count)
        unsafe rte_prefetch0(storage + index)
    }
}

extension FixedArray<UInt32> {
    /// Numbers the elements from `first` to before `end`, on from `beginning`: likewise.
    @inline(__always)
    func number(from first: Int, to end: Int, beginning: UInt32) {
        precondition(first >= 0 && first <= end && end <= count)
        let start = unsafe unsafePointer(at: first)
        var index = 0
        while index < end &- first {
            unsafe start[index] = beginning &+ UInt32(truncatingIfNeeded: index)
            index &+= 1
        }
    }
}
