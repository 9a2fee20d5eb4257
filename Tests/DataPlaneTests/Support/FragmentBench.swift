import Testing
import Wire

@testable import DataPlane

/// A datagram whose payload is known by heart, and its parts.
struct Piece {
    var family: Int
    var identification: UInt32
    var source: UInt32 = 0x0a00_0001
    var destination: UInt32 = 0x0a00_0002
    var upper: UInt8 = 50
    var mark: UInt8 = 0
    var options: [UInt8] = []

    /// The payload's octets; different for each identification.
    func payload(_ range: Range<Int>) -> [UInt8] {
        range.map { UInt8(truncatingIfNeeded: $0 &* 7 &+ Int(identification) &* 13 &+ $0 >> 8) }
    }

    func part(_ range: Range<Int>, more: Bool, payload: [UInt8]? = nil) -> [UInt8] {
        let octets = payload ?? self.payload(range)
        guard family == 6 else {
            return Packet.IPv4(
                typeOfService: mark, identification: UInt16(truncatingIfNeeded: identification),
                fragment: UInt16(range.lowerBound / 8) | (more ? 0x2000 : 0), ipProtocol: upper, source: source,
                destination: destination, options: options, payload: octets
            ).octets
        }
        let place = UInt16(range.lowerBound) | (more ? 1 : 0)
        return header(44, octets.count + 8) + [upper, 0] + bigEndian(place) + bigEndian(identification) + octets
    }

    /// The packet that all parts together are.
    func whole(_ count: Int) -> [UInt8] {
        family == 6
            ? header(upper, count) + payload(0..<count)
            : Packet.IPv4(
                typeOfService: mark, identification: UInt16(truncatingIfNeeded: identification), ipProtocol: upper,
                source: source, destination: destination, options: options, payload: payload(0..<count)
            ).octets
    }

    private func header(_ next: UInt8, _ length: Int) -> [UInt8] {
        [0x60, mark << 4, 0, 0] + bigEndian(UInt16(length)) + [next, 64] + bigEndian(UInt64(0xfd00) << 48)
            + bigEndian(UInt64(source)) + bigEndian(UInt64(0xfd01) << 48) + bigEndian(UInt64(destination))
    }
}

/// A table with a pool of its own. Its clock has a thousand ticks a second.
final class FragmentBench {
    /// What a test compares: the whole's octets.
    enum Outcome: Equatable {
        case held, refused
        case whole([UInt8], merged: Int)
    }

    static let wholeLimit = 2048

    private let pool: PacketPool
    private var table: FragmentTable
    /// Buffers that the table gave up so far.
    private(set) var lost = 0
    private var clock: UInt64 = 0

    init() throws {
        pool = try PacketPool(name: TestEnvironment.name(), count: 2047, frameOctets: FragmentBench.wholeLimit)
        table = FragmentTable(ticksPerSecond: 1000, wholeLimitOctets: FragmentBench.wholeLimit, secret: 0x5eed)
    }

    var held: Int { table.held }

    /// Hands a packet over in a buffer of its own; `behind` octets of padding follow it there.
    func take(_ packet: [UInt8], now: UInt64? = nil, behind: Int = 0) -> Outcome {
        clock = now ?? clock
        guard let mbuf = pool.allocate() else {
            Issue.record("no buffer is left")
            return .refused
        }
        mbuf.setPacket(offset: PacketPool.headroomOctets, length: packet.count + behind)
        for (offset, octet) in packet.enumerated() { mbuf.bytes.store(octet, at: offset) }
        for offset in packet.count..<packet.count + behind { mbuf.bytes.store(UInt8(0xa5), at: offset) }
        let outcome = table.take(mbuf, now: clock)
        drain()
        switch outcome {
        case .held: return .held
        case .refused: return .refused
        case .whole(let whole, let merged):
            defer { whole.free() }
            return .whole(whole.bytes.array, merged: merged)
        }
    }

    func expire(now: UInt64) {
        clock = now
        table.expire(now: now)
        drain()
    }

    /// Every buffer is in the table or in the pool.
    func checkBalance(_ context: String) { #expect(pool.inUse == table.held, "\(context)") }

    /// Everything goes back.
    func end() {
        checkBalance("at the end")
        table.giveUpAll()
        drain()
        #expect(table.held == 0 && pool.inUse == 0)
        pool.destroy()
    }

    private func drain() {
        lost += table.losses.count
        table.losses.freeAll()
    }
}
