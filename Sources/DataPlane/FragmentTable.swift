// Puts fragments together again. RFC 791 section 3.2 and RFC 815 (IPv4), RFC 8200 section 4.5 (IPv6); read RFC 5722 and
// RFC 1858 for what overlaps are good for: they show one thing to a filter and another to the receiver. Congestion
// marks: RFC 3168 section 5.3.
//
// Ours and not rte_ip_frag: that one notices overlaps only as a sum that does not come out, limits nothing by source,
// and chains buffers, which crypto would have to copy.
//
//   16 sets, chosen by source address and a secret, of 16 datagrams; each datagram up to 32 fragments, in order
//
// Limits, as others have them (Linux: 4 MiB, 30 s, no place for new ones when full; VPP: 1024 datagrams, 3 fragments
// each, 100 ms; FreeBSD: 16 fragments, a limit for each hash bucket). Ours: whoever sends first fragments without end
// fills his own set, in which the oldest makes room, and the other fifteen never notice. No limit helps against
// invented source addresses; so a worker should put together only what comes from a tunnel's remote address or was
// decrypted.

import Wire

/// Fragments of IPv4 and IPv6 that wait for the rest of their datagrams; one for each worker. Memory is fixed.
///
/// Buffers hold the IP packet alone. What `take` keeps is the table's until it comes back as a whole packet or in
/// `losses`, where the worker drops it.
struct FragmentTable: ~Copyable {
    /// Datagrams of a set, that is of a source.
    static let setDatagrams = 16
    /// Datagrams at once.
    static let datagramLimit = 256
    /// Fragments at once.
    static let bufferLimit = 1024
    /// Fragments of a datagram: 1500 octets at IPv4's smallest MTU of 68.
    static let fragmentLimit = 32
    /// Time for all of a datagram's fragments, from the first that comes. RFC 1122 section 3.3.2 has a minute and RFC
    /// 8200 too; but fragments of one packet leave back to back, what is missing after two seconds is lost, and a busy
    /// sender's 16-bit identifications come round in less (RFC 4963).
    static let timeLimitSeconds: UInt64 = 2
    private static let setCount = datagramLimit / setDatagrams
    private static let setBuffers = bufferLimit / setCount

    /// What became of a fragment.
    enum Outcome {
        /// The table keeps it.
        case held
        /// It is in `losses`, with others if they went with it.
        case refused
        /// The packet that it was the last missing part of, and how many other buffers went into it and were freed. Of
        /// a packet that was whole already: 0.
        case whole(Mbuf, merged: Int)
    }

    enum State: UInt8 {
        case free, gathering
        // RFC 5722 4: an overlap was seen; what still comes is refused.
        case spoilt
    }

    struct Datagram: BitwiseCopyable {
        var key = FragmentPiece.Key()
        var startedAt: UInt64 = 0
        // Octets of the whole payload; -1 until the last fragment came.
        var total = -1
        var gathered = 0
        var count = 0
        // ECN marks that were seen, a bit for each.
        var marks: UInt8 = 0
        var state = State.free
    }

    struct Fragment: BitwiseCopyable {
        var mbuf: Mbuf
        // Where its payload is in its buffer, and belongs in the datagram.
        var payload: UInt16
        var offset: UInt16
        var length: UInt16

        var end: Int { Int(offset) + Int(length) }
    }

    /// Buffers that the table gave up: late, evicted, overlapping, malformed. The worker drops and removes them after
    /// each call of `take`, `expire` and `giveUpAll`.
    var losses: MbufList
    /// Fragments that it holds.
    private(set) var held = 0
    private let datagrams: FixedArray<Datagram>
    private let fragments: FixedArray<Fragment>
    private let setHeld: FixedArray<Int>
    private var merged: MbufList
    private let timeLimit: UInt64
    private let wholeLimitOctets: Int
    private let secret: UInt64

    /// An empty table. Packets of more than `wholeLimitOctets` are not put together: what a buffer holds with room to
    /// spare for ESP. `secret` decides who shares a set with whom.
    init(ticksPerSecond: UInt64, wholeLimitOctets: Int, secret: UInt64) {
        losses = MbufList(capacity: FragmentTable.bufferLimit + 1)
        merged = MbufList(capacity: FragmentTable.fragmentLimit)
        datagrams = FixedArray(repeating: Datagram(), count: FragmentTable.datagramLimit)
        fragments = FixedArray(unfilled: FragmentTable.datagramLimit * FragmentTable.fragmentLimit)
        setHeld = FixedArray(repeating: 0, count: FragmentTable.setCount)
        timeLimit = ticksPerSecond * FragmentTable.timeLimitSeconds
        self.wholeLimitOctets = wholeLimitOctets
        self.secret = secret
    }

