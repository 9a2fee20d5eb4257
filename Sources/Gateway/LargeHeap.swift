import DataPlane

/// What a command does to its heap.
public enum LargeHeap {
    /// Sets it up for sites of 100 000 SAs. Before there are threads.
    public static func expect() { Environment.expectLargeHeap() }
}
