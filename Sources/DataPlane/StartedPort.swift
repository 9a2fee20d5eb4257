import CDPDK
import IPsec
import Wire

/// A port that runs.
public struct StartedPort: Sendable {
    /// DPDK's number.
    public let id: UInt16
    /// The name in the site.
    public let name: String
    /// DPDK's name of the driver.
    public let driver: String
    /// Its own address.
    public let mac: MACAddress
    /// Receive queues; workers beyond their number poll none of this port.
    public let rxQueues: Int
    /// How received packets come to several workers.
    public let spreading: PacketSpreading
    /// The NUMA node of its device; nil where nobody knows.
    public let node: Int?
    /// What the device can't do of what was asked; for the operator, not failures.
    public private(set) var notes: [String]

    /// The IPsec engine of its device, if it was started with that.
    let engine: SecurityEngine?
    /// What workers need of it; 0 without one.
    var engineAddress: UInt
    /// Whether it was started with an IPsec engine.
    public var hasEngine: Bool { engine != nil }
    /// What the driver says that the engine does; empty without one.
    public var capabilities: [SecurityCapability] { engine?.capabilities ?? [] }
    /// What the engine did in the test; nil when there was none.
    public let selfTest: EngineSelfTest?
    /// Descriptors of a transmit queue.
    let txDescriptors: UInt16

    static let descriptors: UInt16 = 1024
    /// Rounds in which a worker has taken all that was in a full receive queue, and two more.
    static let descriptorRounds = UInt64(descriptors) / UInt64(Worker.burst) + 2

    /// Finds the device of `port`, configures one transmit queue and, as far as the device has them, one receive queue
    /// for each worker, and starts it; with its IPsec engine if that is wanted and there is one, which is tested
    /// before.
    ///
    /// With `pools` each worker's queue has its own instead of `pool`.
    public init(
        _ port: Topology.Port, workers: Int, pool: PacketPool, pools: [PacketPool] = [], wantsEngine: Bool = false
    ) throws(DataPlaneError) {
        let number = unsafe cdpdk_port_by_name(Environment.Settings.portName(port.device))
        guard number >= 0 else { throw .noDevice(port: port.name, device: port.device) }
        try self.init(id: UInt16(number), port, workers: workers, pool: pool, pools: pools, wantsEngine: wantsEngine)
    }

    /// The same for a port whose number is known. `mac` is for a device that has no address of its own.
    init(
        id: UInt16, _ port: Topology.Port, workers: Int, pool: PacketPool, pools: [PacketPool] = [],
        mac: MACAddress? = nil, wantsEngine: Bool = false
    ) throws(DataPlaneError) {
        var request = unsafe cdpdk_port_request()
        unsafe request.rx_queues = UInt16(workers)
        unsafe request.tx_queues = UInt16(workers)
        unsafe request.mtu_octets = UInt16(port.mtuOctets)
        unsafe request.rx_descriptors = StartedPort.descriptors
        unsafe request.tx_descriptors = StartedPort.descriptors
        var queues: [UnsafeMutableRawPointer?] = unsafe (0..<workers).map {
            unsafe (pools.isEmpty ? pool : pools[$0]).pointer
        }
        let engine = wantsEngine ? SecurityEngine(port: id) : nil
        if let engine {
            unsafe request.secure = true
            // A packet may take two: an SA or padding that differs from the last packet's is told first.
            unsafe request.tx_descriptors *= 2
            selfTest = unsafe StartedPort.test(engine, id, request, pool)
        } else {
            selfTest = nil
        }
        self.engine = engine
        engineAddress = engine?.contextAddress ?? 0
        var state = unsafe cdpdk_port_state()
        unsafe queues.withUnsafeMutableBufferPointer { pools in
            unsafe request.pools = UnsafePointer(pools.baseAddress)
            unsafe cdpdk_port_start(id, &request, &state)
        }
        let driver = unsafe withUnsafeBytes(of: &state.driver) { octets in
            unsafe String(decoding: octets.prefix { $0 != 0 }, as: UTF8.self)
        }
        if let step = unsafe state.failed_step {
            throw unsafe .portFailed(port: port.name, driver: driver, step: String(cString: step), error: state.error)
        }
        txDescriptors = unsafe state.tx_descriptors
        let txQueues = unsafe Int(state.tx_queues)
        guard txQueues >= workers else {
            cdpdk_port_close(id)
            throw .tooFewQueues(port: port.name, driver: driver, offered: txQueues, workers: workers)
        }
        self.id = id
        name = port.name
        self.driver = driver
        let own = unsafe withUnsafeBytes(of: &state.mac) { unsafe MACAddress(octets: Array($0)) }
        self.mac = mac ?? own ?? .broadcast
        rxQueues = unsafe Int(state.rx_queues)
        spreading = unsafe PacketSpreading(
            workers: workers, rxQueues: Int(state.rx_queues), hasRSS: state.rss, hasSPI: state.rss_spi)
        let node = Int(rte_eth_dev_socket_id(id))
        self.node = node < 0 ? nil : node
        notes = []
        if unsafe state.mtu_error != 0 {
            notes.append("\(driver) can't set an MTU of \(port.mtuOctets) octets; its own holds")
        }
        if unsafe rxQueues > 1 && !state.rss {
            notes.append("\(driver) has \(rxQueues) receive queues and no RSS; it spreads packets its own way")
        }
        if let note = joinGroups(port) { notes.append(note) }
        if rxQueues < workers { notes.append("\(driver) has \(rxQueues) receive queue(s) for \(workers) workers") }
    }

