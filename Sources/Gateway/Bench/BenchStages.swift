import DataPlane
import ESP
import IPsec
import Wire

/// Where ESP's cycles go, without ports, lookups or workers: header passes and crypto apart, on the same buffers.
struct BenchStages {
    /// Of one size: medians of TSC cycles a packet.
    struct Row: Sendable {
        var innerOctets: Int
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

    private static let burst = 32
    private static let buffers = 512

    /// Measures one inner length over 512 buffers, in bursts of 32.
    static func measure(innerOctets: Int, samples: Int) throws -> Row {
        let site = try BenchSite(tunnels: 1)
        let tunnel = site.near.tunnels[0]
        guard let key = KeyArena()?.expand(tunnel.children[0].outbound.key), var crypto = SoftwareCrypto() else {
            throw DataPlaneError.noCrypto
        }
        let sending = OutboundAssociationReference(
            OutboundSecurityAssociation(
                key: key, spi: tunnel.children[0].outbound.spi, local: tunnel.localAddress,
                remote: tunnel.remoteAddress, id: 0))
        let receiving = InboundAssociationReference(
            InboundSecurityAssociation(
                key: key, local: tunnel.remoteAddress, remote: tunnel.localAddress, replayWindow: 1024,
                owner: 0, id: 1))
        let attention = AttentionMap()
        defer {
            withExtendedLifetime((key, attention)) {
                sending.destroy()
                receiving.destroy()
            }
        }
        sending.with { $0.grant(sequence: UInt64(UInt32.max), initializationVector: .max) }
        receiving.with { $0.setCeiling(.max, notice: .max) }
        let memory = StageBuffers(count: buffers, innerOctets: innerOctets)
        var outbound = OutboundBurst(capacity: burst, attention: attention)
        var inbound = InboundBurst(capacity: burst, attention: attention)
        var spent: [(UInt64, UInt64, UInt64, UInt64)] = []
        for _ in 0..<samples {
            var sum: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
            for first in stride(from: 0, to: buffers, by: burst) {
                let begun = Environment.ticks
                for index in first..<first + burst {
                    outbound.append(
                        buffer: memory[index], offset: StageBuffers.headroom, length: innerOctets, association: sending,
                        tag: index)
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
                        packet: memory[first + index].dropFirst(start).prefix(length), start: IPv4Header.minimumOctets,
                        association: receiving, tag: index)
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
            }
            spent.append(sum)
        }
        let median = { (part: ((UInt64, UInt64, UInt64, UInt64)) -> UInt64) in
            BenchReport.median(spent.map { Double(part($0)) / Double(buffers) })
        }
        func whole(_ part: ((UInt64, UInt64, UInt64, UInt64)) -> UInt64) -> (median: Double, least: Double) {
            (median(part), Double(spent.map(part).min() ?? 0) / Double(buffers))
        }
        return Row(
            innerOctets: innerOctets, outboundGlue: median { $0.0 }, outboundCrypto: median { $0.1 },
            inboundGlue: median { $0.2 }, inboundCrypto: median { $0.3 }, outbound: whole { $0.0 + $0.1 },
            inbound: whole { $0.2 + $0.3 })
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
