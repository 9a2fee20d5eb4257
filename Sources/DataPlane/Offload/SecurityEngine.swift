import CDPDK
import ESP
import IPsec
import Synchronization

/// An SA that a device has.
@safe
final class DeviceSession: @unchecked Sendable {
    let direction: Direction
    let spi: SPI
    fileprivate let pointer: UnsafeMutableRawPointer
    /// The driver keeps its address.
    private let key: KeyMaterial
    /// Where its memory is; it goes with the last session.
    private let pool: SessionPool

    fileprivate init(
        _ pointer: UnsafeMutableRawPointer, _ direction: Direction, _ spi: SPI, _ key: KeyMaterial, _ pool: SessionPool
    ) {
        unsafe self.pointer = unsafe pointer
        self.direction = direction
        self.spi = spi
        self.key = key
        self.pool = pool
    }

    /// As workers take it: the session's address, and above its 48 bits the port's index, from 1.
    func handle(port: Int) -> UInt64 { unsafe UInt64(port + 1) << 48 | UInt64(UInt(bitPattern: pointer)) }
}

/// Memory for sessions.
@safe
private final class SessionPool: @unchecked Sendable {
    static let made = Atomic<UInt64>(0)
    let pointer: UnsafeMutableRawPointer

    init(_ context: UnsafeMutableRawPointer, count: Int) throws(DataPlaneError) {
        let number = SessionPool.made.wrappingAdd(1, ordering: .relaxed).newValue
        guard let pointer = unsafe cdpdk_session_pool_create(context, "sessions-\(number)", UInt32(count)) else {
            throw .noMemory(what: "\(count) sessions of a NIC's", error: cdpdk_errno())
        }
        unsafe self.pointer = unsafe pointer
    }

    deinit { unsafe cdpdk_session_pool_free(pointer) }
}

/// The IPsec engine of a port's device: what its driver offers, and the sessions it has. Counts them itself, since
/// drivers say yes to more than there is room for. One thread at a time.
@safe
final class SecurityEngine: @unchecked Sendable {
    let capabilities: [SecurityCapability]
    let rules: EngineRules
    private let port: UInt16
    private let context: UnsafeMutableRawPointer
    private let pool: SessionPool
    /// Those that no SA is behind: they switch a direction on again.
    private var sentinels: [Direction: DeviceSession] = [:]

    /// The engine of a port that is not started yet; nil where its driver has none, or is not known.
    init?(port: UInt16) {
        let survey = EngineSurvey(port: port)
        guard survey.isUsable, let rules = survey.rules, let context = unsafe cdpdk_security_context(port),
            let pool = unsafe try? SessionPool(context, count: rules.outboundSlots + rules.inboundSlots + 2)
        else { return nil }
        self.port = port
        unsafe self.context = unsafe context
        self.rules = rules
        self.pool = pool
        capabilities = survey.capabilities
    }

    /// Whether it does what this gateway needs of it in a mode and direction.
    func offers(_ mode: AssociationProfile.Mode, _ direction: Direction) -> Bool {
        capabilities.contains { $0.isUsable && $0.mode == mode && $0.direction == direction }
    }

    /// SAs that it may be given in a direction.
    func slots(_ direction: Direction) -> Int { rules.usableSlots(direction) }

    /// Gives the device an SA of AES-128-GCM with an ICV of 16 octets; nil when the driver does not take it.
    func install(
        _ direction: Direction, spi: SPI, key: KeyMaterial, mode: AssociationProfile.Mode, local: IPAddress,
        remote: IPAddress
    ) -> DeviceSession? {
        precondition(key.algorithm == .aes128GCM16)
        var request = unsafe cdpdk_session_request()
        unsafe request.is_egress = direction == .outbound
        unsafe request.is_tunnel = mode == .tunnel
        unsafe request.is_ipv6 = local.family == .v6
        unsafe request.spi = spi.rawValue
        unsafe request.keymat = key.deviceKey
        let (source, destination) = direction == .outbound ? (local, remote) : (remote, local)
        unsafe withUnsafeMutableBytes(of: &request.source) { unsafe SecurityEngine.write(source, to: $0) }
        unsafe withUnsafeMutableBytes(of: &request.destination) { unsafe SecurityEngine.write(destination, to: $0) }
        guard let pointer = unsafe cdpdk_session_create(context, &request, pool.pointer) else { return nil }
        // Workers keep a port's number above the address.
        precondition(UInt(bitPattern: pointer) >> 48 == 0)
        let session = unsafe DeviceSession(pointer, direction, spi, key, pool)
        if direction == .inbound, unsafe cdpdk_session_attach(port, pointer, &request) < 0 {
            // Without a flow this driver can't take it back; the pool keeps it.
            unsafe _ = cdpdk_session_destroy(context, pointer)
            return nil
        }
        return session
    }

    /// Takes SAs from the device. The caller has seen to it that nothing is under way under any of this direction; they
    /// all have the same one.
    func remove(_ sessions: [DeviceSession]) {
        guard let direction = sessions.first?.direction else { return }
        for session in sessions { unsafe _ = cdpdk_session_destroy(context, session.pointer) }
        arm(direction)
    }

    /// Switches a direction on: the driver does so with each SA that is installed, and off with each that is removed.
    func arm(_ direction: Direction) {
        guard rules.removalDisarms else { return }
        if let sentinel = sentinels[direction] { unsafe _ = cdpdk_session_destroy(context, sentinel.pointer) }
        sentinels[direction] = nil
        guard let key = KeyMaterial(randomFor: .aes128GCM16) else { return }
        let nowhere = IPAddress(v4: 0xc000_02ff)
        sentinels[direction] = install(
            direction, spi: SecurityEngine.sentinelSPI, key: key, mode: .tunnel, local: nowhere, remote: nowhere)
    }

    /// Whether a direction is switched on for sure. With the driver that needs no sentinel it always is.
    func isArmed(_ direction: Direction) -> Bool { !rules.removalDisarms || sentinels[direction] != nil }

    /// Reserved (RFC 4303 section 2.1): no SA has it.
    static let sentinelSPI = SPI(rawValue: 255)

    /// As the address is on the wire.
    private static func write(_ address: IPAddress, to octets: UnsafeMutableRawBufferPointer) {
        let count = address.family.bits / 8
        for index in 0..<count {
            unsafe octets[index] = UInt8(truncatingIfNeeded: address.rawValue >> UInt128(8 * (count - 1 - index)))
        }
    }

    /// Takes back what it was given to be switched on.
    func disarm() {
        for sentinel in sentinels.values { unsafe _ = cdpdk_session_destroy(context, sentinel.pointer) }
        sentinels = [:]
    }

    /// Makes the device encrypt a packet with an IPv4 header without options; for a test of it.
    func mark(_ mbuf: Mbuf, _ session: DeviceSession) -> Bool {
        unsafe cdpdk_session_mark(context, session.pointer, mbuf.pointer, cdpdk_mark_make(20, false)) == 0
    }

    /// What workers need to mark packets.
    var contextAddress: UInt { unsafe UInt(bitPattern: context) }
}
