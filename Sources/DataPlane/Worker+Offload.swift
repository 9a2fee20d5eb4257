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
    /// How the NIC knows the SA of a packet that is about to be protected; 0: software does it. Why so is counted.
    ///
    /// The engine does plain headers only (docs/IXGBE-MODEL.md has where that is from).
    @inline(__always)
    mutating func deviceHandle(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference
    ) -> UInt64 {
        let handle = association.with { $0.deviceHandle.load(ordering: .acquiring) }
        let hop = Int(tunnel.nextHop)
        guard handle != 0, mayGoInline(Int(handle >> 48) &- 1, hop), !tunnel.flags.contains(.isTransport) else {
            return handleUnlessHindered(slot, tunnel, association, handle)
        }
        return handle
    }

    @inline(__always)
    private mutating func mayGoInline(_ port: Int, _ hop: Int) -> Bool {
        port < ports.count && ports[port].sendsInline && Int(neighbors.entries[hop].port) == port
            && neighbors.entries[hop].isUsable
    }

    /// What is not the common case: transport mode, or something in the way.
    @inline(never)
    private mutating func handleUnlessHindered(
        _ slot: PacketSlot, _ tunnel: TunnelEntry, _ association: OutboundAssociationReference, _ handle: UInt64
    ) -> UInt64 {
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

    /// Tells the driver which SA a packet is for, and gives it to its port; or gives it to a coprocessor.
    @inline(never)
    mutating func transmitInline(_ number: Int) {
        let mbuf = sending[number].mbuf, handle = handles[number]
        if CoprocessorHandle.isOne(handle) { return crossOutbound(number) }
        let port = Int(handle >> 48) &- 1, hop = Int(sending[number].nextHop)
        mbuf.setPacket(offset: outbound[number].offset, length: outbound[number].length)
        let isIPv6 = mbuf.bytes.uint8(at: 0) >> 4 == 6
        // Looked at again: nothing may come between, and if something did, clear text would leave or wait elsewhere.
        guard Int(neighbors.entries[hop].port) == port, neighbors.entries[hop].isUsable, ports[port].sendsInline,
            mbuf.mark(engine: ports[port].engine, handle: handle, isIPv6: isIPv6)
        else { return drop(mbuf, .offloadFailed) }
        outbound[number].reference.with { $0.fallbacks.countOffloaded() }
        transmit(mbuf, neighbor: hop)
    }

    /// What the NIC says of a packet for an SA that it was given. One of an SA that a coprocessor has goes there.
    ///
    /// Its word counts only where the SA is known to be in this very port. What it calls wrong is looked at by
    /// software: anyone can send such packets, and an engine that errs must not lose any.
    @inline(never)
    mutating func judge(
        _ mbuf: Mbuf, _ slot: SADSlot, _ association: InboundAssociationReference, start: Int, _ port: Int
    ) -> DeviceVerdict {
        let handle = association.with { $0.deviceHandle.load(ordering: .acquiring) }
        guard port < ports.count, ports[port].engine != 0 else {
            return CoprocessorHandle.isOne(handle)
                ? crossInbound(mbuf, association, handle, start: start, port) : .software
        }
        let place = Int(handle >> 48)
        let isHere = place == port &+ 1
        if mbuf.isOpened {
            guard isHere else {
                drop(mbuf, .offloadFailed)
                return .refused
            }
            association.with { $0.fallbacks.countOffloaded() }
            return .opened
        }
        if mbuf.hasFailed {
            deviceFailures &+= 1
            block.add(1, to: .deviceFailed, port: port)
        }
        if CoprocessorHandle.isOne(handle) { return crossInbound(mbuf, association, handle, start: start, port) }
        guard tunnels[Int(slot.tunnel)].flags.contains(.offloadsInbound) else { return .software }
        association.with { association in
            if isHere {
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

    /// Makes the engine at this address encrypt it; it holds an IP packet, ESP whole but for ciphertext and ICV.
    @inline(__always)
    func mark(engine: UInt, handle: UInt64, isIPv6: Bool) -> Bool {
        guard let context = unsafe UnsafeMutableRawPointer(bitPattern: engine),
            let session = unsafe UnsafeMutableRawPointer(bitPattern: UInt(handle & 0xffff_ffff_ffff))
        else { return false }
        let header = isIPv6 ? UInt16(IPv6Header.octets) : UInt16(IPv4Header.minimumOctets)
        return unsafe cdpdk_session_mark(context, session, pointer, header, isIPv6) == 0
    }
}
