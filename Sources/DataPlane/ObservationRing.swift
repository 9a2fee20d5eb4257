// What a worker shows of single packets while somebody looks: records of fixed size in memory that the control plane
// made before it asked, one writer and one reader. Where nobody looks there is no ring, and a worker tests one flag a
// burst.

import IPsec
import Synchronization
import Wire

/// What to look for, in every worker.
public struct ObservationRequest: Sendable {
    /// What is wanted of packets.
    public enum Kind: Sendable {
        /// What became of each packet, step by step, of those that all that is not nil holds for: an SPI in front of
        /// or behind this gateway, an address in any header, the reason of a drop.
        case trace(spi: UInt32?, address: IPAddress?, reason: DropReason?)
        /// The frames of a port, both ways, and the clear text of the ESP and AH among them.
        case capture(port: Int)
        /// What came in by a port and was dropped.
        case dropped(port: Int)
    }

    /// What is wanted.
    public var kind: Kind
    /// Octets kept of each packet, 64 to 65535; a trace keeps 192 of each of its forms.
    public var snapOctets: Int

    /// A request.
    public init(_ kind: Kind, snapOctets: Int = 65535) {
        self.kind = kind
        self.snapOctets = snapOctets
    }
}

/// What a worker noted of a packet; what is 0 by itself was not come to.
public struct ObservationRecord: BitwiseCopyable, Sendable {
    /// What it is.
    public enum Kind: UInt8, BitwiseCopyable, Sendable {
        /// A frame as it came in by the port, and as it left.
        case frameIn, frameOut
        /// An IP packet that was, or is about to be, in the ESP or AH that passes the port.
        case clearIn, clearOut
        /// A dropped frame as it came in.
        case dropped
        /// A packet that was dropped after it had waited, as it was then: from its IP header on; `droppedFrame` from
        /// its Ethernet header on.
        case droppedPacket, droppedFrame
        /// What became of a packet.
        case trace
    }
    /// How a packet's way ended, as far as it was followed.
    public enum Fate: UInt8, BitwiseCopyable, Sendable {
        case none, sent, dropped, consumed, cut, handed, waitsForNeighbor, waitsForDisk, waitsForFragments,
            waitsForDevice
    }

    /// What it is.
    public internal(set) var kind = Kind.trace
    /// Of a trace.
    public internal(set) var fate = Fate.none
    /// Of a drop: the reason's number.
    var reasonNumber: UInt8 = 0
    /// What the SPD said: 0 when it was not asked, then no policy, bypass, discard, protect.
    var verdict: UInt8 = 0
    /// What the route says, one more than its kind; 0 when there was none to look for.
    var routeKind: UInt8 = 0
    /// Whether it came from another worker, and whether clear text from outside was held against the inbound SPD.
    public internal(set) var cameFromWorker = false, askedInboundPolicies = false
    /// Whether it was followed from the moment it came in.
    public internal(set) var hasBegun = true
    /// Index of the port it came in by; that of a capture.
    public internal(set) var port: UInt16 = .max
    /// Index of the port it left by; of a route.
    public internal(set) var outPort: UInt16 = .max, routePort: UInt16 = .max
    /// Index of the tunnel whose inbound SA took it, and of that which the SPD named.
    public internal(set) var inboundTunnel: UInt32 = .max, outboundTunnel: UInt32 = .max
    /// Of the inbound SA.
    public internal(set) var inboundSPI: UInt32 = 0
    /// The widths of what follows the record.
    var receivedCount: UInt16 = 0, innerCount: UInt16 = 0, sentCount: UInt16 = 0
    /// Octets of each before it was cut to fit.
    public internal(set) var receivedOctets: UInt32 = 0, innerOctets: UInt32 = 0, sentOctets: UInt32 = 0
    /// The inbound SA's window before: the highest number, and its size.
    public internal(set) var windowHighest: UInt64 = 0, windowSize: UInt64 = 0
    /// All of its sequence number, in an inbound SA.
    public internal(set) var number: UInt64 = 0
    /// The worker's clock when its burst came.
    public internal(set) var ticks: UInt64 = 0
    /// The next hop, as a neighbour's key has it; 0 when the destination itself is.
    var nextHopBits: UInt128 = 0

