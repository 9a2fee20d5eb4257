import Synchronization

/// Which SAs want something of the control plane: numbers, a higher ceiling, a look at a limit. A bit each, set by
/// workers in rare moments and taken by one thread, so that nobody has to look at all SAs to find the few.
@safe
public final class AttentionMap: @unchecked Sendable {
    /// SAs that a gateway can have at once, both directions together.
    public static let capacity = 1 << 18
    private static let words = capacity / 64

    // One word more, behind the bits: whether any is set.
    private let bits: UnsafeMutablePointer<Atomic<UInt64>>

    /// With no bit set.
    public init() {
        unsafe bits = UnsafeMutableRawPointer.allocate(byteCount: (AttentionMap.words + 1) * 8, alignment: 64)
            .bindMemory(to: Atomic<UInt64>.self, capacity: AttentionMap.words + 1)
        for index in 0...AttentionMap.words { unsafe (bits + index).initialize(to: Atomic(0)) }
    }

    deinit { unsafe bits.deallocate() }

    /// Clears all bits and calls `body` with the number of each that was set.
    public func take(_ body: (Int) -> Void) {
        guard unsafe bits[AttentionMap.words].exchange(0, ordering: .acquiring) != 0 else { return }
        for word in 0..<AttentionMap.words where unsafe bits[word].load(ordering: .relaxed) != 0 {
            var set = unsafe bits[word].exchange(0, ordering: .sequentiallyConsistent)
            // What a worker wrote before it raised a bit, or found it raised, is seen from here on.
            atomicMemoryFence(ordering: .sequentiallyConsistent)
            while set != 0 {
                body(word * 64 + set.trailingZeroBitCount)
                set &= set - 1
            }
        }
    }

    /// For workers, which must not count references; whoever takes it keeps the map.
    public var unownedView: View { unsafe View(bits: bits) }

    /// Sets bits of a map that somebody else keeps.
    @safe
    public struct View: BitwiseCopyable, @unchecked Sendable {
        fileprivate let bits: UnsafeMutablePointer<Atomic<UInt64>>

        /// Sets the bit of the SA with this number; below `capacity`.
        func raise(_ id: UInt32) {
            precondition(id < AttentionMap.capacity)
            let word = unsafe bits + Int(id / 64), bit: UInt64 = 1 << UInt64(id % 64)
            guard unsafe word.pointee.load(ordering: .relaxed) & bit == 0 else { return }
            unsafe word.pointee.bitwiseOr(bit, ordering: .releasing)
            unsafe bits[AttentionMap.words].store(1, ordering: .releasing)
        }
    }
}
