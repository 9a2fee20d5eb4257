// What an outbound SA knows of the way to its peer. RFC 3948 section 4; RFC 4301 section 8.2.

extension OutboundSecurityAssociation {
    /// Says that packets are about to be sent in this tenth of a second, large enough for somebody to quote them in an
    /// ICMP error.
    @inline(__always)
    public mutating func noteSending(tenth: UInt64) {
        recent.note(sequenceNumber.load(ordering: .relaxed) &+ 1, tenth: tenth)
    }

    /// Whether it sent a number with these low 32 bits, in a large packet or beside one, within about the last second.
    public func sentRecently(_ low: UInt32, tenth: UInt64) -> Bool {
        let last = sequenceNumber.load(ordering: .relaxed)
        var number = last & ~0xffff_ffff | UInt64(low)
        if number > last {
            guard number >= 1 << 32 else { return false }
            number -= 1 << 32
        }
        return recent.contains(number, tenth: tenth)
    }

    /// Whether nothing was sent for `interval` ticks before `now`; then the next one is due so much later.
    public mutating func isKeepaliveDue(now: UInt64, interval: UInt64) -> Bool {
        let last = sequenceNumber.load(ordering: .relaxed)
        guard last == keepaliveNumber, keepaliveDueAt != 0 else {
            (keepaliveNumber, keepaliveDueAt) = (last, now + interval)
            return false
        }
        guard now >= keepaliveDueAt else { return false }
        keepaliveDueAt = now + interval
        return true
    }
}
