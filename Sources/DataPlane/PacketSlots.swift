import CDPDK
import Wire

/// One packet while a worker looks at it: 40 octets. Its buffer holds exactly the packet: no Ethernet header, no
/// padding.
///
/// What policies look at is read from the packet when they are asked, and written only for the first of a run: many
/// packets never cross the boundary, and most that do are like the one before. An IPv6 packet's key lies beside the
/// list, because its headers have to be walked through for it.
struct PacketSlot: BitwiseCopyable {
    var mbuf: Mbuf
    var ip: PacketBytes
    /// Index of the port it came in by; `PacketSlot.originated` for the gateway's own.
    var ingress: UInt16
    /// Index of the port by which it may leave in clear without a policy: the answer of a local service to a question
    /// that came in clear by that port. `PacketSlot.noPort` for all others.
    var answersPort: UInt16
    /// Index of the tunnel that it was decrypted from, or `PacketSlot.noTunnel`.
    var tunnel: UInt32
    var isIPv6: Bool

    static let originated: UInt16 = .max
    static let noPort: UInt16 = .max
    static let noTunnel: UInt32 = .max

    /// An IPv4 packet whose header is well formed.
    @inline(__always)
    init(mbuf: Mbuf, ip: PacketBytes, ingress: UInt16) {
        self.mbuf = mbuf
        self.ip = ip
        self.ingress = ingress
        answersPort = PacketSlot.noPort
        tunnel = PacketSlot.noTunnel
        isIPv6 = false
    }

    /// An IPv6 packet, which is well formed and was walked through.
    init(ipv6 mbuf: Mbuf, ip: PacketBytes, ingress: UInt16) {
        self.mbuf = mbuf
        self.ip = ip
        self.ingress = ingress
        answersPort = PacketSlot.noPort
        tunnel = PacketSlot.noTunnel
        isIPv6 = true
    }

    /// What policies look at of an IPv6 packet.
    static func flowKey(of header: IPv6Header, _ upper: IPv6Upper) -> cdpdk_flow_key6 {
        let bytes = header.bytes, source = IPv6Header.Offset.source, destination = IPv6Header.Offset.destination
        var key = cdpdk_flow_key6(
            protocol: upper.upperProtocol, fragment: upper.isFragment ? 1 : 0, zero: (0, 0),
            source: (
                bytes.word32(at: source), bytes.word32(at: source + 4), bytes.word32(at: source + 8),
                bytes.word32(at: source + 12)
            ),
            destination: (
                bytes.word32(at: destination), bytes.word32(at: destination + 4), bytes.word32(at: destination + 8),
                bytes.word32(at: destination + 12)
            ), source_port: 0, destination_port: 0, ports_visible: 0)
        guard !upper.isLaterFragment else { return key }
        switch upper.upperProtocol {
        case IPProtocol.tcp, IPProtocol.udp, IPProtocol.sctp:
            guard upper.offset + 4 <= bytes.count else { break }
            key.source_port = bytes.word16(at: upper.offset)
            key.destination_port = bytes.word16(at: upper.offset + 2)
            key.ports_visible = UInt32(1).bigEndian
        case IPProtocol.icmpv6:
            guard upper.offset + 2 <= bytes.count else { break }
            key.source_port = bytes.word16(at: upper.offset)
            key.ports_visible = UInt32(1).bigEndian
        default: break
        }
        return key
    }

    /// Where an IPv4 packet goes, as it lies in its header.
    @inline(__always)
    var destinationWord: UInt32 { ip.word32(at: IPv4Header.Offset.destination) }
}

/// What policies look at of an IPv4 packet, in two words.
struct FlowWords: BitwiseCopyable, Equatable {
    /// Source and destination, as they lie in the header.
    let addresses: UInt64
    /// Ports as they lie in the packet, protocol, and whether ports are visible.
    let rest: UInt64

    private static let portsVisible: UInt64 = 1 << 40
    /// The first fragment of a datagram is no policy's business, but goes the way of the others.
    private static let firstFragment: UInt64 = 1 << 41
    static let protocolMask: UInt64 = 0xff << 32

