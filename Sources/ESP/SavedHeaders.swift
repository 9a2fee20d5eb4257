import Wire

/// Room for the headers of a burst's AH packets while fields of them count as zero (RFC 4302 section 3.3.3.1).
@safe
struct SavedHeaders: ~Copyable {
    /// Octets that the headers before an AH and the AH itself may have: more extension headers than any sender has a
    /// use for.
    static let limit = 320

    private let memory: UnsafeMutableRawPointer
    private let capacity: Int

    /// Room for one packet of each index below `capacity`.
    init(capacity: Int) {
        self.capacity = capacity
        unsafe memory = .allocate(byteCount: capacity * SavedHeaders.limit, alignment: 64)
    }

    deinit { unsafe memory.deallocate() }

    /// That of a packet.
    subscript(_ index: Int) -> PacketBytes {
        precondition(index >= 0 && index < capacity)
        return unsafe PacketBytes(unsafeStart: memory + index * SavedHeaders.limit, count: SavedHeaders.limit)
    }
}