    /// Takes a packet; padding behind it goes. One that is not well formed is refused. `now` never goes back.
    mutating func take(_ mbuf: Mbuf, now: UInt64) -> Outcome {
        guard let piece = FragmentPiece(mbuf.bytes), piece.wholeOctets <= wholeLimitOctets else {
            return refuse(mbuf)
        }
        guard piece.isPart else {
            mbuf.setPacket(offset: mbuf.offset, length: piece.start + piece.length)
            // RFC 6946: an atomic fragment has nothing to do with others of its identification.
            if piece.hasFragmentHeader { FragmentTable.removeFragmentHeader(mbuf, payloadOctets: piece.length) }
            return .whole(mbuf, merged: 0)
        }
        let index = place(piece.key, now: now)
        guard datagrams[index].state == .gathering else { return refuse(mbuf) }
        return insert(piece, mbuf, at: index)
    }

    /// Gives up what has waited too long. The worker calls it when it keeps house.
    mutating func expire(now: UInt64) {
        guard held > 0 else { return }
        for index in 0..<datagrams.count where isOver(index, now: now) { giveUp(index, leaving: .free) }
    }

    /// Gives up everything: at the end.
    mutating func giveUpAll() { for index in 0..<datagrams.count { giveUp(index, leaving: .free) } }

    private mutating func refuse(_ mbuf: Mbuf) -> Outcome {
        losses.append(mbuf)
        return .refused
    }

    private func isOver(_ index: Int, now: UInt64) -> Bool {
        datagrams[index].state != .free && now >= datagrams[index].startedAt &+ timeLimit
    }

    // MARK: - Finding a datagram