    var isFirstFragment: Bool { rest & FlowWords.firstFragment != 0 }

    /// What no packet has.
    static let none = FlowWords(addresses: 0, rest: .max)

    private init(addresses: UInt64, rest: UInt64) {
        self.addresses = addresses
        self.rest = rest
    }

    /// RFC 4301 4.4.1.1: ports, and an ICMP message's type and code, count only where they can be seen.
    @inline(__always)
    init(_ ip: PacketBytes) {
        let header = ip.prefix(IPv4Header.minimumOctets)
        addresses = header.word64(at: IPv4Header.Offset.source)
        let ipProtocol = header.uint8(at: IPv4Header.Offset.ipProtocol)
        let start = Int(header.uint8(at: 0) & 0x0f) &* 4
        let fragment = header.word16(at: IPv4Header.Offset.fragment) & FlowWords.fragmentBits
        let hasPorts = ipProtocol == IPProtocol.udp || ipProtocol == IPProtocol.tcp || ipProtocol == IPProtocol.sctp
        var rest = UInt64(ipProtocol) << 32
        if hasPorts && fragment == 0 && start &+ 4 <= ip.count {
            rest |= UInt64(UInt32(littleEndian: ip.word32(at: start))) | FlowWords.portsVisible
        } else if ipProtocol == IPProtocol.icmp && fragment == 0 && start &+ 2 <= ip.count {
            rest |= UInt64(UInt16(littleEndian: ip.word16(at: start))) | FlowWords.portsVisible
        } else if fragment == UInt16(bigEndian: IPv4Header.Fragment.moreFragments) {
            rest |= FlowWords.firstFragment | FlowWords.portsOfFirst(ip, start, ipProtocol, hasPorts: hasPorts)
        }
        self.rest = rest
    }

    /// Zero only for what is whole.
    @inline(__always)
    private static var fragmentBits: UInt16 {
        UInt16(bigEndian: IPv4Header.Fragment.offsetMask | IPv4Header.Fragment.moreFragments)
    }

    /// Whether a packet is of this flow: said of whole packets with ports behind a header without options, which nearly
    /// all are. Of others false says nothing.
    @inline(__always)
    func surelyHolds(_ ip: PacketBytes) -> Bool {
        let octets = IPv4Header.minimumOctets &+ 4
        guard ip.count >= octets else { return false }
        let front = ip.prefix(octets)
        // First, as it tells most that are of another.
        guard front.word64(at: IPv4Header.Offset.source) == addresses else { return false }
        let fragment = front.word16(at: IPv4Header.Offset.fragment) & FlowWords.fragmentBits
        guard front.uint8(at: 0) == 0x45, fragment == 0 else { return false }
        // As of a protocol with ports: the words of one without are others.
        let rest =
            UInt64(front.uint8(at: IPv4Header.Offset.ipProtocol)) << 32 | FlowWords.portsVisible
            | UInt64(UInt32(littleEndian: front.word32(at: IPv4Header.minimumOctets)))
        return rest == self.rest
    }

    @inline(never)
    private static func portsOfFirst(_ ip: PacketBytes, _ start: Int, _ ipProtocol: UInt8, hasPorts: Bool) -> UInt64 {
        if hasPorts && start &+ 4 <= ip.count {
            return UInt64(UInt32(littleEndian: ip.word32(at: start))) | FlowWords.portsVisible
        }
        guard ipProtocol == IPProtocol.icmp && start &+ 2 <= ip.count else { return 0 }
        return UInt64(UInt16(littleEndian: ip.word16(at: start))) | FlowWords.portsVisible
    }

