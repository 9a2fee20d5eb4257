// Outbound AH. RFC 4302 sections 3.1 and 3.3, appendix A; RFC 4543 section 4 for AES-GMAC, whose IV stands first in the
// ICV field.
//
//   tunnel     | outer IP | AH: next, length, 0, SPI, sequence, (IV), ICV, (zeros) | inner packet |
//   transport  | IP header, some extensions | AH                                   | rest of the packet |
//
// The ICV covers all of the packet with the ICV field and what may change on the way taken for zero. The headers are
// written, kept aside, zeroed where they have to be, and put back by `finish`.

import IPsec
import Wire

extension OutboundBurst {
    /// As `prepareGeneral`, for an SA that speaks AH.
    mutating func prepareAuthenticated(_ index: Int, _ shape: OutboundShape) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        let buffer = unsafe packet.pointee.buffer, length = unsafe packet.pointee.length
        let offset = unsafe packet.pointee.offset
        let profile = unsafe association.pointee.profile
        let family = unsafe profile.mode == .tunnel ? association.pointee.family : IPFamily(buffer.uint8(at: offset))
        let headers = profile.mode == .tunnel ? family.headerOctets : shape.front
        let octets = profile.authenticationHeaderOctets(outer: family)
        let start = offset &+ shape.front &- headers &- octets
        let total = headers &+ octets &+ length &- shape.front
        guard headers &+ octets <= SavedHeaders.limit else { return .malformed }
        guard start >= 0, start &+ total <= buffer.count, total <= family.maximumOctets else { return .noBuffers }
        if profile.mode == .transport {
            // Tried on a copy first: a packet that is refused stays as it is, and takes no number.
            saved[index].copy(buffer.dropFirst(offset), count: shape.front, to: 0)
            guard MutableFields.zero(saved[index].prefix(shape.front), count: shape.front) else { return .malformed }
        }

        var failure: DropReason?
        guard let sequence = unsafe association.pointee.takeNumber(octets: length, attention, &failure) else {
            return failure
        }
        let vector = unsafe sequence &+ association.pointee.vectorOffset

        let outer = buffer.dropFirst(start).prefix(total)
        unsafe OutboundBurst.emitIP(
            outer, &association.pointee, shape, next: IPProtocol.ah,
            moved: buffer.dropFirst(offset).prefix(shape.front))
        let ah = outer.dropFirst(headers).prefix(octets)
        ah.dropFirst(AHHeader.fixedOctets).clear()
        unsafe AHHeader(ah)?.emit(
            nextHeader: shape.nextHeader, octets: octets, spi: association.pointee.spi,
            sequenceNumber: UInt32(truncatingIfNeeded: sequence))
        saved[index].copy(outer, count: headers, to: 0)
        // What it was tried on was the same but for length, protocol and checksum.
        _ = MutableFields.zero(outer, count: headers)
        if profile.algorithm.ivOctets > 0 { saved[index].store(vector, at: headers) }
        unsafe packet.pointee.rest = .mutableFields(headers: UInt16(headers))
        unfinished &+= 1

        unsafe packet.pointee.offset = start
        unsafe packet.pointee.length = total
        unsafe jobs.append(
            CryptoJob(
                association.pointee.key, profile.algorithm, salt: association.pointee.saltWord,
                ivWord: vector.bigEndian,
                authenticated: outer, icv: ah.dropFirst(AHHeader.fixedOctets &+ profile.algorithm.ivOctets),
                extendedNumber: profile.extendedSequenceNumbers ? sequence : nil, packet: index))
        return nil
    }

    /// Puts back what counted as zero in the first `headers` octets, and the IV behind the AH's fixed fields.
    func restoreMutableFields(_ index: Int, _ packet: PacketBytes, headers: Int) {
        packet.copy(saved[index], count: headers, to: 0)
        if unsafe packets[index].association.pointee.profile.algorithm.ivOctets > 0 {
            packet.store(word: saved[index].word64(at: headers), at: headers &+ AHHeader.fixedOctets)
        }
    }
}
