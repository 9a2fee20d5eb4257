import CDPDK

/// The policy pass: asks a classifier about the packets of a list that need a verdict, all at once.
///
/// List them by `append`, then `classify`; entry `i` of the result is the verdict on the `i`-th of them.
@safe
struct PolicyLookup: ~Copyable {
    /// Positions in the list of the packets that are asked about.
    let positions: FixedArray<UInt32>
    private let verdicts: FixedArray<UInt32>
    private let keys: FixedArray<UnsafePointer<cdpdk_flow_key>?>
    private let results: FixedArray<UInt32>
    private(set) var count = 0

    init(capacity: Int) {
        positions = FixedArray(repeating: 0, count: capacity)
        verdicts = FixedArray(repeating: 0, count: capacity)
        unsafe keys = FixedArray(repeating: nil, count: capacity)
        results = FixedArray(repeating: 0, count: capacity)
    }

    mutating func removeAll() { count = 0 }

    /// Adds the packet at `position` of the list.
    @inline(__always)
    mutating func append(_ position: Int) {
        positions[count] = UInt32(truncatingIfNeeded: position)
        count &+= 1
    }

    /// The verdict on the packet that was added as number `index`.
    @inline(__always)
    mutating func verdict(_ index: Int) -> PolicyResult { PolicyResult(rawValue: verdicts[index]) }

    /// Asks about all that were added.
    ///
    /// Neighbours that no policy can tell apart are asked about once: traffic comes in runs.
    @inline(__always)
    mutating func classify(_ list: borrowing PacketSlots, _ classifier: UnsafeMutableRawPointer) {
        var distinct = 0
        var index = 0
        while index < count {
            let slot = Int(positions[index])
            if index == 0 || !list[slot].hasSameKey(as: list[Int(positions[index &- 1])]) {
                unsafe keys[distinct] = unsafe list.unsafeKey(slot)
                distinct &+= 1
            }
            verdicts[index] = UInt32(truncatingIfNeeded: distinct &- 1)
            index &+= 1
        }
        unsafe cdpdk_classify(
            classifier, keys.unsafePointer(at: 0), results.unsafePointer(at: 0), UInt32(truncatingIfNeeded: distinct))
        index = 0
        while index < count {
            verdicts[index] = results[Int(verdicts[index])]
            index &+= 1
        }
    }
}
