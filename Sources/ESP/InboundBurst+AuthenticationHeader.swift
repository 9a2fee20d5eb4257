// Inbound AH. RFC 4302 section 3.4, appendix A; RFC 4543 section 4.
//
// The headers up to and with the AH are kept aside while what may have changed on the way, and the ICV field, count as
// zero.

import IPsec
import Wire

extension InboundBurst {
    /// As `prepareGeneral`, for an SA that speaks AH.
    mutating func prepareAuthenticated(_ index: Int) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        let (bytes, start) = unsafe (packet.pointee.bytes, packet.pointee.offset)
        let profile = unsafe association.pointee.profile
        guard bytes.count > 0, let ah = AHHeader(bytes.dropFirst(start)) else { return .malformed }
        // RFC 4302 3.4.1: not before it is whole again. What says so counts as zero for the ICV.
        if let header = IPv4Header(bytes), header.version == 4, header.isFragment { return .reassemblyFailed }
        let octets = ah.octets
        guard InboundBurst.isExpected(octets, profile, IPFamily(bytes.uint8(at: 0))), start &+ octets <= bytes.count,
            start &+ octets <= SavedHeaders.limit, InboundPacket.nextHeaderOffset(bytes, front: start) != nil
        else { return .malformed }

        // On the copy first: what is refused here stays as it came.
        let kept = saved[index].prefix(start &+ octets)
        kept.copy(bytes, count: start &+ octets, to: 0)
        guard MutableFields.zero(kept, count: start) else { return .malformed }
        if let refused = look(index, low: ah.sequenceNumber) { return refused }
        // What came goes aside, and what counts as zero takes its place.
        InboundBurst.exchange(kept, bytes, count: start)
        // Not the padding behind the ICV, which is authenticated as it is (RFC 4302 3.3.3.2.1).
        bytes.dropFirst(start &+ AHHeader.fixedOctets)
            .prefix(profile.algorithm.ivOctets &+ profile.algorithm.icvOctets).clear()
        let field = kept.dropFirst(start &+ AHHeader.fixedOctets)
        unsafe jobs.append(
            CryptoJob(
                association.pointee.key, profile.algorithm, salt: association.pointee.saltWord,
                ivWord: profile.algorithm.ivOctets > 0 ? field.word64(at: 0) : 0, authenticated: bytes,
                icv: field.dropFirst(profile.algorithm.ivOctets),
                extendedNumber: profile.extendedSequenceNumbers ? packet.pointee.number : nil, packet: index))
        return nil
    }

    /// RFC 4302 2.6: the header ends on a multiple of four octets, in IPv6 of eight. In IPv4 many align to eight too,
    /// and RFC 4543 section 4 has none of that for GMAC.
    private static func isExpected(_ octets: Int, _ profile: AssociationProfile, _ family: IPFamily) -> Bool {
        octets == profile.authenticationHeaderOctets(outer: .v6)
            || octets == profile.authenticationHeaderOctets(outer: .v4)
                && (family == .v4 || profile.algorithm.ivOctets > 0)
    }

    private static func exchange(_ first: PacketBytes, _ second: PacketBytes, count: Int) {
        for offset in 0..<count {
            let octet = first.uint8(at: offset)
            first.store(second.uint8(at: offset), at: offset)
            second.store(octet, at: offset)
        }
    }

    /// Puts the headers of an AH packet back as they came.
    func restoreHeaders(_ index: Int) {
        let (bytes, start) = unsafe (packets[index].bytes, packets[index].offset)
        guard let ah = AHHeader(bytes.dropFirst(start)) else { return }
        // Its length is not among what counts as zero.
        bytes.copy(saved[index], count: start &+ ah.octets, to: 0)
    }
}
