// Before a port meets the wire: does its engine do what the driver says? Under a key that no SA has, with every frame
// sent back to the device by the device (MAC loopback).

import CDPDK
import ESP
import IPsec
import Wire

/// What an engine did in the test.
public struct EngineSelfTest: Sendable, Equatable {
    /// Whether a packet that was given to the device in clear came back as it should be.
    public var outbound: Bool
    /// Whether one that was encrypted elsewhere was decrypted, and one with a wrong ICV was not passed off as right.
    public var inbound: Bool

    /// Whether a direction did right.
    public subscript(_ direction: Direction) -> Bool { direction == .outbound ? outbound : inbound }

    static let spi = SPI(rawValue: 0x5e1f_7e57)
    // RFC 5737 documentation addresses.
    private static let local = IPAddress(v4: 0xc000_0201)
    private static let remote = IPAddress(v4: 0xc000_0202)
    /// The key of test case 4 of the GCM specification, and a salt.
    static let keyText = "0xfeffe9928665731c6d6a8f9467308308cafebabe"
    static let vector: UInt64 = 0xface_dbad_deca_f888
    /// 46 octets 1, 2, 3, …, no padding, no next header.
    static let text: [UInt8] = (1...46).map { UInt8($0) } + [0, 59]
    /// Ciphertext and ICV, by OpenSSL.
    static let sealed: [UInt8] = [
        0x9a, 0xb0, 0x2f, 0xe3, 0xdc, 0xf5, 0x75, 0xc9, 0xe7, 0x21, 0x23, 0x7e, 0x26, 0x2b, 0xfd, 0x16,
        0x74, 0x1f, 0x9b, 0x68, 0x2c, 0x20, 0x44, 0x22, 0x02, 0x97, 0x55, 0x02, 0xbe, 0x83, 0x34, 0x7c,
        0x1c, 0xcb, 0x3b, 0x03, 0xe4, 0x28, 0xbd, 0x67, 0x7b, 0x6a, 0x4f, 0x52, 0xc8, 0x0c, 0x1f, 0x1b,
        0x85, 0xca, 0x1a, 0x24, 0x2c, 0x36, 0xbb, 0x90, 0x54, 0xa7, 0x0b, 0xeb, 0x33, 0x0f, 0xc8, 0xb8,
    ]

    /// Tests the engine of a port that runs in loopback with one queue each way, and takes back what it gave it.
    static func run(_ engine: SecurityEngine, port: UInt16, mac: MACAddress, pool: PacketPool) -> EngineSelfTest {
        var result = EngineSelfTest(outbound: false, inbound: false)
        guard let key = KeyMaterial(hexadecimal: keyText, for: .aes128GCM16) else { return result }
        var wire = Loopback(port: port, mac: mac, pool: pool)
        let clear = text + [UInt8](repeating: 0, count: ESPHeader.icvOctets)
        if engine.offers(.tunnel, .outbound),
            let session = engine.install(
                .outbound, spi: spi, key: key, mode: .tunnel, local: local, remote: remote)
        {
            let (octets, _) = wire.exchange(clear) { engine.mark($0, session) }
            result.outbound = octets == sealed
            engine.remove([session])
        }
        if engine.offers(.tunnel, .inbound),
            let session = engine.install(
                .inbound, spi: spi, key: key, mode: .tunnel, local: remote, remote: local)
        {
            let (octets, isOpened) = wire.exchange(sealed) { _ in true }
            var broken = sealed
            broken[broken.count - 1] ^= 1
            let (_, isBrokenOpened) = wire.exchange(broken) { _ in true }
            result.inbound =
                isOpened && !isBrokenOpened && (octets?.prefix(text.count)).map { Array($0) == text } ?? false
            engine.remove([session])
        }
        engine.disarm()
        return result
    }

    /// Sends ESP packets of the test's SA to the device itself.
    private struct Loopback: ~Copyable {
        let port: UInt16
        let mac: MACAddress
        let pool: PacketPool
        private var sent = MbufList(capacity: 1)
        private var received = MbufList(capacity: 32)

        init(port: UInt16, mac: MACAddress, pool: PacketPool) {
            self.port = port
            self.mac = mac
            self.pool = pool
        }

        /// What came back of an ESP packet with this behind its IV, and whether the device says that it opened it. Nil
        /// when nothing came within a second.
        mutating func exchange(_ rest: [UInt8], mark: (Mbuf) -> Bool) -> (octets: [UInt8]?, isOpened: Bool) {
            guard let mbuf = sent.appendFresh(from: pool) else { return (nil, false) }
            let head = OutboundBurst.headOctets, start = mbuf.offset
            mbuf.setPacket(offset: start, length: head + rest.count)
            let packet = mbuf.bytes
            IPv4Header(packet)?.emit(
                totalLength: packet.count, timeToLive: 64, ipProtocol: IPProtocol.esp, source: local.v4Number,
                destination: remote.v4Number)
            packet.store(spi.rawValue, at: 20)
            packet.store(1 as UInt32, at: 24)
            packet.store(vector, at: 28)
            for (index, octet) in rest.enumerated() { packet.store(octet, at: head + index) }
            guard mark(mbuf) else {
                sent.freeAll()
                return (nil, false)
            }
            mbuf.setPacket(offset: start - EthernetHeader.octets, length: packet.count + EthernetHeader.octets)
            EthernetHeader(mbuf.bytes)?.emit(destination: mac, source: mac, etherType: EtherType.ipv4)
            let deadline = rte_rdtsc() + Environment.ticksPerSecond
            while sent.count > 0 && rte_rdtsc() < deadline { _ = sent.transmit(port: port, queue: 0) }
            sent.freeAll()
            while rte_rdtsc() < deadline {
                // A driver's vector path gives nothing to who asks for fewer than four.
                received.receive(port: port, queue: 0, limit: received.capacity)
                defer { received.freeAll() }
                for index in 0..<received.count {
                    let bytes = received[index].bytes.dropFirst(EthernetHeader.octets)
                    guard bytes.count >= head + rest.count, bytes.uint32(at: 20) == spi.rawValue else { continue }
                    let octets = (0..<rest.count).map { bytes.uint8(at: head + $0) }
                    return unsafe (octets, cdpdk_mbuf_is_opened(received[index].pointer))
                }
            }
            return (nil, false)
        }
    }
}
