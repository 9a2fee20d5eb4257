import IPsec
import SeededRandom
import Wire

@testable import ESP

/// What became of a packet.
enum Verdict: Equatable {
    case passed([UInt8])
    case dropped(DropReason)

    var octets: [UInt8] {
        if case .passed(let octets) = self { octets } else { [] }
    }
}

/// Packet buffers of 2048 octets, as a port's memory pool has them.
@safe
final class BufferPool {
    static let octets = 2048
    private let memory: UnsafeMutableRawBufferPointer

    init(count: Int) {
        unsafe memory = .allocate(byteCount: count * BufferPool.octets, alignment: 64)
    }

    deinit { unsafe memory.deallocate() }

    /// A buffer filled with 0xa5, the packet at `offset`; its octets that nobody wrote show.
    func filled(_ index: Int, with packet: [UInt8], at offset: Int) -> PacketBytes {
        let start = index * BufferPool.octets
        let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + BufferPool.octets])
        unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0xa5)
        unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[offset...]).copyBytes(from: packet)
        return bytes(index)
    }

    fileprivate func bytes(_ index: Int) -> PacketBytes {
        guard let address = unsafe memory.baseAddress else { preconditionFailure("no buffer") }
        return unsafe PacketBytes(unsafeStart: address + index * BufferPool.octets, count: BufferPool.octets)
    }
}

extension BufferPool {
    /// What a buffer begins with.
    func contents(_ index: Int, count: Int) -> [UInt8] { bytes(index).prefix(count).octets }
}

extension PacketBytes {
    /// `array`, without a call for each octet.
    var octets: [UInt8] {
        unsafe [UInt8](UnsafeRawBufferPointer(start: unsafePointer(at: 0), count: count))
    }
}

/// A worker's bursts, its crypto stage and its buffers: packets in, verdicts out, in the same order.
struct Bench: ~Copyable {
    static let capacity = 32
    var crypto: SoftwareCrypto
    let attention = AttentionMap()
    var outbound: OutboundBurst
    var inbound: InboundBurst
    let buffers = BufferPool(count: Bench.capacity)

    init(libraryOnly: Bool = false) throws {
        guard let crypto = SoftwareCrypto(libraryOnly: libraryOnly) else { throw NoCrypto() }
        self.crypto = crypto
        outbound = OutboundBurst(capacity: Bench.capacity, attention: attention)
        inbound = InboundBurst(capacity: Bench.capacity, attention: attention)
    }

    /// Protects a burst. What passed is the whole outer packet. `headRoom` is what lies before the inner packet.
    mutating func send(_ packets: [(inner: [UInt8], pair: AssociationPair, headRoom: Int)]) -> [Verdict] {
        outbound.removeAll()
        var filled: [PacketBytes] = []
        for (index, packet) in packets.enumerated() {
            filled.append(buffers.filled(index, with: packet.inner, at: packet.headRoom))
            outbound.append(
                buffer: filled[index], offset: packet.headRoom, length: packet.inner.count,
                association: packet.pair.outbound, tag: index + 100)
        }
        outbound.prepare()
        crypto.submit(outbound)
        precondition(crypto.collect() == outbound.jobs.count)
        let good = (0..<packets.count).filter { outbound[$0].failure == nil }
        precondition(good == (0..<outbound.jobs.count).map { unsafe outbound.jobs[$0].pointee.packet })
        return (0..<packets.count).map { index in
            let packet = outbound[index]
            precondition(packet.tag == index + 100)
            if let reason = packet.failure { return .dropped(reason) }
            return .passed(filled[index].dropFirst(packet.offset).prefix(packet.length).octets)
        }
    }

    /// Protects a burst with room enough.
    mutating func send(_ inner: [[UInt8]], under pair: AssociationPair) -> [Verdict] {
        send(inner.map { ($0, pair, OutboundBurst.headOctets) })
    }

    /// Opens a burst of ESP packets, without outer headers. What passed is the inner packet.
    mutating func receive(_ packets: [(esp: [UInt8], pair: AssociationPair)]) -> [Verdict] {
        inbound.removeAll()
        for (index, packet) in packets.enumerated() {
            inbound.append(
                packet: buffers.filled(index, with: packet.esp, at: 0).prefix(packet.esp.count), start: 0,
                association: packet.pair.inbound, tag: index + 100)
        }
        inbound.prepare()
        crypto.submit(inbound)
        precondition(crypto.collect() == inbound.jobs.count)
        inbound.finish()
        return (0..<packets.count).map { index in
            let packet = inbound[index]
            precondition(packet.tag == index + 100)
            if let reason = packet.failure { return .dropped(reason) }
            return .passed(packet.bytes.octets)
        }
    }

    /// Opens one ESP packet; gives it back as it lies in the buffer then, in clear when it was authentic.
    mutating func receiveKeeping(_ esp: [UInt8], under pair: AssociationPair) -> (verdict: Verdict, octets: [UInt8]) {
        let verdict = receive(esp, under: pair)
        return (verdict, buffers.contents(0, count: esp.count))
    }

    /// Passes packets in clear that were `ahead` before.
    mutating func passOpened(_ packets: [[UInt8]], under pair: AssociationPair) -> [Verdict] {
        inbound.removeAll()
        for (index, packet) in packets.enumerated() {
            let number = packet[4..<8].reduce(0) { $0 << 8 | UInt64($1) }
            inbound.append(
                opened: buffers.filled(index, with: packet, at: 0).prefix(packet.count), start: 0, number: number,
                association: pair.inbound, tag: index)
        }
        inbound.finishOpened()
        return (0..<packets.count).map { index in
            inbound[index].failure.map { .dropped($0) } ?? .passed(inbound[index].bytes.octets)
        }
    }

    /// The SAs whose bits are set; clears them.
    func raised() -> [Int] {
        var raised: [Int] = []
        attention.take { raised.append($0) }
        return raised
    }

    /// Opens one ESP packet.
    mutating func receive(_ esp: [UInt8], under pair: AssociationPair) -> Verdict { receive([(esp, pair)])[0] }

    /// `count` ESP packets of `pair` with the next sequence numbers, around inner packets of `octets` octets.
    mutating func espPackets(
        _ count: Int, octets: Int = 40, of pair: AssociationPair, using random: inout SplitMix64
    ) -> [[UInt8]] {
        var packets: [[UInt8]] = []
        while packets.count < count {
            let inner = (0..<min(Bench.capacity, count - packets.count)).map { _ in
                innerPacket(octets: octets, using: &random)
            }
            packets += send(inner, under: pair).map { [UInt8]($0.octets.dropFirst(20)) }
        }
        return packets
    }
}
