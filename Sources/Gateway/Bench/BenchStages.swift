import DataPlane
import ESP
import IPsec
import Wire

/// Where ESP's cycles go, without ports, lookups or workers: header passes and crypto apart, on the same buffers.
struct BenchStages {
    /// Of one size: medians of TSC cycles a packet.
    struct Row: Sendable {
        var innerOctets: Int
        /// SAs that packets took turns on, in random order.
        var associations: Int
        /// Numbering, outer header, trailer.
        var outboundGlue: Double
        var outboundCrypto: Double
        /// Window, ICV comparison, trailer.
        var inboundGlue: Double
        var inboundCrypto: Double
        /// Both together, each way: medians and the least of all samples.
        var outbound: (median: Double, least: Double)
        var inbound: (median: Double, least: Double)
    }

    fileprivate static let burst = 32
    private static let rounds = 16

    /// Measures one inner length in bursts of 32 over the same buffers, which stay in the caches as those do of what
    /// this is compared with (Benchmarks/yardsticks.c), under so many SAs in turn.
    static func measure(innerOctets: Int, associations: Int, samples: Int) throws -> Row {
        guard var crypto = SoftwareCrypto() else { throw DataPlaneError.noCrypto }
        let own = try StageAssociations(associations)
        let (sending, receiving) = (own.sending, own.receiving)
        let memory = StageBuffers(count: burst, innerOctets: innerOctets)
        var outbound = OutboundBurst(capacity: burst, attention: own.attention)
        var inbound = InboundBurst(capacity: burst, attention: own.attention)
        var spent: [(UInt64, UInt64, UInt64, UInt64)] = []
        var next = 0
        for _ in 0..<samples {
            var sum: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
            for _ in 0..<rounds {
                let begun = Environment.ticks
                for index in 0..<burst {
                    outbound.append(
                        buffer: memory[index], offset: StageBuffers.headroom, length: innerOctets,
                        association: sending[next &+ index], tag: index)
                }
                outbound.prepare()
                let prepared = Environment.ticks
                crypto.submit(outbound)
                _ = crypto.collect()
                outbound.finish()
                // All packets lie alike in their buffers: what tells where is not ESP's cost.
                let (start, length) = (outbound[0].offset, outbound[0].length)
                let encrypted = Environment.ticks
                for index in 0..<burst {
                    inbound.append(
                        packet: memory[index].dropFirst(start).prefix(length), start: IPv4Header.minimumOctets,
                        association: receiving[next &+ index], tag: index)
                }
                inbound.prepare()
                inbound.resynchronize(&crypto)
                let looked = Environment.ticks
                crypto.submit(inbound)
                _ = crypto.collect()
                let decrypted = Environment.ticks
                inbound.finish()
                let finished = Environment.ticks
                guard (0..<burst).allSatisfy({ inbound[$0].failure == nil }) else {
                    throw BenchError(message: "a packet did not survive ESP alone")
                }
                sum.0 += prepared - begun
                sum.1 += encrypted - prepared
                sum.2 += looked - encrypted + finished - decrypted
                sum.3 += decrypted - looked
                outbound.removeAll()
                inbound.removeAll()
                next = next &+ burst < sending.count ? next &+ burst : 0
            }
            spent.append(sum)
        }
        let packets = Double(rounds * burst)
        let median = { (part: ((UInt64, UInt64, UInt64, UInt64)) -> UInt64) in
            BenchReport.median(spent.map { Double(part($0)) / packets })
        }
        func whole(_ part: ((UInt64, UInt64, UInt64, UInt64)) -> UInt64) -> (median: Double, least: Double) {
            (median(part), Double(spent.map(part).min() ?? 0) / packets)
        }
        return Row(
            innerOctets: innerOctets, associations: associations, outboundGlue: median { $0.0 },
            outboundCrypto: median { $0.1 },
            inboundGlue: median { $0.2 }, inboundCrypto: median { $0.3 }, outbound: whole { $0.0 + $0.1 },
            inbound: whole { $0.2 + $0.3 })
    }
}

/// Pairs of SAs in an order that no cache can guess, in whole bursts.
private final class StageAssociations {
    let attention = AttentionMap()
    private let arena = KeyArena()
    private var keys: [ExpandedKey] = []
    private var made: [(sending: OutboundAssociationReference, receiving: InboundAssociationReference)] = []
    private(set) var sending: [OutboundAssociationReference] = []
    private(set) var receiving: [InboundAssociationReference] = []

    init(_ count: Int) throws {
        let site = try BenchSite(tunnels: count)
        for (index, tunnel) in site.near.tunnels.enumerated() {
            let pair = tunnel.children[0].outbound
            // Two of the one key: who sends and who receives share no memory elsewhere either.
            guard let outKey = arena?.expand(pair.key), let backKey = arena?.expand(pair.key) else {
                throw DataPlaneError.noCrypto
            }
            keys += [outKey, backKey]
            let out = OutboundAssociationReference(
                OutboundSecurityAssociation(
                    key: outKey, spi: pair.spi, local: tunnel.localAddress, remote: tunnel.remoteAddress, id: 2 * index)
            )
            let back = InboundAssociationReference(
                InboundSecurityAssociation(
                    key: backKey, local: tunnel.remoteAddress, remote: tunnel.localAddress, replayWindow: 1024,
                    owner: 0,
                    id: 2 * index + 1))
            out.with { $0.grant(sequence: UInt64(UInt32.max), initializationVector: .max) }
            back.with { $0.setCeiling(.max, notice: .max) }
            made.append((out, back))
        }
        var generator = Shuffler()
        var order: [Int] = []
        repeat { order += made.indices.shuffled(using: &generator) } while order.count % BenchStages.burst != 0
        sending = order.map { made[$0].sending }
        receiving = order.map { made[$0].receiving }
    }

    deinit {
        for pair in made {
            pair.sending.destroy()
            pair.receiving.destroy()
        }
    }
}

/// Packet buffers of the benchmark's own.
@safe
private struct StageBuffers: ~Copyable {
    static let headroom = 128
    private let memory: UnsafeMutableRawPointer
    private let stride: Int

    init(count: Int, innerOctets: Int) {
        stride = (StageBuffers.headroom + innerOctets + OutboundBurst.tailOctets + 63) / 64 * 64
        unsafe memory = .allocate(byteCount: count * stride, alignment: 64)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0x5a, count: count * stride)
        for index in 0..<count {
            IPv4Header(self[index].dropFirst(StageBuffers.headroom))?.emit(
                totalLength: innerOctets, timeToLive: 64, ipProtocol: IPProtocol.udp,
                source: BenchSite.source.v4Number, destination: BenchSite.destination(tunnel: 0).v4Number)
        }
    }

    deinit { unsafe memory.deallocate() }

    subscript(_ index: Int) -> PacketBytes {
        unsafe PacketBytes(unsafeStart: memory + index * stride, count: stride)
    }
}
