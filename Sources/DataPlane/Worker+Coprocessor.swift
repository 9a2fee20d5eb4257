// Packets whose cryptography a coprocessor does, beside their way: they leave it here and come back in a later round.
//
//   outbound   header pass; [device encrypts]; next hop
//   inbound    SA found, first look at the window; [device verifies and decrypts]; SA found again, window, trailer
//
// An SA's packets go one way or the other, never both at once: before a device is not used any more, and before the
// tables change, all that is under way is fetched. So nothing is overtaken, and no index goes stale.
//
// Each packet that is under way counts in `crossing` until it has gone on or was dropped.

import CDPDK
import ESP
import IPsec
import Wire

/// A worker's way to a coprocessor.
@safe
struct CoprocessorLane: BitwiseCopyable {
    let pointer: OpaquePointer
    /// Whether packets may be left to it.
    var isOpen = false
    /// Whether nothing came back for a while: it is not used any more.
    var isStuck = false
    /// Packets that it has, or is to be given.
    var inFlight = 0
    /// When one came back last, or the first was given to it, in ticks.
    var since: UInt64 = 0

    init(_ pointer: OpaquePointer) { unsafe self.pointer = unsafe pointer }
}

/// A packet that a coprocessor has decrypted.
struct OpenedCrossing: BitwiseCopyable {
    var mbuf: Mbuf
    /// How its SA was known to the device.
    var handle: UInt64
    /// Where ESP begins in it.
    var start: UInt32
    /// Index of the port that it came in by.
    var port: UInt16
}

/// Those that wait for the end of a pass, oldest first, in a ring.
struct OpenedList: ~Copyable {
    private let ring = FixedArray<OpenedCrossing>(unfilled: Worker.crossingLimit)
    private var first = 0
    private(set) var count = 0

    /// There must be room.
    mutating func append(_ packet: OpenedCrossing) {
        precondition(count < Worker.crossingLimit)
        ring[(first &+ count) & (Worker.crossingLimit - 1)] = packet
        count &+= 1
    }

    mutating func removeFirst() -> OpenedCrossing {
        precondition(count > 0)
        let packet = ring[first]
        first = (first &+ 1) & (Worker.crossingLimit - 1)
        count &-= 1
        return packet
    }
}

extension Worker {
    /// Packets that coprocessors have of a worker at once, all together; a power of two.
    static let crossingLimit = 512
    /// Looks in vain before one gives up waiting for a device with something to do: some milliseconds.
    private static let patience = 100_000
    /// The same in the middle of a pass: some tens of microseconds, at most once a round.
    private static let shortPatience = 1000

    static func lanes(_ plan: WorkerPlan) -> [CoprocessorLane] {
        plan.coprocessors.map { $0.lanes[plan.index] }
    }

    // MARK: There

    /// How a coprocessor knows the SA of a packet that is about to be protected; 0: software does it.
    @inline(never)
    mutating func crossingHandle(_ association: OutboundAssociationReference, _ handle: UInt64) -> UInt64 {
        let lane = coprocessors[CoprocessorHandle.device(handle)]
        if lane.isOpen { return handle }
        association.with { $0.fallbacks.count(lane.isStuck ? .unhealthy : .reprogramming) }
        return 0
    }

    /// Gives a packet of the outbound burst, whole but for ciphertext and ICV, to its coprocessor.
    @inline(never)
    mutating func crossOutbound(_ number: Int) {
        let mbuf = sending[number].mbuf, handle = sending[number].handle
        mbuf.setPacket(offset: outbound[number].offset, length: outbound[number].length)
        guard let start = Worker.start(of: mbuf.bytes),
            cross(mbuf, handle, start: start, tag: sending[number].nextHop, isOutbound: true)
        else { return drop(mbuf, .cryptoError) }
        outbound[number].reference.with { $0.fallbacks.countOffloaded(1) }
    }

    /// Where ESP begins in a packet of our own making.
    private static func start(of ip: PacketBytes) -> Int? {
        if ip.uint8(at: 0) >> 4 == 4 { return Int(ip.uint8(at: 0) & 0x0f) &* 4 }
        return IPv6Header(ip)?.walk()?.offset
    }