    private func set(of key: FragmentPiece.Key) -> Int {
        var mixed = UInt64(truncatingIfNeeded: key.source >> 64) &* 0x9e37_79b9_7f4a_7c15
        mixed = (mixed ^ UInt64(truncatingIfNeeded: key.source) ^ secret) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 29) &* 0x94d0_49bb_1331_11eb
        return Int(truncatingIfNeeded: mixed >> 32) & (FragmentTable.setCount &- 1)
    }

    /// The datagram of this key: the one that is there, or a fresh one in a free place or in that of its set's oldest.
    private mutating func place(_ key: FragmentPiece.Key, now: UInt64) -> Int {
        let first = set(of: key) * FragmentTable.setDatagrams
        var best = first
        for index in first..<first + FragmentTable.setDatagrams {
            if isOver(index, now: now) { giveUp(index, leaving: .free) }
            if datagrams[index].state != .free && datagrams[index].key == key { return index }
            if isSooner(index, than: best) { best = index }
        }
        giveUp(best, leaving: .free)
        datagrams[best] = Datagram(key: key, startedAt: now, state: .gathering)
        return best
    }

    /// Whether one place is to be taken rather than another: free before taken, old before young.
    private func isSooner(_ index: Int, than other: Int) -> Bool {
        if datagrams[index].state == .free || datagrams[other].state == .free {
            return datagrams[other].state != .free
        }
        return datagrams[index].startedAt < datagrams[other].startedAt
    }

    /// Moves a datagram's buffers to `losses`.
    private mutating func giveUp(_ index: Int, leaving state: State) {
        for number in 0..<datagrams[index].count {
            losses.append(fragments[index * FragmentTable.fragmentLimit + number].mbuf)
        }
        release(index, leaving: state)
    }

    private mutating func release(_ index: Int, leaving state: State) {
        let count = datagrams[index].count
        held -= count
        setHeld[index / FragmentTable.setDatagrams] -= count
        datagrams[index].count = 0
        datagrams[index].state = state
    }

    // MARK: - Putting a fragment in

    private mutating func insert(_ piece: FragmentPiece, _ mbuf: Mbuf, at index: Int) -> Outcome {
        let base = index * FragmentTable.fragmentLimit
        let fragment = Fragment(
            mbuf: mbuf, payload: UInt16(mbuf.offset + piece.start), offset: UInt16(piece.offset),
            length: UInt16(piece.length))
        var datagram = datagrams[index]
        // Fragments are kept in order; most come in it, so the search is from the end.
        var number = datagram.count
        while number > 0 && fragments[base + number - 1].offset > fragment.offset { number -= 1 }
        if number > 0 {
            let before = fragments[base + number - 1]
            if before.offset == fragment.offset && before.length == fragment.length
                && piece.isLast == (before.end == datagram.total)
                && FragmentTable.haveSamePayload(before, fragment)
            {
                // RFC 8200 4.5: an exact duplicate, and only that, goes alone.
                return refuse(mbuf)
            }
            guard before.end <= piece.offset else { return spoil(index, with: mbuf) }
        }
        let isBeforeNext = number == datagram.count || piece.end <= Int(fragments[base + number].offset)
        guard isBeforeNext, datagram.count < FragmentTable.fragmentLimit else { return spoil(index, with: mbuf) }
        // One end, and nothing beyond it.
        if piece.isLast {
            guard datagram.total < 0, number == datagram.count else { return spoil(index, with: mbuf) }
            datagram.total = piece.end
        } else {
            guard datagram.total < 0 || piece.end < datagram.total else { return spoil(index, with: mbuf) }
        }
        makeRoom(for: index)
        var last = datagram.count
        while last > number {
            fragments[base + last] = fragments[base + last - 1]
            last -= 1
        }
        fragments[base + number] = fragment
        datagram.count += 1
        datagram.gathered += piece.length
        datagram.marks |= 1 << piece.mark
        datagrams[index] = datagram
        held += 1
        setHeld[index / FragmentTable.setDatagrams] += 1
        return datagram.gathered == datagram.total ? join(index, latest: mbuf) : .held
    }

    // RFC 5722 4: nothing of a datagram with overlaps is used, nor what comes later.
    private mutating func spoil(_ index: Int, with mbuf: Mbuf) -> Outcome {
        giveUp(index, leaving: .spoilt)
        return refuse(mbuf)
    }

    private static func haveSamePayload(_ one: Fragment, _ other: Fragment) -> Bool {
        let left = one.mbuf.buffer.dropFirst(Int(one.payload)), right = other.mbuf.buffer.dropFirst(Int(other.payload))
        for offset in 0..<Int(one.length) where left.uint8(at: offset) != right.uint8(at: offset) { return false }
        return true
    }

    /// A set holds its share of the buffers: its oldest other datagram makes room.
    private mutating func makeRoom(for index: Int) {
        let set = index / FragmentTable.setDatagrams
        guard setHeld[set] == FragmentTable.setBuffers else { return }
        var oldest: Int?
        let first = set * FragmentTable.setDatagrams
        for other in first..<first + FragmentTable.setDatagrams where other != index && datagrams[other].count > 0 {
            if oldest.map({ datagrams[other].startedAt < datagrams[$0].startedAt }) ?? true { oldest = other }
        }
        // There is one: a datagram holds less than a set does.
        if let oldest { giveUp(oldest, leaving: .free) }
    }

    // MARK: - The whole

    /// Writes all payloads behind the first's and makes its header that of the whole.
    private mutating func join(_ index: Int, latest: Mbuf) -> Outcome {
        let base = index * FragmentTable.fragmentLimit
        let datagram = datagrams[index], first = fragments[base]
        let buffer = first.mbuf.buffer
        let isIPv6 = datagram.key.family == 6
        let header = Int(first.payload) - first.mbuf.offset - (isIPv6 ? IPv6Upper.fragmentHeaderOctets : 0)
        let fits = header + datagram.total <= wholeLimitOctets && Int(first.payload) + datagram.total <= buffer.count
        let lengthHolds = header + datagram.total - (isIPv6 ? IPv6Header.octets : 0) <= 0xffff
        // RFC 3168 5.3: marked and not capable of marks, in one packet, is nobody's doing but a liar's.
        let isMarked = datagram.marks & 0b1000 != 0
        guard fits, lengthHolds, !(isMarked && datagram.marks & 0b0001 != 0) else {
            giveUp(index, leaving: .spoilt)
            return .refused
        }
        for number in 1..<datagram.count {
            let part = fragments[base + number]
            buffer.copy(
                part.mbuf.buffer.dropFirst(Int(part.payload)), count: Int(part.length),
                to: Int(first.payload) + Int(part.offset))
            merged.append(part.mbuf)
        }
        // It leaves when the last part came: captures are in order of time.
        first.mbuf.timestamp = latest.timestamp
        if isIPv6 {
            FragmentTable.removeFragmentHeader(first.mbuf, payloadOctets: datagram.total)
            if isMarked { IPv6Header(first.mbuf.bytes)?.setECN(3) }
        } else {
            first.mbuf.setPacket(offset: first.mbuf.offset, length: header + datagram.total)
            FragmentTable.finishIPv4(first.mbuf.bytes, headerOctets: header, isMarked: isMarked)
        }
        release(index, leaving: .free)
        merged.freeAll()
        return .whole(first.mbuf, merged: datagram.count - 1)
    }

    private static func finishIPv4(_ packet: PacketBytes, headerOctets: Int, isMarked: Bool) {
        packet.store(UInt16(truncatingIfNeeded: packet.count), at: IPv4Header.Offset.totalLength)
        packet.store(UInt16(0), at: IPv4Header.Offset.fragment)
        if isMarked { packet.store(packet.uint8(at: 1) | 3, at: IPv4Header.Offset.typeOfService) }
        packet.store(UInt16(0), at: IPv4Header.Offset.checksum)
        packet.store(word: ~InternetChecksum.sum(packet.prefix(headerOctets)), at: IPv4Header.Offset.checksum)
    }

    /// Takes the fragment header out of a first or atomic fragment whose whole payload, of so many octets, is behind
    /// it: what is in front moves up, which is shorter than what is behind.
    private static func removeFragmentHeader(_ mbuf: Mbuf, payloadOctets: Int) {
        let packet = mbuf.bytes
        guard let upper = IPv6Header(packet)?.walk(), upper.hasFragmentHeader else {
            preconditionFailure("a fragment was taken without its header")
        }
        let header = upper.fragmentHeaderOffset, removed = IPv6Upper.fragmentHeaderOctets
        packet.store(packet.uint8(at: header), at: upper.fragmentNextHeaderOffset)
        packet.store(
            UInt16(truncatingIfNeeded: header - IPv6Header.octets + payloadOctets), at: IPv6Header.Offset.payloadLength)
        packet.copy(packet, count: header, to: removed)
        mbuf.setPacket(offset: mbuf.offset + removed, length: header + payloadOctets)
    }
}
