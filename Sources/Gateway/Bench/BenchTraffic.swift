import DataPlane
import Wire

/// The packets a benchmark sends: one header for each SA in front of one payload, in memory that is only copied from.
@safe
struct BenchTraffic: ~Copyable {
    private static let headOctets = EthernetHeader.octets + IPv4Header.minimumOctets

    private let heads: UnsafeMutableRawPointer
    private let payload: UnsafeMutableRawPointer
    private let payloadOctets: Int
    private let lengths: [Int]
    private let count: Int
    private var next = 0

    /// Inner packets of these lengths in turn, in octets, for all of these tunnels in an order that no cache can guess:
    /// shuffled anew for each length, the same in every run.
    init(lengths: [Int], tunnels: [Int]) {
        var generator = Shuffler()
        let order = lengths.flatMap { _ in tunnels.shuffled(using: &generator) }
        self.lengths = lengths
        count = order.count
        payloadOctets = lengths.max() ?? 0
        unsafe payload = .allocate(byteCount: max(1, payloadOctets), alignment: 64)
        for index in 0..<payloadOctets {
            unsafe payload.storeBytes(of: UInt8(truncatingIfNeeded: index &* 31), toByteOffset: index, as: UInt8.self)
        }
        unsafe heads = .allocate(byteCount: count * BenchTraffic.headOctets, alignment: 64)
        for index in 0..<count {
            let head = self.head(index)
            EthernetHeader(head)?.emit(destination: .broadcast, source: .broadcast, etherType: EtherType.ipv4)
            IPv4Header(head.dropFirst(EthernetHeader.octets))?.emit(
                totalLength: lengths[index % lengths.count], timeToLive: 64, ipProtocol: IPProtocol.udp,
                source: BenchSite.source.v4Number,
                destination: BenchSite.destination(tunnel: order[index]).v4Number)
        }
    }

    deinit {
        unsafe heads.deallocate()
        unsafe payload.deallocate()
    }

    @inline(__always)
    private func head(_ index: Int) -> PacketBytes {
        unsafe PacketBytes(
            unsafeStart: heads + index &* BenchTraffic.headOctets, count: BenchTraffic.headOctets)
    }

    /// Copies the next packets of the sequence into fresh buffers that "came in" by `port`.
    mutating func fill(_ frames: borrowing MbufList, port: UInt16) {
        let payload = unsafe PacketBytes(unsafeStart: payload, count: payloadOctets)
        var index = 0
        while index < frames.count {
            let length = lengths[next % lengths.count] &- IPv4Header.minimumOctets
            frames[index].fill(head: head(next), payload: payload.prefix(length), port: port)
            next = next &+ 1 < count ? next &+ 1 : 0
            index &+= 1
        }
    }

    /// Turns a packet of ours into one of the way back; sums don't change when source and destination change places.
    static func reverse(_ ip: PacketBytes) {
        let (source, destination) = (
            ip.word32(at: IPv4Header.Offset.source), ip.word32(at: IPv4Header.Offset.destination)
        )
        ip.store(word: destination, at: IPv4Header.Offset.source)
        ip.store(word: source, at: IPv4Header.Offset.destination)
    }
}

/// SplitMix64 from where it always begins.
struct Shuffler: RandomNumberGenerator {
    private var state: UInt64 = 0

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