    /// Of a packet that was dropped.
    public var reason: DropReason? {
        kind.rawValue >= Kind.dropped.rawValue && (kind != .trace || fate == .dropped)
            ? DropReason(rawValue: reasonNumber) : nil
    }

    /// What the SPD said of a packet that was to cross the boundary; nil when it was not asked.
    public var policyVerdict: String? {
        verdict == 0 ? nil : ["no policy", "bypass", "discard", "protect"][Int(min(3, verdict - 1))]
    }

    /// Where its route leads: "nowhere", "local", "broadcast", "protected" or "unprotected"; nil when it has none.
    public var route: String? {
        routeKind == 0
            ? nil : ["nowhere", "local", "broadcast", "protected", "unprotected"][Int(min(4, routeKind - 1))]
    }

    /// The next hop; nil when that is the destination itself.
    public var nextHop: IPAddress? { nextHopBits == 0 ? nil : NeighborKey(port: 0, bits: nextHopBits).address }
}

/// A record with the octets that belong to it.
public struct Observation: Sendable {
    /// What was noted.
    public var record: ObservationRecord
    /// Index of the worker.
    public var worker: Int
    /// The packet as it came, or what a capture took; what came out of ESP or AH; the frame that left.
    public var received: [UInt8], inner: [UInt8], sent: [UInt8]
}

/// A request as a worker reads it.
struct ObservationPlan: BitwiseCopyable {
    enum Kind: UInt8, BitwiseCopyable { case trace, capture, dropped }

    var kind = Kind.trace
    /// The reason's number; 255 for all.
    var reason: UInt8 = .max
    /// For a capture.
    var port: UInt16 = .max
    /// 0 for all.
    var spi: UInt32 = 0
    var hasAddress = false
    var address: UInt128 = 0
    /// Octets of each form of a packet that are kept, and how many forms there are.
    var room: Int
    var areas: Int
    /// Records that fit, a power of two.
    var capacity: UInt64

    /// Octets of all records of a worker, about.
    static let memoryOctets = 16 << 20

    init(_ request: ObservationRequest) {
        precondition((64...65535).contains(request.snapOctets))
        switch request.kind {
        case .trace(let spi, let address, let reason):
            (room, areas) = (192, 3)
            self.spi = spi ?? 0
            self.reason = reason?.rawValue ?? .max
            (hasAddress, self.address) = (address != nil, address?.rawValue ?? 0)
            capacity = 1024
            return
        case .capture(let port): (kind, self.port) = (.capture, UInt16(port))
        case .dropped(let port): (kind, self.port) = (.dropped, UInt16(port))
        }
        (room, areas) = (request.snapOctets, 1)
        capacity = 64
        while capacity < 16384 && 2 * Int(capacity) * stride <= ObservationPlan.memoryOctets { capacity *= 2 }
    }

    /// Octets of a record with what belongs to it.
    var stride: Int { (MemoryLayout<ObservationRecord>.size + areas * room + 63) / 64 * 64 }

    /// Places behind the records: one for what finds no room, and those of a burst as it came.
    var extraPlaces: Int { 1 + Worker.burst }
}

/// The records of one worker: a ring of fixed size. What finds no room is counted.
@safe
struct ObservationRing: BitwiseCopyable, @unchecked Sendable {
    private enum Counter: Int { case written = 0, read = 8, missed = 16, unlooked = 24 }
    private static let headOctets = 512, planOffset = 256

    private let base: UnsafeMutableRawPointer
    let plan: ObservationPlan