    /// The same for the classifier.
    @inline(__always)
    var key: cdpdk_flow_key {
        cdpdk_flow_key(
            protocol: UInt8(truncatingIfNeeded: rest >> 32), zero: (0, 0, 0),
            source: UInt32(littleEndian: UInt32(truncatingIfNeeded: addresses.littleEndian)),
            destination: UInt32(littleEndian: UInt32(truncatingIfNeeded: addresses.littleEndian >> 32)),
            source_port: UInt16(littleEndian: UInt16(truncatingIfNeeded: rest)),
            destination_port: UInt16(littleEndian: UInt16(truncatingIfNeeded: rest >> 16)),
            ports_visible: rest & FlowWords.portsVisible == 0 ? 0 : UInt32(1).bigEndian)
    }
}

/// Reads a list of packets while nothing is added to it.
@safe
struct PacketSlotsView {
    private let storage: UnsafePointer<PacketSlot>
    let count: Int

    @inline(__always)
    fileprivate init(storage: UnsafePointer<PacketSlot>, count: Int) {
        unsafe self.storage = unsafe storage
        self.count = count
    }

    @inline(__always)
    subscript(_ index: Int) -> PacketSlot {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe storage + index
        }
    }
}

/// A list of packets of fixed capacity.
@safe
struct PacketSlots: ~Copyable {
    private let storage: UnsafeMutablePointer<PacketSlot>
    /// Keys of the IPv6 packets, at their places.
    private let keys6: UnsafeMutablePointer<cdpdk_flow_key6>
    let capacity: Int
    private(set) var count = 0
    /// IPv6 packets among them.
    private(set) var count6 = 0

    init(capacity: Int) {
        self.capacity = capacity
        unsafe storage = UnsafeMutableRawPointer.allocate(
            byteCount: capacity * MemoryLayout<PacketSlot>.stride, alignment: 64
        ).bindMemory(to: PacketSlot.self, capacity: capacity)
        unsafe keys6 = .allocate(capacity: capacity)
        unsafe keys6.initialize(repeating: cdpdk_flow_key6(), count: capacity)
    }

    deinit {
        unsafe storage.deallocate()
        unsafe keys6.deallocate()
    }

    /// Adds an IPv4 packet.
    @inline(__always)
    mutating func append(_ slot: PacketSlot) {
        precondition(count < capacity)
        unsafe (storage + count).initialize(to: slot)
        count &+= 1
    }

    /// Adds an IPv6 packet.
    mutating func append(_ slot: PacketSlot, key: cdpdk_flow_key6) {
        precondition(count < capacity && slot.isIPv6)
        unsafe (storage + count).initialize(to: slot)
        unsafe keys6[count] = key
        count &+= 1
        count6 &+= 1
    }

    mutating func removeAll() {
        count = 0
        count6 = 0
    }

    @inline(__always)
    subscript(_ index: Int) -> PacketSlot {
        unsafeAddress {
            precondition(index >= 0 && index < count)
            return unsafe UnsafePointer(storage + index)
        }
    }

    /// The packets as they are now, for passes that write elsewhere. A pass over the list itself would read address and
    /// count again for each packet: for all the compiler knows, what it wrote may have been these.
    @inline(__always)
    var view: PacketSlotsView { unsafe PacketSlotsView(storage: UnsafePointer(storage), count: count) }

    /// The key of an IPv6 packet.
    func key6(_ index: Int) -> cdpdk_flow_key6 {
        precondition(index >= 0 && index < count)
        return unsafe keys6[index]
    }

    /// The address of an IPv6 packet's key, likewise.
    func unsafeKey6(_ index: Int) -> UnsafePointer<cdpdk_flow_key6> {
        precondition(index >= 0 && index < count)
        return unsafe UnsafePointer(keys6 + index)
    }

    /// Whether policies can't tell two packets apart.
    func haveSameKey(_ first: Int, _ second: Int) -> Bool {
        let isIPv6 = self[first].isIPv6
        guard isIPv6 == self[second].isIPv6 else { return false }
        guard isIPv6 else { return FlowWords(self[first].ip) == FlowWords(self[second].ip) }
        let one = key6(first), other = key6(second)
        return one.source == other.source && one.destination == other.destination
            && one.source_port == other.source_port && one.destination_port == other.destination_port
            && one.protocol == other.protocol && one.ports_visible == other.ports_visible
            && one.fragment == other.fragment
    }
}
