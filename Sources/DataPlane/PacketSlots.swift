import CDPDK
import Wire

/// One IPv4 packet while a worker looks at it. Its buffer holds exactly the packet: no Ethernet header, no padding.
struct PacketSlot: BitwiseCopyable {
    /// What policies look at. First, so that its address is the slot's.
    var key: cdpdk_flow_key
    var mbuf: Mbuf
    var ip: PacketBytes
    /// Index of the port it came in by; `PacketSlot.originated` for the gateway's own.
    var ingress: UInt16
    /// Index of the port by which it may leave in clear without a policy: the answer of a local service to a question
    /// that came in clear by that port. `PacketSlot.noPort` for all others.
    var answersPort: UInt16
    /// Index of the tunnel that it was decrypted from, or `PacketSlot.noTunnel`.
    var tunnel: UInt32

    static let originated: UInt16 = .max
    static let noPort: UInt16 = .max
    static let noTunnel: UInt32 = .max

    /// A packet whose header is well formed.
    @inline(__always)
    init(mbuf: Mbuf, ip: PacketBytes, ingress: UInt16) {
        self.mbuf = mbuf
        self.ip = ip
        self.ingress = ingress
        answersPort = PacketSlot.noPort
        tunnel = PacketSlot.noTunnel
        key = PacketSlot.flowKey(of: ip)
    }

    /// RFC 4301 4.4.1.1: ports count only where they can be seen.
    @inline(__always)
    private static func flowKey(of ip: PacketBytes) -> cdpdk_flow_key {
        let ipProtocol = ip.uint8(at: IPv4Header.Offset.ipProtocol)
        var key = cdpdk_flow_key(
            protocol: ipProtocol, zero: (0, 0, 0), source: ip.word32(at: IPv4Header.Offset.source),
            destination: ip.word32(at: IPv4Header.Offset.destination), source_port: 0, destination_port: 0,
            ports_visible: 0)
        let hasPorts = ipProtocol == IPProtocol.tcp || ipProtocol == IPProtocol.udp || ipProtocol == IPProtocol.sctp
        let start = Int(ip.uint8(at: 0) & 0x0f) &* 4
        let offset = ip.word16(at: IPv4Header.Offset.fragment) & UInt16(bigEndian: IPv4Header.Fragment.offsetMask)
        if hasPorts && offset == 0 && start &+ 4 <= ip.count {
            key.source_port = ip.word16(at: start)
            key.destination_port = ip.word16(at: start &+ 2)
            key.ports_visible = UInt32(1).bigEndian
        }
        return key
    }

    /// Whether policies can't tell the two apart.
    @inline(__always)
    func hasSameKey(as other: PacketSlot) -> Bool {
        key.source == other.key.source && key.destination == other.key.destination
            && key.source_port == other.key.source_port && key.destination_port == other.key.destination_port
            && key.protocol == other.key.protocol && key.ports_visible == other.key.ports_visible
    }
}

/// A list of packets of fixed capacity.
@safe
struct PacketSlots: ~Copyable {
    private let storage: UnsafeMutablePointer<PacketSlot>
    let capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        unsafe storage = UnsafeMutableRawPointer.allocate(
            byteCount: capacity * MemoryLayout<PacketSlot>.stride, alignment: 64
        ).bindMemory(to: PacketSlot.self, capacity: capacity)
    }

    deinit { unsafe storage.deallocate() }

    @inline(__always)
    mutating func append(_ slot: PacketSlot) {
        precondition(count < capacity)
        unsafe (storage + count).initialize(to: slot)
        count &+= 1
    }

    mutating func removeAll() { count = 0 }

    @inline(__always)
    subscript(_ index: Int) -> PacketSlot {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(storage + index)
        }
    }

    /// The address of a packet's key, for the classifier.
    @inline(__always)
    func unsafeKey(_ index: Int) -> UnsafePointer<cdpdk_flow_key> {
        precondition(index >= 0 && index < count)
        return unsafe UnsafeRawPointer(storage + index).assumingMemoryBound(to: cdpdk_flow_key.self)
    }
}
