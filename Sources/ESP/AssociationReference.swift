import CIPsecMB

/// Names an SA that lives at an address of its own, aligned to a cache line: bursts mix many SAs, and no reference is
/// counted for a packet. Whoever made it destroys it, after the last burst that may hold it.
@frozen
@safe
public struct AssociationReference<Association: ~Copyable>: BitwiseCopyable, Equatable, @unchecked Sendable {
    @usableFromInline let pointer: UnsafeMutablePointer<Association>

    /// Moves `association` to memory of its own.
    public init(_ association: consuming Association) {
        unsafe pointer = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<Association>.stride, alignment: 64)
            .bindMemory(to: Association.self, capacity: 1)
        unsafe pointer.initialize(to: association)
    }

    /// Whether both name the same SA.
    @inlinable
    public static func == (left: Self, right: Self) -> Bool { unsafe left.pointer == right.pointer }

    init(pointer: UnsafeMutablePointer<Association>) { unsafe self.pointer = unsafe pointer }

    /// Gives the memory back; no burst and no worker may hold the reference any more.
    public func destroy() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    /// Fetches a cache line of it that is needed soon: with many SAs in random order each would be waited for.
    @inlinable
    @inline(__always)
    public func fetch(line: Int) { unsafe cipsecmb_prefetch(UnsafeRawPointer(pointer) + 64 &* line) }

    /// Runs `body` on the SA. Only its owning worker may change what is not atomic.
    @inlinable
    @inline(__always)
    public func with<Result>(_ body: (inout Association) throws -> Result) rethrows -> Result {
        try unsafe body(&pointer.pointee)
    }
}

/// Names an outbound SA.
public typealias OutboundAssociationReference = AssociationReference<OutboundSecurityAssociation>
/// Names an inbound SA.
public typealias InboundAssociationReference = AssociationReference<InboundSecurityAssociation>
