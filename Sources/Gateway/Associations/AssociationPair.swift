import DataPlane
import ESP
import IPsec
import SAStore

/// What is asked for when a pair of SAs is to be installed.
struct PairRequest: Sendable {
    var local: IPAddress
    var remote: IPAddress
    var profile: AssociationProfile
    /// Index of the worker that will own both.
    var owner: Int
    var outbound: Topology.Outbound
    var inbound: Topology.Inbound
    var lifetime: Lifetime

    var outboundIdentity: SAIdentity { SAIdentity(fingerprint: outbound.key.fingerprint, spi: outbound.spi) }

    var inboundIdentity: SAIdentity { SAIdentity(fingerprint: inbound.key.fingerprint, spi: inbound.spi) }

    /// What makes two requests ask for the same SAs: then counters and windows go on.
    var sameness: Sameness {
        Sameness(
            outbound: outboundIdentity, inbound: inboundIdentity, profile: profile,
            local: local, remote: remote, replayWindowPackets: inbound.replayWindowPackets)
    }

    struct Sameness: Hashable, Sendable {
        let outbound: SAIdentity, inbound: SAIdentity
        let profile: AssociationProfile
        let local: IPAddress, remote: IPAddress
        let replayWindowPackets: Int
    }
}

/// A pair of SAs that is installed: the two hot halves, and what the store knew of them when it was.
final class AssociationPair: Sendable {
    let sameness: PairRequest.Sameness
    let owner: Int
    let outbound: OutboundAssociation
    let inbound: InboundAssociation
    let outboundRecord: SARecord
    let inboundRecord: SARecord

    init(
        _ request: PairRequest, outbound: OutboundAssociation, inbound: InboundAssociation, outboundRecord: SARecord,
        inboundRecord: SARecord
    ) {
        sameness = request.sameness
        owner = request.owner
        self.outbound = outbound
        self.inbound = inbound
        self.outboundRecord = outboundRecord
        self.inboundRecord = inboundRecord
    }

    /// Packets and inner octets since each was installed for the first time, earlier runs included.
    var outboundUsage: SAUsage {
        let (packets, octets) = outbound.reference.with { ($0.packets, $0.octets.load(ordering: .relaxed)) }
        return SAUsage(
            sa: sameness.outbound, packets: outboundRecord.packets + packets, octets: outboundRecord.octets + octets)
    }

    /// Likewise.
    var inboundUsage: SAUsage {
        let (packets, octets) = inbound.reference.with {
            ($0.packets.load(ordering: .relaxed), $0.octets.load(ordering: .relaxed))
        }
        return SAUsage(
            sa: sameness.inbound, packets: inboundRecord.packets + packets, octets: inboundRecord.octets + octets)
    }

    /// Whether the outbound SA has used its last number: nothing goes out under it ever again (RFC 4303 section 3.3.3).
    var isSpent: Bool {
        let last = ReservationRequest.lastSequenceNumber(of: sameness.profile)
        return outboundRecord.sequenceReserved >= last
            || outbound.reference.with { $0.sequenceNumber.load(ordering: .relaxed) } >= last
    }

    /// Whether one of the two has this number.
    func hasAssociation(_ id: Int) -> Bool { outbound.id == id || inbound.id == id }

    /// Goes by another lifetime from now on. Called twice, a round of the worker apart.
    func limit(_ lifetime: Lifetime) {
        let behind = outboundRecord.sequenceReserved
        outbound.reference.with {
            $0.limit(Allowance.outbound(lifetime, outboundRecord, behind: behind, profile: sameness.profile))
        }
        inbound.reference.with { $0.limit(Allowance(lifetime, inboundRecord)) }
    }
}

extension Allowance {
    /// What a lifetime leaves to an SA that has carried what its record says.
    init(_ lifetime: Lifetime, _ record: SARecord) {
        func left(_ limit: UInt64?, _ used: UInt64) -> UInt64 { limit.map { $0 - min($0, used) } ?? .max }
        self.init()
        softPackets = left(lifetime.soft.packets, record.packets)
        softOctets = left(lifetime.soft.octets, record.octets)
        hardPackets = left(lifetime.hard.packets, record.packets)
        hardOctets = left(lifetime.hard.octets, record.octets)
    }

    /// The same for an outbound SA, which ends with its last sequence number whatever its lifetime (RFC 4303 section
    /// 3.3.3) and whose soft limit is a sixteenth of all numbers before that at the latest. `behind` is the number that
    /// this run follows on.
    static func outbound(
        _ lifetime: Lifetime, _ record: SARecord, behind: UInt64, profile: AssociationProfile
    ) -> Allowance {
        var allowance = Allowance(lifetime, record)
        let last = ReservationRequest.lastSequenceNumber(of: profile), wall = last - (last >> 4 + 1)
        allowance.softPackets = min(allowance.softPackets, wall - min(wall, behind))
        return allowance
    }
}