    /// Starts a port in loopback, tests its engine, and stops it again.
    private static func test(
        _ engine: SecurityEngine, _ id: UInt16, _ request: cdpdk_port_request, _ pool: PacketPool
    ) -> EngineSelfTest {
        var request = unsafe request
        unsafe request.rx_queues = 1
        unsafe request.tx_queues = 1
        unsafe request.loopback = true
        var state = unsafe cdpdk_port_state()
        var queue: UnsafeMutableRawPointer? = unsafe pool.pointer
        unsafe withUnsafePointer(to: &queue) { queue in
            unsafe request.pools = unsafe queue
            unsafe cdpdk_port_start(id, &request, &state)
        }
        defer { _ = cdpdk_port_stop(id) }
        let own = unsafe withUnsafeBytes(of: &state.mac) { unsafe MACAddress(octets: Array($0)) }
        guard unsafe state.failed_step == nil, let own else { return EngineSelfTest(outbound: false, inbound: false) }
        return EngineSelfTest.run(engine, port: id, mac: own, pool: pool)
    }

    /// Makes the device take what neighbours send to find our IPv6 addresses (RFC 4861 section 7.2.1). Returns what it
    /// can't do of that, for the operator; nil when nothing is wanting.
    ///
    /// Switches are not told (MLD, RFC 3810): one that snoops must flood these groups, as all do for who is silent.
    func joinGroups(_ port: Topology.Port) -> String? {
        var groups = port.multicastGroups(mac: mac).map(\.rawValue)
        guard !groups.isEmpty else { return nil }
        let error = unsafe cdpdk_port_join(id, &groups, UInt32(groups.count))
        return error == 0 ? nil : "\(driver) can't join multicast groups; neighbours may not find its IPv6 addresses"
    }

    /// Whether its link is up; true where the driver can't tell.
    public var linkIsUp: Bool { cdpdk_port_link_is_up(id) }

    /// Packets that the device lost before a worker saw them.
    public var lost: (missed: UInt64, errors: UInt64, noBuffers: UInt64) {
        var missed: UInt64 = 0, errors: UInt64 = 0, noBuffers: UInt64 = 0
        unsafe cdpdk_port_lost(id, &missed, &errors, &noBuffers)
        return (missed, errors, noBuffers)
    }

    /// Stops and closes it.
    public func close() { cdpdk_port_close(id) }
}
