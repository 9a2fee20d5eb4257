// Outbound packets of SAs that are not plain: outer IPv6, transport mode, UDP around ESP, 64-bit numbers, shorter ICVs,
// clear text, padding for traffic flow confidentiality. RFC 4303 sections 2.7, 3.1.1 and 3.3, RFC 3948 section 2.1,
// RFC 4301 section 5.1.2, RFC 6040 section 3.2.
//
//   tunnel     | outer IP | (UDP) | ESP | IV | inner packet (zeros) | 1 2 3 | pad length | next header | ICV |
//   transport  | IP header, some extensions | (UDP) | ESP | IV | rest of the packet      | likewise          |

import IPsec
import Wire

/// What protection needs to know of a packet before it changes it.
struct OutboundShape {
    /// Octets of the packet's own headers that stay in front: in transport mode.
    var front = 0
    /// In them, where the octet is that names what follows.
    var nextHeaderOffset = 0
    /// What follows them; of a packet that is carried whole, what it is.
    var nextHeader: UInt8
    /// DSCP and ECN, as IPv4's type of service has them.
    var service: UInt8
    /// As the inner packet has it; set for IPv6, which nobody but its sender fragments (RFC 4301 section 8.1).
    var dontFragment: Bool

    /// Of `packet`, under an SA with `profile`; nil for a chain of headers that does not hold.
    init?(_ packet: PacketBytes, _ mode: AssociationProfile.Mode) {
        if packet.uint8(at: 0) >> 4 == IPFamily.v6.rawValue {
            guard let header = IPv6Header(packet) else { return nil }
            nextHeader = IPProtocol.ipv6
            service = header.trafficClass
            dontFragment = true
            guard mode == .transport else { return }
            // RFC 4303 3.1.1: behind hop-by-hop, routing and the destination options before that.
            guard let upper = header.walk(), upper.insertionOffset <= packet.count else { return nil }
            isFragment = upper.isFragment
            front = upper.insertionOffset
            nextHeaderOffset = upper.insertionNextHeaderOffset
        } else {
            guard let header = IPv4Header(packet), header.headerLength >= IPv4Header.minimumOctets,
                header.headerLength <= packet.count
            else { return nil }
            nextHeader = IPProtocol.ipv4
            service = header.typeOfService
            dontFragment = header.dontFragment
            guard mode == .transport else { return }
            isFragment = header.isFragment
            front = header.headerLength
            nextHeaderOffset = IPv4Header.Offset.ipProtocol
        }
        nextHeader = packet.uint8(at: nextHeaderOffset)
    }

    /// Whether it is a fragment, which transport mode does not protect.
    var isFragment = false
}

extension OutboundBurst {
    /// 1. What is the packet, and what does that make of it? Is there room before and behind?
    /// 2. A number and an IV.
    /// 3. Headers in front, padding and trailer behind.
    /// 4. The job for the crypto stage.
    @inline(never)
    mutating func prepareGeneral(_ index: Int) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        let buffer = unsafe packet.pointee.buffer, length = unsafe packet.pointee.length
        let offset = unsafe packet.pointee.offset
        let profile = unsafe association.pointee.profile
        guard let shape = OutboundShape(buffer.dropFirst(offset).prefix(length), profile.mode) else {
            return .malformed
        }
        // RFC 4303 3.1.1: transport mode protects whole packets.
        guard !shape.isFragment else { return .reassemblyFailed }
        guard profile.algorithm.securityProtocol == .esp else { return prepareAuthenticated(index, shape) }

        let family = unsafe profile.mode == .tunnel ? association.pointee.family : IPFamily(buffer.uint8(at: offset))
        let headers = profile.mode == .tunnel ? family.headerOctets : shape.front
        let udp = headers &+ profile.udpOctets
        let textOffset = udp &+ ESPHeader.headerOctets &+ ESPHeader.ivOctets
        let start = offset &+ shape.front &- textOffset
        let payload = length &- shape.front
        // RFC 4303 2.7: only where the inner packet says itself where it ends.
        let whole = profile.mode == .tunnel ? max(payload, profile.tfcPaddingOctets) : payload
        let padding = ESPHeader.paddingOctets(payload: whole)
        let textLength = whole &+ padding &+ ESPHeader.trailerOctets
        let total = textOffset &+ textLength &+ profile.algorithm.icvOctets
        guard start >= 0, start &+ total <= buffer.count, total <= family.maximumOctets else { return .noBuffers }

        var failure: DropReason?
        guard let sequence = unsafe association.pointee.takeNumber(octets: length, attention, &failure) else {
            return failure
        }
        let vector = unsafe sequence &+ association.pointee.vectorOffset

        let outer = buffer.dropFirst(start).prefix(total)
        let inside = profile.udpOctets > 0 ? IPProtocol.udp : IPProtocol.esp
        unsafe OutboundBurst.emitIP(
            outer, &association.pointee, shape, next: inside, moved: buffer.dropFirst(offset).prefix(shape.front))
        if profile.udpOctets > 0 {
            // RFC 3948 2.1: no checksum over IPv4.
            unsafe UDPHeader(outer.dropFirst(headers))?.emit(
                sourcePort: UDPHeader.natTraversalPort, destinationPort: association.pointee.remotePort,
                length: total &- headers)
            if family == .v6 {
                unsafe packet.pointee.rest = .udpChecksum(offset: UInt16(truncatingIfNeeded: headers))
                unfinished &+= 1
            }
        }
        unsafe outer.store(association.pointee.spi, at: udp)
        outer.store(UInt32(truncatingIfNeeded: sequence), at: udp &+ 4)
        outer.store(vector, at: udp &+ ESPHeader.headerOctets)
        if whole > payload { outer.dropFirst(textOffset &+ payload).prefix(whole &- payload).clear() }
        OutboundBurst.emitTrailer(
            outer.dropFirst(textOffset &+ whole), padding: padding, nextHeader: shape.nextHeader)

