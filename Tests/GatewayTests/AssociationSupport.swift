import DataPlane
import ESP
import Foundation
import IPsec
import SAStore
import Synchronization
import Wire

@testable import Gateway

/// Topologies of tests about SAs: their keys and SPIs follow from numbers.
enum TestChildren {
    /// A key that no other number has.
    static func key(_ number: Int) -> KeyMaterial {
        let digits = String(number, radix: 16)
        let text = "0x" + String(repeating: "0", count: 32 - digits.count) + digits + "00000001"
        return KeyMaterial(hexadecimal: text, for: .aes128GCM16) ?? { preconditionFailure("\(text) is no key") }()
    }

    /// A pair of SAs, `number` from 0.
    static func child(_ number: Int, notBefore: Int64? = nil, window: Int = 64) -> Topology.Child {
        Topology.Child(
            notBefore: notBefore,
            outbound: Topology.Outbound(spi: SPI(rawValue: 0x1_0000 + UInt32(number)), key: key(2 * number)),
            inbound: Topology.Inbound(
                spi: SPI(rawValue: 0x2_0000 + UInt32(number)), key: key(2 * number + 1), replayWindowPackets: window))
    }

    static func tunnel(_ name: String, _ children: [Topology.Child], lifetime: Lifetime = Lifetime()) -> Topology.Tunnel
    {
        Topology.Tunnel(
            name: name, localAddress: IPAddress(v4: 0xc000_0201),
            remoteAddress: IPAddress(v4: 0xc000_0202),
            localSubnets: [], remoteSubnets: [], children: children, lifetime: lifetime, innerMTUOctets: 1400)
    }

    static func site(_ tunnels: [Topology.Tunnel]) -> Topology {
        Topology(ports: [], routes: [], neighbors: [], tunnels: tunnels, policies: [])
    }

    /// What is asked for when a child is installed by itself.
    static func request(_ number: Int, lifetime: Lifetime = Lifetime(), window: Int = 64) -> PairRequest {
        PairRequest(tunnel("t", [], lifetime: lifetime), child(number, window: window), owner: 0)
    }
}

/// Uses SAs as a worker would, without packets that anybody could read: numbers, windows, limits and the bits are real.
struct TestWorker: ~Copyable {
    private static let octets = 100
    private var outbound: OutboundBurst
    private var inbound: InboundBurst
    // Bursts write into its map.
    private let arena: AssociationArena

    init(_ arena: AssociationArena) {
        self.arena = arena
        outbound = OutboundBurst(capacity: 64, attention: arena.attention)
        inbound = InboundBurst(capacity: 64, attention: arena.attention)
    }

    struct Numbers: Hashable {
        let sequence: UInt64, vector: UInt64
    }

    /// Sends up to `count` packets; the numbers of those that went out, and why the first that did not was refused.
    mutating func send(_ count: Int, under pair: AssociationPair) -> (sent: [Numbers], refusal: DropReason?) {
        var sent: [Numbers] = []
        var memory = [UInt8](repeating: 0, count: 64 * 256)
        for first in stride(from: 0, to: count, by: 64) {
            let refusal = memory.withPacketBytes { bytes -> DropReason? in
                outbound.removeAll()
                for index in 0..<min(64, count - first) {
                    // What is carried is looked at by its version.
                    bytes.store(UInt8(0x45), at: index * 256 + OutboundBurst.maximumHeadOctets)
                    outbound.append(
                        buffer: bytes.dropFirst(index * 256).prefix(256), offset: OutboundBurst.maximumHeadOctets,
                        length: TestWorker.octets, association: pair.outbound.reference, tag: index)
                }
                outbound.prepare()
                for index in 0..<outbound.count {
                    let packet = outbound[index]
                    if let failure = packet.failure { return failure }
                    let outer = bytes.dropFirst(index * 256 + packet.offset)
                    sent.append(Numbers(sequence: UInt64(outer.uint32(at: 24)), vector: outer.uint64(at: 28)))
                }
                return nil
            }
            if let refusal { return (sent, refusal) }
        }
        return (sent, nil)
    }

    /// Takes an authentic packet with this number; nil when it was accepted.
    mutating func accept(_ number: UInt64, under pair: AssociationPair) -> DropReason? {
        // SPI, number, IV, payload, pad length 0, IPv4, ICV.
        var packet: [UInt8] = [0, 0, 0, 0]
        packet += (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) }
        packet += [UInt8](repeating: 0, count: 8) + [0x45] + [UInt8](repeating: 0, count: TestWorker.octets - 1)
        packet += [0, 4] + [UInt8](repeating: 0, count: 16)
        return packet.withPacketBytes { bytes in
            inbound.removeAll()
            inbound.append(
                opened: bytes, start: 0, number: number, association: pair.inbound.reference, tag: 0)
            inbound.finishOpened()
            return inbound[0].failure
        }
    }
}

/// The installer of replays, with a look at what is asked of it; fails when a test wants it to.
final class CountingInstaller: AssociationInstaller {
    struct Refused: Error {}

    let arena: AssociationArena
    private let state = Mutex((installed: 0, fails: false))

    init() throws { arena = try AssociationArena() }

    var installed: Int { state.withLock { $0.installed } }
    func fail(_ fails: Bool) { state.withLock { $0.fails = fails } }

    func install(_ requests: [PairRequest], now: Int64) throws -> [AssociationPair] {
        guard !state.withLock({ $0.fails }) else { throw Refused() }
        state.withLock { $0.installed += requests.count }
        return try UnboundInstaller(arena: arena).install(requests, now: now)
    }
}
