// A worker: one core, its queues of all ports, its SAs. A packet's way, in the order of the files:
//
//   Worker+Receive    Ethernet and IPv4 are checked; the rest goes to one of two sides
//   Worker+Receive6   VLAN tags, and the same for IPv6
//   Worker+ARP        what IPv4 neighbours say; of IPv6 ones: Worker+NeighborDiscovery; both: Worker+Neighbors
//   Worker+Inbound    unprotected side: SAD, open, selectors; or clear text and the inbound SPD
//   Worker+Outbound   protected side, and what was decrypted: route, outbound SPD, protect
//   Worker+ESPInUDP   ESP behind a UDP header, and peers that move
//   Worker+Sizes      packets that are cut, fragments that are put together; Worker+OuterFragments: cut behind ESP
//   Worker+PathMTU    routers' word on how large packets may be
//   Worker+Punt       to the kernel and back
//   Worker+Offload    what a NIC encrypts and decrypts
//   Worker+Coprocessor    what another device does, beside the way
//   Worker+Local      what is for the gateway itself, and ICMP errors
//   Worker+Transmit   next hop, Ethernet header, queue of the port
//   Worker+Ahead      decrypted packets that wait until their number is on disk
//   Worker+Adopt      between two rounds: other tables
//   Worker+Observe    what somebody is shown who looks at packets, Worker+Trace step by step
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
    var isPunt: Bool
    var localServices: Bool
    /// The VLAN that its frames are tagged with; 0 for untagged ones.
    var vlan: UInt16
    /// The type of frames that go the short way: IPv4's; on a port with a VLAN one that no frame has.
    var shortType: UInt32
    /// Where its ICMP errors and ARP requests come from; 0 when it has no address.
    var address: UInt32
    var mac: UInt64
    var mtu: Int
    /// Where its ICMPv6 errors come from, and its neighbour solicitations; 0 when it has none.
    var address6: UInt128
    var linkLocal: UInt128
    /// The address of what the driver wants with each packet for its IPsec engine; 0 when it has none.
    var engine: UInt
    /// Whether packets may be left to that engine now.
    var sendsInline = false
    /// Whether the port is to be left alone now.
    var isPaused = false

    init(_ port: WorkerPlan.Port, _ described: Topology.Port) {
        id = port.id
        rxQueue = port.rxQueue ?? 0
        txQueue = port.txQueue
        polls = port.rxQueue != nil
        isProtected = described.role == .protected
        isPunt = described.role == .punt
        vlan = described.vlan ?? 0
        shortType = described.vlan == nil ? UInt32(EtherType.ipv4) : .max
        mac = port.mac.rawValue
        engine = port.engine
        mtu = described.mtuOctets
        (localServices, address, address6, linkLocal) = (false, 0, 0, 0)
        take(described)
    }

    /// Takes over what may change while it runs.
    mutating func take(_ described: Topology.Port) {
        localServices = described.localServices
        address = described.addresses.compactMap(\.address.v4).first ?? 0
        address6 = described.routedAddresses.first { $0.prefix.family == .v6 }?.address.rawValue ?? 0
        linkLocal = described.linkLocalAddress(mac: MACAddress(rawValue: mac))?.rawValue ?? 0
    }
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
    /// Index of the port to the kernel; `noPort` without.
    let puntPort: Int
    let notices: NoticeRing
    /// Whether any port has an IPsec engine, or there is a coprocessor: asked of each ESP packet, in place of its port.
    let hasDevices: Bool
    let gates: OffloadGates
    let idle: WorkerIdle
    var gatesVersion: UInt64 = 0
    /// Whether something may be left that was begun under other gates.
    var isDraining = false
    let observations: ObservationCell

    // The tables of the moment, which the cell keeps until this worker says that it has others.
    var tablesAddress: UInt
    var fib: UnsafeMutableRawPointer
    var fib6: UnsafeMutableRawPointer?
    var outboundPolicies: PolicyView
    var inboundPolicies: PolicyView
    var routes: FixedArrayView<RouteEntry>
    var tunnels: FixedArrayView<TunnelEntry>
    var lanes: LaneView
    var selectors: FixedArrayView<AddressBlock>
    var tunnels6: FixedArrayView<TunnelEntry6>
    var selectors6: FixedArrayView<AddressBlock6>
    /// Inbound SAs of ESP, and of AH.
    var sad: SADView
    var authentications: SADView
    var own6: FixedArrayView<OwnAddress6>
    var peers: FixedArrayView<PeerEntry>
    var outboundSPIs: FixedArrayView<OutboundSlot>
    var hasTransport: Bool
    /// Whether a UDP datagram from outside may be anything but clear text.
    var takesDatagrams: Bool
    var ownFilter: UInt64
    var ownFilter6: UInt64
    /// Which route table the neighbours' indices are of.
    var routing: UnsafeRawPointer

    var neighbors: NeighborTable
    var crypto: SoftwareCrypto
    var outbound: OutboundBurst
    var inbound: InboundBurst
    /// Of the packets in `inbound`.
    let received: FixedArray<ReceivedESP>
    var frames: MbufList
    /// Packets that go to another worker now, and those from outside that do at the end of the pass.
    var handed: MbufList
    let leaving: FixedArray<LeavingPacket>
    var leavingCount = 0
    var inside: PacketSlots
    var outside: PacketSlots
    var originated: PacketSlots
    /// Packets that were dropped and not yet freed.
    public internal(set) var dropped: MbufList
    /// Why each of them was.
    let reasons: FixedArray<DropReason>
    var queues: TransmitQueues
    let held: FixedArray<HeldPacket>
    var heldCount = 0
    var ahead = AheadList()

    // Scratch of the lookup passes.
    let addresses: FixedArray<UInt32>
    let hops: FixedArray<UInt64>
    /// Where packets with each of `addresses` begin.
    let starts: FixedArray<UInt32>
    let addresses6: FixedArray<WireAddress6>
    let hops6: FixedArray<UInt64>
    let places6: FixedArray<UInt32>
    /// Of the packets in `outbound`.
    let sending: FixedArray<SendingESP>
    /// Packets in `inbound` that a NIC called wrong.
    var deviceFailures = 0
    let coprocessors: FixedArray<CoprocessorLane>
    /// Packets that these have, or have done and that wait for the end of a pass.
    var crossing = 0
    var opened = OpenedList()
    /// Which neighbours' places packets that are under way go by.
    var crossingEpoch: UInt32 = 0
    /// The round in which there was no room for more.
    var fullAt: UInt64 = .max
    /// What a packet was cut into.
    var pieces: MbufList
    /// Fragments of ESP that wait for the rest.
    var fragments: FragmentTable
    /// Of the last outer IPv6 packet that was cut. Where it begins others can't guess (RFC 7739).
    var outerIdentification: UInt32
    var policies: PolicyLookup

    var now: UInt64 = 0
    var housekeepingAt: UInt64 = 0
    /// Tenths of a second that the clock has shown, and when the next begins.
    var tenth: UInt64 = 0
    var tenthEnds: UInt64 = 0
    var keepaliveTenth = 0
    var pathMessages: TokenBucket
    var puntedPackets: TokenBucket
    var echoAnswers: TokenBucket
    var errorMessages: TokenBucket
    /// Of ARP and neighbour discovery.
    var neighborAnswers: TokenBucket
    var neighborRequests: TokenBucket

    // Of somebody who looks at packets, if there is somebody.
    var isObserved = false
    var observer: ObservationRing?
    var observerAddress: UInt = 0
    /// Dropped packets that have been shown.
    var lookedAtDropped = 0
    /// The packets of a burst.
    var originals: MbufList
    /// The record of the packet that is followed.
    var tracing: ObservationSlot?
    var traces: TokenBucket
    /// Whether there was anything to do in this round.
    var hasWorked = false

    /// A worker that has seen nothing. Throws `.noCrypto`.
    public init(_ plan: WorkerPlan) throws(DataPlaneError) {
        guard let crypto = SoftwareCrypto() else { throw .noCrypto }
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
        gates = plan.gates
        idle = plan.idle
        observations = plan.observations
        let (address, reference) = unsafe plan.tables.read()
        let tables = unsafe reference.takeUnretainedValue()
        tablesAddress = address
        unsafe fib = tables.routing.fib
        unsafe fib6 = tables.routing.fib6
        let counters = tables.policies.counters(of: plan.index)
        outboundPolicies = PolicyView(tables.policies.outbound, counters.outbound)
        inboundPolicies = PolicyView(tables.policies.inbound, counters.inbound)
        routes = tables.routing.entries.unownedView
        tunnels = tables.tunnels.unownedView
        lanes = tables.lanes.view
        selectors = tables.selectors.unownedView
        tunnels6 = tables.tunnels6.unownedView
        selectors6 = tables.selectors6.unownedView
        sad = SADView(slots: tables.associations.unownedView)
        authentications = SADView(slots: tables.authentications.unownedView)
        own6 = tables.own6.unownedView
        peers = tables.peers.unownedView
        outboundSPIs = tables.outboundSPIs.unownedView
        hasTransport = tables.hasTransport
        puntPort = tables.puntPort
        takesDatagrams = tables.takesDatagrams
        ownFilter = tables.ownFilter
        ownFilter6 = tables.ownFilter6
        unsafe routing = UnsafeRawPointer(Unmanaged.passUnretained(tables.routing).toOpaque())
        rings = FixedArray(plan.rings)
        switch plan.mode {
        case .live: (resolves, macMask) = (true, 0xffff_ffff_ffff)
        case .replay(let resolve): (resolves, macMask) = (resolve, 0)
        }
        ports = FixedArray(Worker.ports(plan, tables.topology))
        hasDevices = Worker.hasDevices(plan)
        neighbors = NeighborTable(pinned: tables.routing.pinned)

        let capacity = Worker.passCapacity
        outbound = OutboundBurst(capacity: capacity, attention: plan.attention)
        inbound = InboundBurst(
            capacity: capacity, attention: plan.attention, ticksPerSecond: plan.ticksPerSecond)
        frames = MbufList(capacity: Worker.burst)
        handed = MbufList(capacity: capacity)
        leaving = FixedArray(unfilled: capacity)
        inside = PacketSlots(capacity: capacity)
        outside = PacketSlots(capacity: capacity)
        originated = PacketSlots(capacity: capacity)
        let droppedLimit = Worker.heldLimit + AheadList.limit + FragmentTable.bufferLimit + 4 * capacity
        dropped = MbufList(capacity: droppedLimit)
        reasons = FixedArray(unfilled: droppedLimit)
        originals = MbufList(capacity: Worker.burst)
        queues = TransmitQueues(count: plan.ports.count)
        held = FixedArray(unfilled: Worker.heldLimit)
        received = FixedArray(unfilled: capacity)
        addresses = FixedArray(repeating: 0, count: capacity)
        hops = FixedArray(repeating: 0, count: capacity)
        starts = FixedArray(repeating: 0, count: capacity)
        addresses6 = FixedArray(unfilled: capacity)
        hops6 = FixedArray(repeating: 0, count: capacity)
        places6 = FixedArray(repeating: 0, count: capacity)
        sending = FixedArray(unfilled: capacity)
        coprocessors = FixedArray(Worker.lanes(plan))
        pieces = MbufList(capacity: Worker.pieceLimit)
        fragments = FragmentTable(
            ticksPerSecond: plan.ticksPerSecond, wholeLimitOctets: plan.pool.frameOctets, secret: plan.mode.secret)
        outerIdentification = UInt32(truncatingIfNeeded: plan.mode.secret)
        policies = PolicyLookup(capacity: capacity)
        let ticks = plan.ticksPerSecond, punted = UInt64(tables.topology.puntRatePacketsPerSecond)
        pathMessages = TokenBucket(rate: 10, burst: 10, ticksPerSecond: ticks)
        puntedPackets = TokenBucket(rate: punted, burst: max(1, punted / 4), ticksPerSecond: ticks)
        echoAnswers = TokenBucket(rate: 1000, burst: 100, ticksPerSecond: ticks)
        errorMessages = TokenBucket(rate: 100, burst: 50, ticksPerSecond: ticks)
        neighborAnswers = TokenBucket(rate: 1000, burst: 100, ticksPerSecond: ticks)
        neighborRequests = TokenBucket(rate: 1000, burst: 1000, ticksPerSecond: ticks)
        traces = TokenBucket(rate: Worker.tracedPerSecond, burst: 1000, ticksPerSecond: ticks)
        learnStaticNeighbors(tables.topology)
        block.adopted(tables.generation, ticks: 0)
    }

    private static func hasDevices(_ plan: WorkerPlan) -> Bool {
        !plan.coprocessors.isEmpty || plan.ports.contains { $0.engine != 0 }
    }

    private static func ports(_ plan: WorkerPlan, _ topology: Topology) -> [WorkerPort] {
        zip(plan.ports, topology.ports).map { WorkerPort($0, $1) }
    }

    static func filterBit(_ address: UInt32) -> UInt64 { 1 &<< UInt64((address &* 0x9e37_79b1) >> 26) }

    static func filterBit(_ address: UInt128) -> UInt64 {
        let folded = UInt64(truncatingIfNeeded: address >> 64) ^ UInt64(truncatingIfNeeded: address)
        return filterBit(UInt32(truncatingIfNeeded: folded ^ folded >> 32))
    }

    /// One round over all queues. `now` is the clock in ticks, read once for the round; it never goes back.
    ///
    /// What it drops stays in `dropped` for the caller to look at and release.
    public mutating func poll(now: UInt64) {
        self.now = now
        if now >= tenthEnds {
            let ticks = max(1, ticksPerSecond / 10)
            tenth = now / ticks
            tenthEnds = (tenth + 1) * ticks
        }
        if cell.hasOther(than: tablesAddress) { adopt() }
        if gates.hasChanged(since: gatesVersion) { adoptGates() }
        if crossing > 0 { collectCrossed() }
        if ahead.count > 0 { takeAhead() }
        var port = 0
        while port < ports.count {
            if ports[port].polls && !ports[port].isPaused { poll(port: port) }
            if crossing > Worker.crossingLimit / 2 { exchangeCrossing() }
            port &+= 1
        }
        if workers > 1 { takeHandoffs() }
        if now >= housekeepingAt { keepHouse() }
        if crossing > 0 { sendCrossing() }
        flush()
        if isDraining { tellDrained() }
        block.add(1, to: .rounds)
    }

    /// One burst of one port, to the end: what it sends is with the port's queue, what it drops in `dropped`.
    @inline(__always)
    mutating func poll(port: Int) {
        frames.receive(port: ports[port].id, queue: ports[port].rxQueue, limit: Worker.burst)
        guard frames.count > 0 else { return }
        hasWorked = true
        if isObserved { return takeObserved(port: port) }
        if ports[port].isPunt { receivePunted(on: port) } else { receive(on: port) }
        finishPass()
    }

    /// What both sides share once a burst is sorted: open, admit, forward, and then the same for what that made.
    @inline(__always)
    mutating func finishPass() {
        if leavingCount > 0 { sendLeaving() }
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

    /// Makes it leave all cryptography undone, for a benchmark of the rest: its ports must lead nowhere.
    /// Traps for one of a gateway that runs.
    public mutating func stopCryptography() {
        precondition(macMask == 0, "the packets of a gateway that runs are never left in clear")
        crypto.stopWorking()
    }

    /// Gives dropped packets back to their pool.
    public mutating func releaseDropped() {
        if isObserved { showDropped() }
        lookedAtDropped = 0
        dropped.freeAll()
    }

    /// Ends a packet's way.
    @inline(__always)
    mutating func drop(_ mbuf: Mbuf, _ reason: DropReason) {
        block.countDrop(reason)
        if dropped.count == dropped.capacity { releaseDropped() }
        reasons[dropped.count] = reason
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
        var now = rte_rdtsc(), empty = 0
        while !block.mustStop {
            hasWorked = false
            poll(now: now)
            releaseDropped()
            if hasWorked { empty = 0 } else { empty &+= 1 }
            if idle != .poll && !hasWorked { idle.rest(after: empty, ticksPerSecond: ticksPerSecond) }
            let next = rte_rdtsc()
            if hasWorked { block.add(Int(next &- now), to: .busyTicks) }
            now = next
        }
        drain()
    }
}