    /// A ring in memory of its own; `destroy` gives it back.
    init(_ plan: ObservationPlan) {
        self.plan = plan
        let octets = ObservationRing.headOctets + (Int(plan.capacity) + plan.extraPlaces) * plan.stride
        unsafe base = .allocate(byteCount: octets, alignment: 64)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: ObservationRing.headOctets)
        unsafe (base + ObservationRing.planOffset).initializeMemory(as: ObservationPlan.self, to: plan)
        precondition(ObservationRing.planOffset + MemoryLayout<ObservationPlan>.size <= ObservationRing.headOctets)
    }

    /// The ring at an address that `address` gave.
    init?(address: UInt) {
        guard let base = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return nil }
        unsafe self.base = unsafe base
        unsafe plan = (base + ObservationRing.planOffset).load(as: ObservationPlan.self)
    }

    var address: UInt { unsafe UInt(bitPattern: base) }

    func destroy() { unsafe base.deallocate() }

    /// Relaxed and with one writer each, but for the two that say what may be read and written.
    private func counter(_ counter: Counter) -> UnsafeMutablePointer<Atomic<UInt64>> {
        unsafe (base + 8 * counter.rawValue).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    /// Packets that found no room, or were too many to be looked at one by one.
    var missed: UInt64 { unsafe counter(.missed).pointee.load(ordering: .relaxed) }
    var unlooked: UInt64 { unsafe counter(.unlooked).pointee.load(ordering: .relaxed) }

    private func place(_ index: Int) -> ObservationSlot {
        unsafe ObservationSlot(base + ObservationRing.headOctets + index * plan.stride, room: plan.room)
    }

    // MARK: By the worker

    /// The place of the record `ahead` behind the next one; nil when the ring is full.
    func next(ahead: Int = 0) -> ObservationSlot? {
        let number = unsafe counter(.written).pointee.load(ordering: .relaxed) + UInt64(ahead)
        guard unsafe number - counter(.read).pointee.load(ordering: .acquiring) < plan.capacity else { return nil }
        return place(Int(number & (plan.capacity - 1)))
    }

    /// Where a record is made that may not find room.
    var spare: ObservationSlot { place(Int(plan.capacity)) }

    /// Where packet `index` of a burst is kept as it came.
    func original(_ index: Int) -> ObservationSlot { place(Int(plan.capacity) + 1 + index) }

    /// Lets the reader have the next `count`.
    func publish(_ count: Int = 1) {
        let number = unsafe counter(.written).pointee.load(ordering: .relaxed)
        unsafe counter(.written).pointee.store(number + UInt64(count), ordering: .releasing)
    }

    func miss(_ count: Int = 1) { add(count, .missed) }
    func passUnlooked(_ count: Int) { add(count, .unlooked) }

    private func add(_ count: Int, _ which: Counter) {
        let value = unsafe counter(which).pointee.load(ordering: .relaxed)
        unsafe counter(which).pointee.store(value + UInt64(count), ordering: .relaxed)
    }

    // MARK: By the reader

    /// Takes the oldest record; nil when there is none.
    func take(worker: Int) -> Observation? {
        let number = unsafe counter(.read).pointee.load(ordering: .relaxed)
        guard unsafe number < counter(.written).pointee.load(ordering: .acquiring) else { return nil }
        let slot = place(Int(number & (plan.capacity - 1))), record = slot.record
        let observation = Observation(
            record: record, worker: worker, received: slot.octets(0, Int(record.receivedCount)),
            inner: slot.octets(1, Int(record.innerCount)), sent: slot.octets(2, Int(record.sentCount)))
        unsafe counter(.read).pointee.store(number + 1, ordering: .releasing)
        return observation
    }
}

/// The place of one record and its octets.
@safe
struct ObservationSlot: BitwiseCopyable {
    private let start: UnsafeMutableRawPointer
    private let room: Int

    init(_ start: UnsafeMutableRawPointer, room: Int) {
        unsafe self.start = unsafe start
        self.room = room
    }

    var record: ObservationRecord {
        get { unsafe start.load(as: ObservationRecord.self) }
        nonmutating set { unsafe start.storeBytes(of: newValue, as: ObservationRecord.self) }
    }

    private func area(_ index: Int) -> PacketBytes {
        unsafe PacketBytes(
            unsafeStart: start + MemoryLayout<ObservationRecord>.size + index * room, count: room)
    }

    /// Keeps as much of `bytes` as there is room for; returns how much that is.
    func keep(_ bytes: PacketBytes, in index: Int) -> UInt16 {
        let count = min(bytes.count, room)
        area(index).copy(bytes, count: count, to: 0)
        return UInt16(count)
    }

    /// What `keep` kept there.
    func kept(_ count: Int, in index: Int) -> PacketBytes { area(index).prefix(count) }

    func octets(_ index: Int, _ count: Int) -> [UInt8] { count == 0 ? [] : kept(count, in: index).array }
}
