import CDPDK
import Wire

/// A port without a device: what replay and benchmarks feed and drain. Both ends belong to the thread that polls the
/// worker.
public struct RingPort: Sendable {
    static let capacity = 1024

    /// Both its ends, for who feeds and drains it.
    public let queue: RingQueue
    /// The port as workers see it.
    public let port: StartedPort
    var rx: PacketRing { queue.rx }

    /// A port named after `description`, with one queue each way. Its MAC address is 02:00:00:00:01:00 plus its index.
    ///
    /// With `isInline` it has the engine that does nothing.
    public init(
        _ description: Topology.Port, index: Int, pool: PacketPool, name: String, isInline: Bool = false
    ) throws(DataPlaneError) {
        let rx = try PacketRing(name: "\(name)-rx-\(index)", capacity: RingPort.capacity, single: true)
        let tx = try PacketRing(name: "\(name)-tx-\(index)", capacity: RingPort.capacity, single: true)
        let number = unsafe cdpdk_port_from_rings("\(name)-\(index)", rx.pointer, tx.pointer)
        guard number >= 0 else { throw .noMemory(what: "port \(description.name)", error: number) }
        var port = try StartedPort(
            id: UInt16(number), description, workers: 1, pool: pool, mac: RingPort.mac(index: index))
        if isInline { port.engineAddress = IdleEngine.address }
        self.port = port
        queue = RingQueue(rx: rx, tx: tx, port: port.id)
    }

    /// A locally administered address that is the same in every run.
    public static func mac(index: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0000_0100 + UInt64(index)) }

    /// Puts frames where the worker receives them; keeps those that find no place.
    public func feed(_ frames: inout MbufList) -> Int { queue.feed(&frames) }

    /// Takes what the worker sent, up to the list's capacity.
    public func collect(into frames: inout MbufList) { queue.collect(into: &frames) }

    /// Closes it. Its rings must be empty.
    public func close() {
        port.close()
        queue.rx.destroy()
        queue.tx.destroy()
    }
}

/// What a worker receives from and sends to on a port without a device.
public struct RingQueue: BitwiseCopyable, Sendable {
    let rx: PacketRing
    let tx: PacketRing
    /// DPDK's number of the port.
    public let port: UInt16

    /// Puts frames where the worker receives them; keeps those that find no place.
    public func feed(_ frames: inout MbufList) -> Int { frames.enqueue(rx) }

    /// Takes what the worker sent, up to the list's capacity.
    public func collect(into frames: inout MbufList) { frames.dequeue(tx, limit: frames.capacity) }

    /// Receives a burst and sends it at once, with no worker between: what a benchmark's feed itself costs.
    public func passThrough(_ frames: inout MbufList) {
        frames.receive(port: port, queue: 0, limit: frames.capacity)
        _ = frames.transmit(port: port, queue: 0)
    }
}

extension WorkerPlan {
    /// Has the worker use ports without devices of its own in place of the group's, in the same order: their driver
    /// counts what its queues do side by side in memory, which no NIC's driver makes workers wait for.
    public mutating func use(_ ports: [RingPort]) {
        precondition(ports.count == self.ports.count)
        for (index, port) in ports.enumerated() {
            self.ports[index].id = port.port.id
            (self.ports[index].rxQueue, self.ports[index].txQueue) = (0, 0)
        }
    }
}

extension Mbuf {
    /// Fills a fresh buffer with a frame that "came in" by `port`; false, and nothing done, when the frame has no room.
    public func fill(with frame: PacketBytes, port: StartedPort, timestamp: UInt64) -> Bool {
        guard offset + frame.count <= buffer.count else { return false }
        setPacket(offset: offset, length: frame.count)
        bytes.copy(frame, count: frame.count, to: 0)
        self.port = port.id
        self.timestamp = timestamp
        return true
    }

    /// Fills a fresh buffer with an IP packet behind an Ethernet header from the placeholder address to `port`; false,
    /// and nothing done, when it has no room.
    public func fill(withPacket packet: PacketBytes, port: StartedPort, timestamp: UInt64) -> Bool {
        let length = EthernetHeader.octets + packet.count
        guard offset + length <= buffer.count else { return false }
        setPacket(offset: offset, length: length)
        let isIPv6 = packet.count > 0 && packet.uint8(at: 0) >> 4 == 6
        EthernetHeader(bytes)?.emit(
            destination: port.mac, source: .placeholder, etherType: isIPv6 ? EtherType.ipv6 : EtherType.ipv4)
        bytes.copy(packet, count: packet.count, to: EthernetHeader.octets)
        self.port = port.id
        self.timestamp = timestamp
        return true
    }

    /// Fills a fresh buffer with a frame in two parts, for feeds whose cost counts. Traps when it has no room.
    @inline(__always)
    public func fill(head: PacketBytes, payload: PacketBytes, port: UInt16) {
        setPacket(offset: offset, length: head.count &+ payload.count)
        bytes.copy(head, count: head.count, to: 0)
        bytes.copy(payload, count: payload.count, to: head.count)
        self.port = port
    }
}