    /// Gives a packet that came in to its coprocessor. What the first look refuses is left to the burst, which refuses
    /// it before any cryptography (RFC 4303 3.4.3).
    @inline(never)
    mutating func crossInbound(
        _ mbuf: Mbuf, _ association: InboundAssociationReference, _ handle: UInt64, start: Int, _ port: Int
    ) -> DeviceVerdict {
        let lane = coprocessors[CoprocessorHandle.device(handle)]
        guard lane.isOpen else {
            association.with { $0.fallbacks.count(lane.isStuck ? .unhealthy : .reprogramming) }
            return .software
        }
        guard let esp = ESPHeader(mbuf.bytes.dropFirst(start)), esp.sequenceNumber != 0,
            association.with({ $0.window.check(UInt64(esp.sequenceNumber)) == nil })
        else { return .software }
        if cross(mbuf, handle, start: start, tag: UInt32(truncatingIfNeeded: port), isOutbound: false) {
            association.with { $0.fallbacks.countOffloaded(1) }
        } else {
            drop(mbuf, .cryptoError)
        }
        return .refused
    }

    /// False when there is no room, even after waiting a moment.
    private mutating func cross(_ mbuf: Mbuf, _ handle: UInt64, start: Int, tag: UInt32, isOutbound: Bool) -> Bool {
        let device = CoprocessorHandle.device(handle)
        let text = mbuf.length &- start &- ESPHeader.headerOctets &- ESPHeader.ivOctets &- ESPHeader.icvOctets
        guard coprocessors[device].isOpen, text > 0, crossing < Worker.crossingLimit || makeRoom() else { return false }
        var packet = unsafe cdpdk_crossing()
        unsafe packet.buffer = unsafe mbuf.pointer
        unsafe packet.handle = handle
        unsafe packet.tag = tag
        unsafe packet.epoch = crossingEpoch
        unsafe packet.start = UInt16(truncatingIfNeeded: start)
        unsafe packet.text_octets = UInt16(truncatingIfNeeded: text)
        unsafe packet.is_outbound = isOutbound ? 1 : 0
        guard unsafe cdpdk_lane_add(coprocessors[device].pointer, &packet) else { return false }
        if coprocessors[device].inFlight == 0 { coprocessors[device].since = now }
        coprocessors[device].inFlight &+= 1
        crossing &+= 1
        return true
    }

    /// In the middle of a pass, with as many under way as there may be: fetches some.
    private mutating func makeRoom() -> Bool {
        guard fullAt != now else { return false }
        var idle = 0
        while crossing >= Worker.crossingLimit && opened.count < Worker.crossingLimit && idle < Worker.shortPatience {
            sendCrossing()
            collectAll()
            idle &+= 1
            cdpdk_pause()
        }
        if crossing < Worker.crossingLimit { return true }
        fullAt = now
        return false
    }

    /// In the middle of a pass, before a packet that none of those before it may come behind: waits until coprocessors
    /// have nothing any more.
    @inline(never)
    mutating func fetchCrossing() {
        var idle = 0
        while isInFlight && idle < Worker.patience {
            let before = crossing &- opened.count
            sendCrossing()
            collectAll()
            idle = crossing &- opened.count < before ? 0 : idle &+ 1
            cdpdk_pause()
        }
    }

    /// Gives coprocessors what was left for them.
    @inline(never)
    mutating func sendCrossing() {
        var device = 0
        while device < coprocessors.count {
            unsafe cdpdk_lane_send(coprocessors[device].pointer)
            device &+= 1
        }
    }

    /// In the middle of a round with many under way: makes room for those to come.
    @inline(never)
    mutating func exchangeCrossing() {
        sendCrossing()
        collectCrossed()
    }

    // MARK: And back

    /// Between two passes: fetches what coprocessors have done, and passes it on.
    @inline(never)
    mutating func collectCrossed() {
        // Who has something under way does not rest.
        if isInFlight { hasWorked = true }
        collectAll()
        var device = 0
        while device < coprocessors.count {
            let lane = coprocessors[device]
            if lane.inFlight > 0 && !lane.isStuck && now &- lane.since > ticksPerSecond / 10 { giveUp(device) }
            device &+= 1
        }
        while opened.count > 0 {
            var taken = 0
            while taken < Worker.burst && opened.count > 0 {
                crossing &-= 1
                appendOpened(opened.removeFirst())
                taken &+= 1
            }
            finishPass()
        }
    }

    /// A device that does nothing any more gets nothing any more; the control plane is told.
    private mutating func giveUp(_ device: Int) {
        coprocessors[device].isStuck = true
        coprocessors[device].isOpen = false
        block.addStuck(device)
    }

    /// Fetches what there is. What was encrypted goes on at once; what was decrypted waits for the end of the pass.
    private mutating func collectAll() {
        var device = 0
        while device < coprocessors.count {
            while coprocessors[device].inFlight > 0 && collect(device) == Worker.burst {}
            device &+= 1
        }
    }

