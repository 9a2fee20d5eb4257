// A worker: one core, its queues of all ports, its SAs. A packet's way, in the order of the files:
//
//   Worker+Receive    Ethernet and IPv4 are checked; ARP goes to Worker+ARP; the rest to one of two sides
//   Worker+Inbound    unprotected side: SAD, open, selectors; or clear text and the inbound SPD
//   Worker+Outbound   protected side, and what was decrypted: route, outbound SPD, protect
//   Worker+Local      what is for the gateway itself, and ICMP errors
//   Worker+Transmit   next hop, Ethernet header, queue of the port
//   Worker+Ahead      decrypted packets that wait until their number is on disk
//   Worker+Adopt      between two rounds: other tables
//
// Every burst goes through passes over fixed arrays. A packet ends in exactly one of: transmit, consume, drop, hand
// off, hold. Nothing here allocates, locks, throws or counts references per packet.
//
// Methods on the packet's way are `mutating` or `static` even when they change nothing: for a borrowing call from a
// mutating method Swift 6.3 first copies the whole worker, 700 octets a packet.

import CDPDK
import ESP
import IPsec
import Wire

/// A port as the worker's passes read it.
struct WorkerPort: BitwiseCopyable {
    var id: UInt16
    var rxQueue: UInt16
    var txQueue: UInt16
    var polls: Bool
    var isProtected: Bool
    var localServices: Bool
    var mac: UInt64
    var mtu: Int
    /// Where its ICMP errors and ARP requests come from; 0 when it has no address.
    var address: UInt32
}

/// One worker. Owned by the thread that polls it.
@safe
public struct Worker: ~Copyable {
    /// Packets taken from a queue at once.
    static let burst = 32
    /// Packets in a pass: a burst, and what it makes.
    static let passCapacity = 64
    /// Packets that wait for neighbours at once, and for one of them.
    static let heldLimit = 256
    static let heldPerNeighbor: UInt16 = 16

    let index: Int
    let workers: Int
    let pool: PacketPool
    let block: WorkerBlock
    let ports: FixedArray<WorkerPort>
    let macMask: UInt64
    let rings: FixedArray<HandoffRings>
    let ticksPerSecond: UInt64
    let resolves: Bool
    let cell: TableCell
    /// Keeps what bursts tell of SAs.
    let attention: AttentionMap
    let census: NeighborCensus
    let notices: NoticeRing

    // The tables of the moment, which the cell keeps until this worker says that it has others.
    var tablesAddress: UInt
    var fib: UnsafeMutableRawPointer
    var outboundPolicies: UnsafeMutableRawPointer
    var inboundPolicies: UnsafeMutableRawPointer
    var routes: FixedArrayView<RouteEntry>
    var tunnels: FixedArrayView<TunnelEntry>
    var selectors: FixedArrayView<AddressBlock>
    var sad: SADView
    var ownFilter: UInt64
    /// Which route table the neighbours' indices are of.
    var routing: UnsafeRawPointer

    var neighbors: NeighborTable
    var crypto: SoftwareGCM
    var outbound: OutboundBurst
    var inbound: InboundBurst
    /// Of the packets in `inbound`.
    let received: FixedArray<ReceivedESP>
    var frames: MbufList
    var inside: PacketSlots
    var outside: PacketSlots
    var originated: PacketSlots
    /// Packets that were dropped and not yet freed.
    public internal(set) var dropped: MbufList
    var queues: TransmitQueues
    let held: FixedArray<HeldPacket>
    var heldCount = 0
    var ahead = AheadList()

    // Scratch of the lookup passes.
    let addresses: FixedArray<UInt32>
    let hops: FixedArray<UInt64>
    /// Next hop of each packet in `outbound`.
    let outboundHops: FixedArray<UInt32>
    var policies: PolicyLookup

    var now: UInt64 = 0
    var housekeepingAt: UInt64 = 0
    var echoAnswers: TokenBucket
    var errorMessages: TokenBucket
    var arpAnswers: TokenBucket
    var arpRequests: TokenBucket

