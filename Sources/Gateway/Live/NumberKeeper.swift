import DataPlane
import ESP
import Foundation
import IPsec
import SAStore
import Synchronization

/// Keeps every outbound SA ahead of its worker: a block of sequence numbers and one of IVs is on disk before either is
/// used, and the next blocks are asked for when half is gone.
///
/// A store that does not answer stops the SAs one after the other (`sequence_exhausted`), never the other way.
final class NumberKeeper: Sendable {
    /// Numbers in a block: 70 ms of 64-octet packets at 10 GbE line rate, and 4096 blocks in 2^32.
    static let blockCount = ReservationRequest.largestBlock

    private let store: StateStore
    private let tunnels: [Topology.Tunnel]
    private let associations: [OutboundAssociationReference]

    init(_ topology: Topology, tables: ForwardingTables, store: StateStore) {
        self.store = store
        tunnels = topology.tunnels
        associations = tables.outbound
    }

    /// Before the workers run: every SA resumes behind what was ever reserved, and gets its first blocks.
    ///
    /// The first IV of a run is at least what the clock says, so that a state directory that was rolled back repeats
    /// none. An SA whose sequence numbers are used up gets nothing; its tunnel's name is returned.
    func resume(secondsSince1970: Int64) throws(StoreError) -> [String] {
        let blocks = try reserve(
            tunnels.flatMap { requests(for: $0, floor: InitializationVectorFloor.at(secondsSince1970)) })
        var exhausted: [String] = []
        for (index, association) in associations.enumerated() {
            guard let sequence = blocks[2 * index], let vector = blocks[2 * index + 1] else {
                exhausted.append(tunnels[index].name)
                continue
            }
            association.with { association in
                association.resume(
                    behindSequence: sequence.lowerBound - 1, behindInitializationVector: vector.lowerBound - 1)
                association.grant(sequence: sequence.upperBound, initializationVector: vector.upperBound)
            }
        }
        return exhausted
    }

    /// One round: reserves for all SAs that have used half of a block, with one wait for the disk.
    func refill() throws(StoreError) {
        let needy = associations.indices.filter(needsNumbers)
        guard !needy.isEmpty else { return }
        let blocks = try reserve(needy.flatMap { requests(for: tunnels[$0], floor: 0) })
        for (position, index) in needy.enumerated() {
            guard let sequence = blocks[2 * position], let vector = blocks[2 * position + 1] else { continue }
            associations[index].with {
                $0.grant(sequence: sequence.upperBound, initializationVector: vector.upperBound)
            }
        }
    }

    private func reserve(_ requests: [ReservationRequest]) throws(StoreError) -> [ClosedRange<UInt64>?] {
        var round = StoreRound()
        round.reservations = requests
        return try store.commit(round, now: Int64(Date().timeIntervalSince1970))
    }

    private func needsNumbers(_ index: Int) -> Bool {
        associations[index].with { association in
            let granted = association.grantedSequence.load(ordering: .relaxed)
            let used = association.sequenceNumber.load(ordering: .relaxed)
            // Nothing granted at start means used up; and the last block is not followed by another.
            guard granted > 0, granted < UInt64(UInt32.max) else { return false }
            return granted - min(used, granted) < NumberKeeper.blockCount / 2
        }
    }

    private func requests(for tunnel: Topology.Tunnel, floor: UInt64) -> [ReservationRequest] {
        let fingerprint = tunnel.children[0].outbound.key.fingerprint.description
        return [
            .sequenceNumbers(
                count: NumberKeeper.blockCount,
                sa: SAIdentity(fingerprint: fingerprint, spi: tunnel.children[0].outbound.spi)),
            .initializationVectors(count: NumberKeeper.blockCount, fingerprint: fingerprint, floor: floor),
        ]
    }
}
