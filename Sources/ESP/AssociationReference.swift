// SAs live at addresses of their own, aligned to cache lines: bursts of many SAs mix, and no reference is counted for a packet.

/// Names an outbound SA. Whoever made it destroys it, after the last burst that may hold it.
@frozen
@safe
public struct OutboundAssociationReference: @unchecked Sendable {
    @usableFromInline let pointer: UnsafeMutablePointer<OutboundSecurityAssociation>

    /// Moves `association` to memory of its own.
    public init(_ association: consuming OutboundSecurityAssociation) {
        unsafe pointer = alignedMemory()
        unsafe pointer.initialize(to: association)
    }

    /// Gives the memory back; no burst and no worker may hold the reference any more.
    public func destroy() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    /// Runs `body` on the SA. Only its owning worker may change what is not atomic.
    @inlinable
    @inline(__always)
    public func with<Result>(_ body: (inout OutboundSecurityAssociation) throws -> Result) rethrows -> Result {
        try unsafe body(&pointer.pointee)
    }
}

/// Names an inbound SA, likewise.
@frozen
@safe
public struct InboundAssociationReference: @unchecked Sendable {
    @usableFromInline let pointer: UnsafeMutablePointer<InboundSecurityAssociation>

    /// Moves `association` to memory of its own.
    public init(_ association: consuming InboundSecurityAssociation) {
        unsafe pointer = alignedMemory()
        unsafe pointer.initialize(to: association)
    }

    /// Gives the memory back; no burst and no worker may hold the reference any more.
    public func destroy() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    /// Runs `body` on the SA. Only its owning worker may change what is not atomic.
    @inlinable
    @inline(__always)
    public func with<Result>(_ body: (inout InboundSecurityAssociation) throws -> Result) rethrows -> Result {
        try unsafe body(&pointer.pointee)
    }
}

private func alignedMemory<Association: ~Copyable>() -> UnsafeMutablePointer<Association> {
    unsafe UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<Association>.stride, alignment: 64)
        .bindMemory(to: Association.self, capacity: 1)
}