    /// A worker that has seen nothing. Throws `.noCrypto`.
    public init(_ plan: WorkerPlan) throws(DataPlaneError) {
        guard let crypto = SoftwareGCM() else { throw .noCrypto }
        self.crypto = crypto
        index = plan.index
        workers = plan.rings.count
        pool = plan.pool
        block = plan.block
        ticksPerSecond = plan.ticksPerSecond
        cell = plan.tables
        attention = plan.attention
        census = plan.census
        notices = plan.notices
        let (address, reference) = unsafe plan.tables.read()
        let tables = unsafe reference.takeUnretainedValue()
        tablesAddress = address
        unsafe fib = tables.routing.fib
        unsafe outboundPolicies = tables.policies.outbound
        unsafe inboundPolicies = tables.policies.inbound
        routes = tables.routing.entries.unownedView
        tunnels = tables.tunnels.unownedView
        selectors = tables.selectors.unownedView
        sad = SADView(slots: tables.associations.unownedView)
        ownFilter = tables.ownFilter
        unsafe routing = UnsafeRawPointer(Unmanaged.passUnretained(tables.routing).toOpaque())
        rings = FixedArray(plan.rings)
        switch plan.mode {
        case .live: (resolves, macMask) = (true, 0xffff_ffff_ffff)
        case .replay(let resolve): (resolves, macMask) = (resolve, 0)
        }
        ports = FixedArray(Worker.ports(plan, tables.topology))
        neighbors = NeighborTable(pinned: tables.routing.pinned)

        let capacity = Worker.passCapacity
        outbound = OutboundBurst(capacity: capacity, attention: plan.attention)
        inbound = InboundBurst(capacity: capacity, attention: plan.attention)
        frames = MbufList(capacity: Worker.burst)
        inside = PacketSlots(capacity: capacity)
        outside = PacketSlots(capacity: capacity)
        originated = PacketSlots(capacity: capacity)
        dropped = MbufList(capacity: Worker.heldLimit + AheadList.limit + 4 * capacity)
        queues = TransmitQueues(count: plan.ports.count)
        held = FixedArray(unfilled: Worker.heldLimit)
        received = FixedArray(unfilled: capacity)
        addresses = FixedArray(repeating: 0, count: capacity)
        hops = FixedArray(repeating: 0, count: capacity)
        outboundHops = FixedArray(repeating: 0, count: capacity)
        policies = PolicyLookup(capacity: capacity)
        let ticks = plan.ticksPerSecond
        echoAnswers = TokenBucket(rate: 1000, burst: 100, ticksPerSecond: ticks)
        errorMessages = TokenBucket(rate: 100, burst: 50, ticksPerSecond: ticks)
        arpAnswers = TokenBucket(rate: 1000, burst: 100, ticksPerSecond: ticks)
        arpRequests = TokenBucket(rate: 1000, burst: 1000, ticksPerSecond: ticks)
        learnStaticNeighbors(tables.topology)
        block.adopted(tables.generation, ticks: 0)
    }

    private static func ports(_ plan: WorkerPlan, _ topology: Topology) -> [WorkerPort] {
        zip(plan.ports, topology.ports).map { port, described in
            WorkerPort(
                id: port.id, rxQueue: port.rxQueue ?? 0, txQueue: port.txQueue, polls: port.rxQueue != nil,
                isProtected: described.role == .protected, localServices: described.localServices,
                mac: port.mac.rawValue, mtu: described.mtuOctets,
                address: described.addresses.first?.address.v4Number ?? 0)
        }
    }

    static func filterBit(_ address: UInt32) -> UInt64 { 1 &<< UInt64((address &* 0x9e37_79b1) >> 26) }

    /// One round over all queues. `now` is the clock in ticks, read once for the round; it never goes back.
    ///
    /// What it drops stays in `dropped` for the caller to look at and release.
    public mutating func poll(now: UInt64) {
        self.now = now
        if cell.hasOther(than: tablesAddress) { adopt() }
        if ahead.count > 0 { takeAhead() }
        var port = 0
        while port < ports.count {
            if ports[port].polls { poll(port: port) }
            port &+= 1
        }
        if workers > 1 { takeHandoffs() }
        if now >= housekeepingAt { keepHouse() }
        flush()
        block.add(1, to: .rounds)
    }

    /// One burst of one port, to the end: what it sends is with the port's queue, what it drops in `dropped`.
    @inline(__always)
    mutating func poll(port: Int) {
        frames.receive(port: ports[port].id, queue: ports[port].rxQueue, limit: Worker.burst)
        guard frames.count > 0 else { return }
        receive(on: port)
        finishPass()
    }

    /// What both sides share once a burst is sorted: open, admit, forward, and then the same for what that made.
    @inline(__always)
    mutating func finishPass() {
        if inbound.count > 0 { openInbound() }
        if outside.count > 0 { admitOutside() }
        if inside.count > 0 { forwardInside() }
        if originated.count > 0 {
            swap(&inside, &originated)
            forwardInside()
        }
    }

    /// Gives queued packets to the ports.
    @inline(__always)
    mutating func flush() {
        var port = 0
        while port < ports.count {
            if queues[port].count > 0 { send(port) }
            port &+= 1
        }
    }

    /// Gives dropped packets back to their pool.
    public mutating func releaseDropped() { dropped.freeAll() }

    /// Ends a packet's way.
    @inline(__always)
    mutating func drop(_ mbuf: Mbuf, _ reason: DropReason) {
        block.countDrop(reason)
        if dropped.count == dropped.capacity { releaseDropped() }
        dropped.append(mbuf)
    }

    /// Counts a packet that came in by a port and found no buffer.
    public func refuse(port: Int, octets: Int, _ reason: DropReason) {
        block.add(1, to: .received)
        block.add(1, to: .rxPackets, port: port)
        block.add(octets, to: .rxOctets, port: port)
        block.countDrop(reason)
    }

    /// Polls until the block says stop, then drains. The clock is the processor's time-stamp counter.
    mutating func run() {
        while !block.mustStop {
            poll(now: rte_rdtsc())
            releaseDropped()
        }
        drain()
    }
}
