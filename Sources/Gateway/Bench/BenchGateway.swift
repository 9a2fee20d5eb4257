import DataPlane
import ESP
import IPsec
import Wire

/// A production worker between two ports without devices, fed and drained by the benchmark's own thread.
struct BenchGateway: ~Copyable {
    let lan: RingPort
    let wan: RingPort
    let group: WorkerGroup
    var worker: Worker

    init(_ topology: Topology, pool: PacketPool, name: String) throws {
        let lan = try RingPort(topology.ports[0], index: 0, pool: pool, name: name)
        let wan = try RingPort(topology.ports[1], index: 1, pool: pool, name: name)
        let tables = try ForwardingTables(topology, workers: 1, name: name)
        // Keys are random and die with the process: all numbers may be used.
        for association in tables.outbound {
            association.with { $0.grant(sequence: UInt64(UInt32.max), initializationVector: .max) }
        }
        let group = try WorkerGroup(
            topology, tables: tables, ports: [lan.port, wan.port], pool: pool, workers: 1,
            ticksPerSecond: Environment.ticksPerSecond, mode: .replay(resolve: false), name: name)
        worker = try Worker(group.plan(0))
        self.lan = lan
        self.wan = wan
        self.group = group
    }

    mutating func close() {
        worker.drain()
        lan.close()
        wan.close()
    }
}

/// The packets a benchmark sends: one header for each SA in front of one payload.
struct BenchTraffic {
    private var headers: [[UInt8]]
    private var payload: [UInt8]
    private let lengths: [Int]
    private var next = 0

    /// Inner packets of these lengths in turn, in octets, for `associations` tunnels in turn.
    init(lengths: [Int], associations: Int) {
        self.lengths = lengths
        payload = (0..<(lengths.max() ?? 0)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        headers = []
        for index in 0..<associations * lengths.count {
            var header = [UInt8](repeating: 0, count: 20)
            let destination = BenchSite.destination(tunnel: index % associations).rawValue
            header.withPacketBytes {
                IPv4Header($0)?.emit(
                    totalLength: lengths[index % lengths.count], timeToLive: 64, ipProtocol: IPProtocol.udp,
                    source: BenchSite.source.rawValue, destination: destination)
            }
            headers.append(header)
        }
    }

    /// Copies the next packets of the sequence into fresh buffers that "came in" by `port`.
    @inline(never)
    mutating func fill(_ frames: borrowing MbufList, port: StartedPort) {
        for index in 0..<frames.count {
            let length = lengths[next % lengths.count]
            let mbuf = frames[index]
            payload.withPacketBytes { _ = mbuf.fill(withPacket: $0.prefix(length), port: port, timestamp: 0) }
            headers[next].withPacketBytes { mbuf.bytes.copy($0, count: 20, to: EthernetHeader.octets) }
            next = next + 1 < headers.count ? next + 1 : 0
        }
    }

    /// Turns a packet of ours into one of the way back; sums don't change when source and destination change places.
    static func reverse(_ ip: PacketBytes) {
        let (source, destination) = (ip.word32(at: IPv4Header.Offset.source), ip.word32(at: IPv4Header.Offset.destination))
        ip.store(word: destination, at: IPv4Header.Offset.source)
        ip.store(word: source, at: IPv4Header.Offset.destination)
    }
}
