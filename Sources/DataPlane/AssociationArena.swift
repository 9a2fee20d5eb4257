import ESP
import IPsec
import Synchronization

/// Makes SAs, each with an expanded key, an address of its own and a bit in the attention map, and takes all that back
/// when the last reference goes.
public final class AssociationArena: Sendable {
    /// Which SAs want something.
    public let attention = AttentionMap()
    private let keys: KeyArena
    private let numbers = Mutex(Numbers())

    private struct Numbers {
        var next = 0
        var free: [Int] = []
    }

    /// Without SAs. Throws `.noCrypto`.
    public init() throws(DataPlaneError) {
        guard let keys = KeyArena() else { throw .noCrypto }
        self.keys = keys
    }

    /// An outbound SA that may send nothing yet. Throws `.tooManyAssociations` and `.noMemory`.
    public func makeOutbound(
        _ outbound: Topology.Outbound, profile: AssociationProfile, local: IPAddress, remote: IPAddress
    ) throws(DataPlaneError) -> OutboundAssociation {
        let key = try expand(outbound.key), id = try takeNumber()
        return OutboundAssociation(
            id: id, arena: self, key: key,
            reference: OutboundAssociationReference(
                OutboundSecurityAssociation(
                    key: key, spi: outbound.spi, profile: profile, local: local, remote: remote, id: id)))
    }

    /// An inbound SA that belongs to the worker with index `owner`, accepts nothing up to `behind` and nothing above
    /// it before its ceiling is raised. Throws as `makeOutbound`.
    public func makeInbound(
        _ inbound: Topology.Inbound, profile: AssociationProfile, local: IPAddress, remote: IPAddress, owner: Int,
        behind: UInt64, allowance: Allowance
    ) throws(DataPlaneError) -> InboundAssociation {
        let key = try expand(inbound.key), id = try takeNumber()
        return InboundAssociation(
            id: id, arena: self, key: key,
            reference: InboundAssociationReference(
                InboundSecurityAssociation(
                    key: key, profile: profile, local: local, remote: remote,
                    replayWindow: inbound.replayWindowPackets, owner: owner, id: id, behind: behind,
                    allowance: allowance)), spi: inbound.spi)
    }

    /// Throws `.tooManyAssociations` unless there is room for so many more, if nobody else takes it: asked before
    /// numbers on disk are spent on them.
    public func checkRoom(for more: Int) throws(DataPlaneError) {
        let left = numbers.withLock { AttentionMap.capacity - $0.next + $0.free.count }
        guard more <= left else { throw .tooManyAssociations(limit: AttentionMap.capacity) }
    }

    private func expand(_ key: KeyMaterial) throws(DataPlaneError) -> ExpandedKey {
        guard let expanded = keys.expand(key) else { throw .noMemory(what: "an expanded key", error: 12) }
        return expanded
    }

    private func takeNumber() throws(DataPlaneError) -> Int {
        let number = numbers.withLock { numbers -> Int? in
            if let number = numbers.free.popLast() { return number }
            guard numbers.next < AttentionMap.capacity else { return nil }
            defer { numbers.next += 1 }
            return numbers.next
        }
        guard let number else { throw .tooManyAssociations(limit: AttentionMap.capacity) }
        return number
    }

    fileprivate func giveBack(_ number: Int) { numbers.withLock { $0.free.append(number) } }
}

/// An outbound SA with all that it stands on. Tables and the control plane hold it; the memory goes with the last.
public final class OutboundAssociation: Sendable {
    /// Its number among all SAs, as the attention map tells it.
    public let id: Int
    /// The hot half.
    public let reference: OutboundAssociationReference
    private let arena: AssociationArena
    private let key: ExpandedKey

    fileprivate init(id: Int, arena: AssociationArena, key: ExpandedKey, reference: OutboundAssociationReference) {
        self.id = id
        self.arena = arena
        self.key = key
        self.reference = reference
    }

    deinit {
        reference.destroy()
        arena.giveBack(id)
    }
}

/// An inbound SA with all that it stands on, likewise.
public final class InboundAssociation: Sendable {
    /// Its number among all SAs, as the attention map tells it.
    public let id: Int
    /// The hot half.
    public let reference: InboundAssociationReference
    let spi: SPI
    private let arena: AssociationArena
    private let key: ExpandedKey

    fileprivate init(
        id: Int, arena: AssociationArena, key: ExpandedKey, reference: InboundAssociationReference, spi: SPI
    ) {
        self.id = id
        self.arena = arena
        self.key = key
        self.reference = reference
        self.spi = spi
    }

    deinit {
        reference.destroy()
        arena.giveBack(id)
    }
}
