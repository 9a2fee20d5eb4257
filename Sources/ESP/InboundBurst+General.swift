// Inbound packets of SAs that are not plain: transport mode, a peer behind NAT, 64-bit numbers, shorter ICVs, clear
// text, AH. RFC 4303 section 3.4 and appendix A, RFC 7296 section 2.23 (a peer that moves).

import IPsec
import Wire

extension InboundBurst {
    /// As `prepare`: lengths, number, first look at the window, job.
    @inline(never)
    mutating func prepareGeneral(_ index: Int) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        guard unsafe association.pointee.securityProtocol == .esp else { return prepareAuthenticated(index) }
        let algorithm = unsafe association.pointee.profile.algorithm
        let esp = unsafe packet.pointee.bytes.dropFirst(packet.pointee.offset)
        guard ESPHeader.isWellFormed(octets: esp.count, icvOctets: algorithm.icvOctets) else { return .malformed }
        if let refused = look(index, low: esp.uint32(at: 4)) { return refused }
        if unsafe packet.pointee.isOpened { return nil }
        unsafe jobs.append(
            CryptoJob(
                association.pointee.key, algorithm, salt: association.pointee.saltWord, esp: esp,
                extendedNumber: association.pointee.profile.extendedSequenceNumbers ? packet.pointee.number : nil,
                packet: index))
        return nil
    }

    /// What `low`, the number in the packet, stands for, and whether it may be.
    mutating func look(_ index: Int, low: UInt32) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        let number = unsafe association.pointee.number(of: low)
        // RFC 4303 2.2: the first number is 1. With 64 bits, a low half of 0 is legitimate behind that.
        guard number != 0 else { return .malformed }
        if let refused = unsafe association.pointee.window.check(number) { return refused }
        unsafe packet.pointee.number = number
        if unsafe association.pointee.takesCandidate() {
            unsafe packet.pointee.isCandidate = true
            candidates &+= 1
        }
        return nil
    }

    /// Between `prepare` and the crypto stage: RFC 4303 A3, for senders that are 2^32 packets or more ahead of us. Most
    /// bursts have nothing to do here.
    @inline(__always)
    public mutating func resynchronize(_ crypto: inout SoftwareCrypto) {
        if candidates > 0 { tryCandidates(&crypto) }
    }

    /// Verifies each candidate under one more high half, and lets it go on under that where it is authentic.
    @inline(never)
    private mutating func tryCandidates(_ crypto: inout SoftwareCrypto) {
        var index = 0
        while index < jobs.count {
            let job = unsafe jobs[index]
            let packet = unsafe packets + job.pointee.packet
            index &+= 1
            guard unsafe packet.pointee.isCandidate else { continue }
            let association = unsafe packet.pointee.association
            let number = unsafe packet.pointee.number
            guard let candidate = unsafe association.pointee.nextCandidate(number) else { continue }
            unsafe job.pointee.setExtendedNumber(candidate)
            if unsafe crypto.isAuthentic(&job.pointee) {
                unsafe packet.pointee.number = candidate
            } else {
                unsafe job.pointee.setExtendedNumber(number)
                unsafe packet.pointee.isCandidate = false
            }
        }
    }

    /// As `finish`: the ICV, then the rest. An AH's headers are as they came again, whatever becomes of it.
    @inline(never)
    mutating func finishGeneral(_ index: Int, _ job: UnsafeMutablePointer<CryptoJob>) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        if unsafe association.pointee.securityProtocol == .ah { restoreHeaders(index) }
        let isAuthentic = unsafe job.pointee.hasComputedICV
        if unsafe association.pointee.profile.extendedSequenceNumbers {
            unsafe association.pointee.noteIntegrity(isAuthentic, ofCandidate: packet.pointee.isCandidate)
        }
        return isAuthentic ? acceptGeneral(index, waited: false) : .integrityFailed
    }

    /// As `accept`:
    /// 1. Has the peer moved, and may it?
    /// 2. The window.
    /// 3. What is inside.
    @inline(never)
    mutating func acceptGeneral(_ index: Int, waited: Bool) -> DropReason? {
        let packet = unsafe packets + index
        let association = unsafe packet.pointee.association
        let (bytes, start) = unsafe (packet.pointee.bytes, packet.pointee.offset)
        var moved: InboundSecurityAssociation.Peer?
        if unsafe packet.pointee.sourceDiffers {
            guard let peer = unsafe association.pointee.peer(of: bytes, start: start) else {
                return .tunnelAddressMismatch
            }
            // An earlier packet may have moved it since the caller looked.
            if unsafe !association.pointee.isPeer(peer) {
                guard unsafe association.pointee.mayMove(with: packet.pointee.number, now: now) else {
                    return .tunnelAddressMismatch
                }
                moved = peer
            }
        }
        if let refused = unsafe association.pointee.accept(&packet.pointee, waited: waited, attention) {
            return refused
        }
        if let moved {
            unsafe association.pointee.move(to: moved, notBefore: now &+ ticksPerSecond)
            unsafe packet.pointee.movesPeer = true
        }

        let profile = unsafe association.pointee.profile
        var payload = start, length = 0, nextHeader: UInt8 = 0
        if profile.algorithm.securityProtocol == .esp {
            payload &+= ESPHeader.headerOctets &+ ESPHeader.ivOctets
            guard
                let trailer = InboundBurst.trailer(
                    bytes, from: payload, to: bytes.count &- profile.algorithm.icvOctets)
            else { return .badTrailer }
            (length, nextHeader) = trailer
            // RFC 4303 2.6: in either mode.
            if nextHeader == IPProtocol.none { return .dummy }
        } else {
            guard let ah = AHHeader(bytes.dropFirst(start)) else { return .malformed }
            payload &+= ah.octets
            (length, nextHeader) = (bytes.count &- payload, ah.nextHeader)
        }
        let refused =
            switch profile.mode {
            case .tunnel:
                unsafe packet.pointee.takeInner(bytes, start: payload, length: length, nextHeader: nextHeader)
            case .transport:
                unsafe packet.pointee.takeWhole(
                    bytes, start: payload, length: length, nextHeader: nextHeader, front: start &- profile.udpOctets)
            }
        if let refused { return refused }
        unsafe association.pointee.count(packet.pointee.bytes.count)
        return nil
    }
}

extension InboundPacket {
    /// Becomes the packet that transport mode protected: its first `front` octets, moved to before those from `start`
    /// on, and told what follows them now.
    mutating func takeWhole(_ packet: PacketBytes, start: Int, length: Int, nextHeader: UInt8, front: Int)
        -> DropReason?
    {
        guard let offset = InboundPacket.nextHeaderOffset(packet, front: front) else { return .malformed }
        let whole = packet.dropFirst(start &- front).prefix(front &+ length)
        whole.copy(packet, count: front, to: 0)
        whole.changeIP(nextHeader: nextHeader, at: offset, headerOctets: front)
        bytes = whole
        family = IPFamily(whole.uint8(at: 0))
        self.offset = start &- front
        return nil
    }

    /// Where in the first `front` octets of `packet`, which are all of its headers, the octet is that names what
    /// follows. Nil where they are not.
    static func nextHeaderOffset(_ packet: PacketBytes, front: Int) -> Int? {
        if let header = IPv4Header(packet), header.version == 4 {
            return header.headerLength == front && front >= IPv4Header.minimumOctets
                ? IPv4Header.Offset.ipProtocol : nil
        }
        guard let header = IPv6Header(packet), header.version == 6, let upper = header.walk(), upper.offset == front
        else { return nil }
        return upper.nextHeaderOffset
    }
}