    private mutating func collect(_ device: Int) -> Int {
        var count: UInt32 = 0
        guard let packets = unsafe cdpdk_lane_collect(coprocessors[device].pointer, &count) else { return 0 }
        let taken = Int(count)
        guard taken > 0 else { return 0 }
        coprocessors[device].inFlight &-= taken
        coprocessors[device].since = now
        var index = 0
        while index < taken {
            unsafe settle(packets[index])
            index &+= 1
        }
        return taken
    }

    private mutating func settle(_ packet: cdpdk_crossing) {
        guard let buffer = unsafe packet.buffer else { preconditionFailure("nothing crosses without a packet") }
        let mbuf = unsafe Mbuf(buffer)
        let status = unsafe Int(packet.status), tag = unsafe packet.tag
        guard status == cdpdk_crossing_right else {
            crossing &-= 1
            return drop(mbuf, status == cdpdk_crossing_forged ? .integrityFailed : .cryptoError)
        }
        if unsafe packet.is_outbound == 0 {
            return unsafe opened.append(
                OpenedCrossing(
                    mbuf: mbuf, handle: packet.handle, start: UInt32(packet.start),
                    port: UInt16(truncatingIfNeeded: tag)))
        }
        crossing &-= 1
        // Of a time when neighbours had other places.
        guard unsafe packet.epoch == crossingEpoch else { return drop(mbuf, .cryptoError) }
        transmit(mbuf, neighbor: Int(tag))
    }

    /// Puts a packet that is in clear now into the inbound burst. Its SA is found anew: the tables may be others.
    private mutating func appendOpened(_ packet: OpenedCrossing) {
        let mbuf = packet.mbuf, ip = mbuf.bytes, start = Int(packet.start)
        let slot = sad.find(ip.uint32(at: start))
        guard let association = slot.association else { return drop(mbuf, .unknownSPI) }
        guard association.with({ $0.deviceHandle.load(ordering: .acquiring) }) == packet.handle else {
            return drop(mbuf, .offloadFailed)
        }
        let isIPv6 = ip.uint8(at: 0) >> 4 == 6
        received[inbound.count] = ReceivedESP(
            mbuf: mbuf, outer: UInt32(truncatingIfNeeded: mbuf.offset), spi: slot.spi, tunnel: slot.tunnel,
            port: packet.port, typeOfService: isIPv6 ? IPv6Header(ip)?.trafficClass ?? 0 : ip.uint8(at: 1),
            isAuthentication: false)
        inbound.append(packet: ip, start: start, association: association, tag: inbound.count)
        inbound.setOpened()
    }

    // MARK: Before something else

    /// Between two passes: waits until nothing is under way any more but what a device does not give back.
    @inline(never)
    mutating func finishCrossing() {
        var idle = 0
        while (isInFlight || opened.count > 0) && idle < Worker.patience {
            let before = crossing
            sendCrossing()
            collectCrossed()
            idle = crossing < before ? 0 : idle &+ 1
            cdpdk_pause()
        }
    }

    /// Whether a coprocessor that does something has a packet.
    private var isInFlight: Bool {
        mutating get {
            var device = 0
            while device < coprocessors.count {
                if coprocessors[device].inFlight > 0 && !coprocessors[device].isStuck { return true }
                device &+= 1
            }
            return false
        }
    }

    /// Before other tables: what is still under way after this can't be sent any more.
    @inline(never)
    mutating func finishCrossingForGood() {
        finishCrossing()
        if crossing > 0 { crossingEpoch &+= 1 }
    }

    /// Goes by other gates: of a device that is not to be used any more, all packets are fetched first, so that none of
    /// an SA overtakes another.
    @inline(never)
    mutating func adoptCoprocessors(_ positions: OffloadGates.Positions) {
        let isClosing = (0..<coprocessors.count).contains { coprocessors[$0].isOpen && !positions.crosses($0) }
        if isClosing { finishCrossing() }
        for device in 0..<coprocessors.count {
            coprocessors[device].isOpen = positions.crosses(device) && !coprocessors[device].isStuck
        }
    }

    /// Packets that are still with devices that are not to be used any more; those of a stuck one are not waited for.
    mutating func stragglers() -> Int {
        var count = 0
        for device in 0..<coprocessors.count where !coprocessors[device].isOpen && !coprocessors[device].isStuck {
            count += coprocessors[device].inFlight
        }
        return count
    }

    /// At the end: fetches all, and gives a reason to what does not come. Their buffers are the device's until it
    /// stops.
    mutating func endCrossing() {
        finishCrossing()
        for device in 0..<coprocessors.count { coprocessors[device].inFlight = 0 }
        for _ in 0..<crossing { block.countDrop(.cryptoError) }
        crossing = 0
    }
}