        unsafe packet.pointee.offset = start
        unsafe packet.pointee.length = total
        if unsafe packet.pointee.isInline {
            outer.clearICV(at: textOffset &+ textLength)
            return nil
        }
        unsafe jobs.append(
            CryptoJob(
                association.pointee.key, profile.algorithm, salt: association.pointee.saltWord,
                esp: outer.dropFirst(udp), extendedNumber: profile.extendedSequenceNumbers ? sequence : nil,
                packet: index))
        return nil
    }

    /// The header in front: the outer one, or the packet's own, which is `moved` here, for what `outer` holds now.
    static func emitIP(
        _ outer: PacketBytes, _ association: inout OutboundSecurityAssociation, _ shape: OutboundShape, next: UInt8,
        moved: PacketBytes
    ) {
        guard association.profile.mode == .tunnel else {
            outer.copy(moved, count: moved.count, to: 0)
            return outer.changeIP(nextHeader: next, at: shape.nextHeaderOffset, headerOctets: shape.front)
        }
        // RFC 2983, RFC 4301 5.1.2.1: the DS field is copied unless that would say too much. RFC 6040 3.2: ECN copied.
        var service = shape.service
        if case .fixed(let codePoint) = association.profile.dscp { service = codePoint << 2 | service & 3 }
        if association.family == .v6 {
            // One flow label for all packets of an SA: RFC 6438 would have routers tell inner flows apart, which is
            // what a tunnel hides; and a receiver's window is best served by one path.
            IPv6Header(outer)?.emit(
                trafficClass: service, flowLabel: association.flowLabel,
                payloadLength: outer.count &- IPv6Header.octets,
                nextHeader: next, hopLimit: 64, source: association.localNumber, destination: association.remoteNumber)
            return
        }
        let dontFragment =
            switch association.profile.dontFragment {
            case .copy: shape.dontFragment
            case .set: true
            case .clear: false
            }
        IPv4Header(outer)?.emit(
            typeOfService: service, totalLength: outer.count,
            identification: UInt16(truncatingIfNeeded: association.identification),
            fragment: dontFragment ? IPv4Header.Fragment.dontFragment : 0, timeToLive: 64, ipProtocol: next,
            source: UInt32(truncatingIfNeeded: association.localNumber),
            destination: UInt32(truncatingIfNeeded: association.remoteNumber))
        association.identification &+= 1
    }

    /// What had to wait for the crypto stage, packet by packet.
    @inline(never)
    mutating func finishRest() {
        var index = 0
        while index < jobs.count {
            let number = unsafe jobs[index].pointee.packet
            let packet = unsafe packets + number
            let bytes = unsafe packet.pointee.buffer.dropFirst(packet.pointee.offset).prefix(packet.pointee.length)
            switch unsafe packet.pointee.rest {
            case .nothing: break
            case .udpChecksum(let offset): OutboundBurst.fillChecksum(bytes, at: Int(offset))
            case .mutableFields(let headers): restoreMutableFields(number, bytes, headers: Int(headers))
            }
            index &+= 1
        }
        unfinished = 0
    }

    /// RFC 8200 8.1: over IPv6 there is one, and it covers what was encrypted.
    private static func fillChecksum(_ bytes: PacketBytes, at offset: Int) {
        guard let header = IPv6Header(bytes) else { return }
        UDPHeader(bytes.dropFirst(offset))?.fillChecksum(
            pseudoHeader: header.pseudoHeader(upperProtocol: IPProtocol.udp, length: bytes.count &- offset))
    }
}

extension IPFamily {
    /// Of the packet that begins with this octet, which is IPv6 or taken for IPv4.
    init(_ first: UInt8) { self = first >> 4 == IPFamily.v6.rawValue ? .v6 : .v4 }

    /// Octets of a header without options or extensions.
    var headerOctets: Int { self == .v4 ? IPv4Header.minimumOctets : IPv6Header.octets }

    /// Octets of the longest packet.
    var maximumOctets: Int { self == .v4 ? 0xffff : 0xffff &+ IPv6Header.octets }
}

extension PacketBytes {
    /// Makes all octets 0.
    func clear() {
        var offset = 0
        while offset &+ 8 <= count {
            store(word: 0 as UInt64, at: offset)
            offset &+= 8
        }
        while offset < count {
            store(0 as UInt8, at: offset)
            offset &+= 1
        }
    }

    /// Brings the IP headers in front, `headerOctets` of them, into line with the window's length and with what follows
    /// them, which the octet at `offset` names.
    func changeIP(nextHeader: UInt8, at offset: Int, headerOctets: Int) {
        store(nextHeader, at: offset)
        guard IPFamily(uint8(at: 0)) == .v4 else {
            return store(UInt16(truncatingIfNeeded: count &- IPv6Header.octets), at: IPv6Header.Offset.payloadLength)
        }
        store(UInt16(truncatingIfNeeded: count), at: IPv4Header.Offset.totalLength)
        store(0 as UInt16, at: IPv4Header.Offset.checksum)
        store(word: ~InternetChecksum.sum(prefix(headerOctets)), at: IPv4Header.Offset.checksum)
    }
}
