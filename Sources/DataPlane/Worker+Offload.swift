// Packets whose cryptography a NIC does. On the way out the header pass is the same, the crypto pass leaves them alone,
// and the driver is told which SA they are for; on the way in the NIC's verdict decides what is left to do.
//
// Never clear text on the wire: a packet that waits for an engine has its payload in clear, so it goes to the port's
// own queue and nowhere else, and what can't be sent from there is dropped for `offload_failed`.

import CDPDK
import ESP
import IPsec
import Wire

/// What is left to do for a packet that came in, where devices may have SAs.
enum DeviceVerdict {
    /// All.
    case software
    /// What takes no key.
    case opened
    /// Nothing: it has been dealt with.
    case refused
}

extension Worker {
    /// How the NIC knows the SA of packets that are about to be protected, whatever they are; 0: each is to be asked
    /// about.
    ///
    /// The engine does plain headers only (docs/IXGBE-MODEL.md has where that is from).
    @inline(__always)
    mutating func deviceHandle(_ tunnel: TunnelEntry, _ association: OutboundAssociationReference) -> UInt64 {
        let handle = association.with { $0.deviceHandle.load(ordering: .acquiring) }
        let isPlain = handle != 0 && !tunnel.flags.contains(.isTransport)
        return isPlain && mayGoInline(Int(handle >> 48) &- 1, Int(tunnel.nextHop)) ? handle : 0
    }

    /// The same for one packet; 0: software does it. Why so is counted.
    mutating func deviceHandle(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference
    ) -> UInt64 {
        let handle = deviceHandle(tunnel, association)
        return handle != 0 ? handle : handleUnlessHindered(slot, tunnel, association)
    }

    @inline(__always)
    private mutating func mayGoInline(_ port: Int, _ hop: Int) -> Bool {
        port < ports.count && ports[port].sendsInline && Int(neighbors.entries[hop].port) == port
            && neighbors.entries[hop].isUsable
    }

    /// What is not the common case: transport mode, or something in the way.
    @inline(never)
    mutating func handleUnlessHindered(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference
    ) -> UInt64 {
        let handle = association.with { $0.deviceHandle.load(ordering: .acquiring) }
        guard handle != 0 else {
            association.with { $0.fallbacks.countStanding() }
            return 0
        }
        if CoprocessorHandle.isOne(handle) { return crossingHandle(association, handle) }
        let port = Int(handle >> 48) &- 1, hop = Int(tunnel.nextHop)
        let reason: FallbackReason?
        if !ports[port].sendsInline {
            reason = .reprogramming
        } else if Int(neighbors.entries[hop].port) != port {
            reason = .otherPort
        } else if !neighbors.entries[hop].isUsable {
            reason = .neighborUnresolved
        } else {
            reason = Worker.hindrance(slot)
        }
        guard let reason else { return handle }
        association.with { $0.fallbacks.count(reason) }
        return 0
    }

    /// What of a packet's own headers, which transport mode keeps in front, the engine does not look behind.
    private static func hindrance(_ slot: PacketSlot) -> FallbackReason? {
        if slot.isIPv6 { return slot.ip.uint8(at: 6) == 0 || isExtension(slot.ip.uint8(at: 6)) ? .ipv6Extension : nil }
        return slot.ip.uint8(at: 0) & 0x0f == 5 ? nil : .ipv4Options
    }

    /// RFC 8200 section 4.1: what stands before ESP.
    private static func isExtension(_ nextHeader: UInt8) -> Bool {
        [IPProtocol.hopByHop, IPProtocol.routing, IPProtocol.fragment, IPProtocol.destinationOptions].contains(
            nextHeader)
    }

