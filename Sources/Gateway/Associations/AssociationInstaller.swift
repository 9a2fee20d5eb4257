import DataPlane
import ESP
import SAStore

/// Installs pairs of SAs: makes them and gives them numbers.
protocol AssociationInstaller: Sendable {
    /// The pairs, in the order of the requests. All or none: when it throws, nothing can be sent under any.
    func install(_ requests: [PairRequest], now: Int64) throws -> [AssociationPair]
}

/// For replays and benchmarks, whose packets never meet a wire: every number may be used from 1 on, and none is kept.
struct UnboundInstaller: AssociationInstaller {
    let arena: AssociationArena

    func install(_ requests: [PairRequest], now: Int64) throws -> [AssociationPair] {
        try requests.map { request in
            let outboundRecord = SARecord(identity: request.outboundIdentity, installedAt: now)
            let inboundRecord = SARecord(identity: request.inboundIdentity, installedAt: now)
            let outbound = try arena.makeOutbound(
                request.outbound, profile: request.profile, local: request.local, remote: request.remote)
            let inbound = try arena.makeInbound(
                request.inbound, profile: request.profile, local: request.local, remote: request.remote,
                owner: request.owner, behind: 0,
                allowance: Allowance(request.lifetime, inboundRecord))
            outbound.reference.with { association in
                association.limit(
                    Allowance.outbound(request.lifetime, outboundRecord, behind: 0, profile: request.profile))
                association.grant(
                    sequence: ReservationRequest.lastSequenceNumber(of: request.profile), initializationVector: .max)
            }
            inbound.reference.with { $0.setCeiling(.max, notice: .max) }
            return AssociationPair(
                request, outbound: outbound, inbound: inbound, outboundRecord: outboundRecord,
                inboundRecord: inboundRecord)
        }
    }
}