    /// Tells the driver which SA the packets from `first` on are for that follow each other under one, and gives them
    /// to their port: what is the same for all of them is asked once. Returns where the next one is. `way` is as for
    /// `transmit`.
    @inline(never)
    mutating func transmitInline(from first: Int, _ way: inout Way) -> Int {
        let sending = self.sending.unownedView
        let handle = sending[first].handle, hop = sending[first].nextHop
        if way.neighbor != Int(hop) || way.changes != neighbors.changes { way = self.way(to: Int(hop)) }
        let port = way.port, headerFirst = way.headerFirst, headerLast = way.headerLast
        let isOpen = way.isOpen && ports[port].sendsInline && Int(handle >> 48) == port &+ 1
        let mark = EngineMark(engine: ports[port].engine, handle: handle, isIPv6: way.isIPv6)
        guard isOpen else {
            transmitInline(first)
            return first &+ 1
        }
        let room = queues[port].room
        let end = min(outbound.count, first &+ room.count)
        var index = first, octets = 0
        while index < end, sending[index].handle == handle, sending[index].nextHop == hop,
            outbound[index].failure == nil, outbound[index].offset >= EthernetHeader.octets
        {
            let mbuf = sending[index].mbuf
            let frame = mbuf.setFrame(around: outbound[index].length, at: outbound[index].offset)
            frame.store(headerFirst, at: 0)
            frame.store(headerLast, at: 6)
            room.put(mbuf, at: index &- first)
            octets &+= outbound[index].length &+ EthernetHeader.octets
            index &+= 1
        }
        // All at once: a call for each packet was 25 instructions of its own, most of them to keep registers over it.
        // Only what the driver took is in the queue then, so that nothing else can leave in clear.
        let taken = mark.put(on: room, index &- first)
        guard taken > 0 else {
            transmitInline(first)
            return first &+ 1
        }
        while index > first &+ taken {
            index &-= 1
            octets &-= outbound[index].length &+ EthernetHeader.octets
        }
        queues[port].extend(by: taken)
        queues.octets[port] &+= octets
        outbound[first].reference.with { $0.fallbacks.countOffloaded(taken) }
        return index
    }

    /// The same for a packet that has to wait, is tagged, has lost its way or is refused by the driver; or gives it to
    /// a coprocessor.
    @inline(never)
    private mutating func transmitInline(_ number: Int) {
        let mbuf = sending[number].mbuf, handle = sending[number].handle
        if CoprocessorHandle.isOne(handle) { return crossOutbound(number) }
        let port = Int(handle >> 48) &- 1, hop = Int(sending[number].nextHop)
        mbuf.setPacket(offset: outbound[number].offset, length: outbound[number].length)
        let isIPv6 = mbuf.bytes.uint8(at: 0) >> 4 == 6
        // Looked at again: nothing may come between, and if something did, clear text would leave or wait elsewhere.
        guard Int(neighbors.entries[hop].port) == port, neighbors.entries[hop].isUsable, ports[port].sendsInline,
            EngineMark(engine: ports[port].engine, handle: handle, isIPv6: isIPv6).put(on: mbuf)
        else { return drop(mbuf, .offloadFailed) }
        outbound[number].reference.with { $0.fallbacks.countOffloaded(1) }
        transmit(mbuf, neighbor: hop)
    }

    /// What the NIC says of a packet for an SA that it was given. One of an SA that a coprocessor has goes there.
    ///
    /// Its word counts only where the SA is known to be in this very port. What it calls wrong is looked at by
    /// software: anyone can send such packets, and an engine that errs must not lose any.
    @inline(__always)
    mutating func judge(
        _ mbuf: Mbuf, _ slot: SADSlot, _ association: InboundAssociationReference, start: Int, _ port: Int
    ) -> DeviceVerdict {
        let handle = association.with { $0.deviceHandle.load(ordering: .acquiring) }
        guard mbuf.isOpened, Int(handle >> 48) == port &+ 1, ports[port].engine != 0 else {
            return judgeOther(mbuf, slot, association, start: start, port)
        }
        association.with { $0.fallbacks.countOffloaded(1) }
        return .opened
    }

    /// The same for one that the port's NIC has not opened, or should not have.
    @inline(never)
    private mutating func judgeOther(
        _ mbuf: Mbuf, _ slot: SADSlot, _ association: InboundAssociationReference, start: Int, _ port: Int
    ) -> DeviceVerdict {
        let handle = association.with { $0.deviceHandle.load(ordering: .acquiring) }
        guard port < ports.count, ports[port].engine != 0 else {
            return CoprocessorHandle.isOne(handle)
                ? crossInbound(mbuf, association, handle, start: start, port) : .software
        }
        let place = Int(handle >> 48)
        guard !mbuf.isOpened else {
            drop(mbuf, .offloadFailed)
            return .refused
        }
        if mbuf.hasFailed {
            deviceFailures &+= 1
            block.add(1, to: .deviceFailed, port: port)
        }
        if CoprocessorHandle.isOne(handle) { return crossInbound(mbuf, association, handle, start: start, port) }
        guard tunnels[Int(slot.tunnel)].flags.contains(.offloadsInbound) else { return .software }
        association.with { association in
            if place == port &+ 1 {
                association.fallbacks.count(mbuf.hasFailed ? .deviceFailed : .notProcessed)
            } else if place == 0 {
                association.fallbacks.countStanding()
            } else {
                association.fallbacks.count(.otherPort)
            }
        }
        return .software
    }

    /// Counts the packets of the inbound burst that a NIC called wrong and software found right.
    @inline(never)
    mutating func judgeDevice() {
        deviceFailures = 0
        var index = 0
        while index < inbound.count {
            let packet = inbound[index], frame = received[packet.tag]
            let isRight = packet.failure == nil || packet.failure == .ahead
            if isRight && !packet.isOpened && frame.mbuf.hasFailed {
                block.add(1, to: .deviceErred, port: Int(frame.port))
            }
            index &+= 1
        }
    }

    /// Goes by other gates from now on.
    @inline(never)
    mutating func adoptGates() {
        let positions = OffloadGates.Positions(gates)
        gatesVersion = positions.version
        if coprocessors.count > 0 { adoptCoprocessors(positions) }
        for port in 0..<ports.count {
            ports[port].sendsInline = ports[port].engine != 0 && positions.sendsInline(port)
            ports[port].isPaused = positions.isPaused(port)
            if positions.purges(port) { purge(port) }
        }
        isDraining = true
    }

    /// What waits in a port's queue for an engine that has lost its SA.
    private mutating func purge(_ port: Int) {
        var index = 0, kept = 0
        let count = queues[port].count
        while index < count {
            let mbuf = queues[port][index]
            if mbuf.wantsEncryption {
                drop(mbuf, .offloadFailed)
            } else {
                queues[port].keep(mbuf, at: kept)
                kept &+= 1
            }
            index &+= 1
        }
        queues[port].truncate(to: kept)
        queues.octets[port] = octetsLeft(port)
    }

    /// Tells when nothing is left that was begun under other gates. Each round until then.
    @inline(never)
    mutating func tellDrained() {
        var waiting = coprocessors.count > 0 ? stragglers() : 0
        for port in 0..<ports.count where !ports[port].sendsInline {
            for index in 0..<queues[port].count where queues[port][index].wantsEncryption { waiting &+= 1 }
        }
        guard waiting == 0 else { return }
        isDraining = false
        block.passed(gates: gatesVersion)
    }
}

extension Mbuf {
    /// Whether the device it came in by has verified and decrypted it.
    @inline(__always)
    var isOpened: Bool { unsafe cdpdk_mbuf_is_opened(pointer) }

    /// Whether that device says that it is wrong.
    @inline(__always)
    var hasFailed: Bool { unsafe cdpdk_mbuf_has_failed(pointer) }

    /// Whether a device is to encrypt it when it is sent: until then its payload is clear.
    @inline(__always)
    public var wantsEncryption: Bool { unsafe cdpdk_mbuf_wants_encryption(pointer) }
}

/// What tells a driver that its engine is to encrypt a packet under an SA.
@safe
struct EngineMark: BitwiseCopyable {
    private let engine: UnsafeMutableRawPointer?
    private let session: UnsafeMutableRawPointer?
    private let words: cdpdk_mark

    /// Of the engine at this address and the SA that it knows by `handle`.
    init(engine: UInt, handle: UInt64, isIPv6: Bool) {
        unsafe self.engine = UnsafeMutableRawPointer(bitPattern: engine)
        unsafe session = UnsafeMutableRawPointer(bitPattern: UInt(handle & 0xffff_ffff_ffff))
        words = cdpdk_mark_make(UInt16(isIPv6 ? IPv6Header.octets : IPv4Header.minimumOctets), isIPv6)
    }

    /// Makes the engine encrypt the packet, which is ESP whole but for ciphertext and ICV; false when the driver
    /// refuses.
    @inline(__always)
    func put(on mbuf: Mbuf) -> Bool {
        unsafe engine != nil && session != nil && cdpdk_session_mark(engine, session, mbuf.pointer, words) == 0
    }

    /// The same for the first `count` of those that are about to be queued; returns how many of them the driver took,
    /// from the first on.
    @inline(__always)
    func put(on room: MbufRoom, _ count: Int) -> Int {
        guard unsafe engine != nil && session != nil else { return 0 }
        return unsafe Int(
            cdpdk_session_mark_all(
                engine, session, room.unsafeStart(count), UInt32(truncatingIfNeeded: count), words))
    }
}
