import IPsec
import Synchronization

/// What one worker shows to the others: counters that it alone writes, and the flag that stops it.
///
/// Relaxed atomics with one writer cost what plain memory costs. The block starts on a cache line of its own.
@safe
public struct WorkerBlock: BitwiseCopyable, @unchecked Sendable {
    /// Counters of a worker as a whole; those of ports and drop reasons follow them.
    enum Counter: Int, CaseIterable {
        case stop, received, originated, transmitted, consumed, inFlight
        /// Rounds over all queues.
        case rounds
        /// Generation of the tables it looks things up in.
        case generation
        /// The longest it took to go over to new tables, in ticks.
        case longestAdoption
        /// The gates under which nothing is left that was begun under earlier ones.
        case gates
        /// Ticks of rounds that had packets.
        case busyTicks
        /// A bit for each coprocessor that does nothing any more.
        case stuck
        /// Packets passed to the workers that own their SAs, and taken from workers that do not.
        case handedOver, takenOver
    }
    /// Counters of each port.
    enum PortCounter: Int, CaseIterable {
        case rxPackets, rxOctets, txPackets, txOctets
        /// Packets that the port's IPsec engine called wrong, and those of them that software then found right.
        case deviceFailed, deviceErred
    }

    private static let dropStart = 16
    private static let portStart = dropStart + 40
    private let counters: UnsafeMutablePointer<Atomic<UInt64>>
    private let count: Int

    /// A block of zeros for `ports` ports; `destroy` gives it back.
    init(ports: Int) {
        precondition(Counter.allCases.count <= WorkerBlock.dropStart)
        precondition(WorkerBlock.dropStart + DropReason.allCases.count <= WorkerBlock.portStart)
        count = WorkerBlock.portStart + ports * PortCounter.allCases.count
        unsafe counters = UnsafeMutableRawPointer.allocate(
            byteCount: (count + 15) / 8 * 8 * MemoryLayout<UInt64>.stride, alignment: 64
        ).bindMemory(to: Atomic<UInt64>.self, capacity: count)
        for index in 0..<count { unsafe (counters + index).initialize(to: Atomic(0)) }
    }

    func destroy() { unsafe counters.deallocate() }

    @inline(__always)
    private func add(_ amount: UInt64, _ index: Int) {
        precondition(index < count)
        let value = unsafe counters[index].load(ordering: .relaxed)
        unsafe counters[index].store(value &+ amount, ordering: .relaxed)
    }

    // Acquiring, so that counters are read in the order in which a reader asks for them; on x86 it is a plain load.
    private func load(_ index: Int) -> UInt64 {
        precondition(index < count)
        return unsafe counters[index].load(ordering: .acquiring)
    }

    @inline(__always)
    func add(_ amount: Int, to counter: Counter) { add(UInt64(amount), counter.rawValue) }

    @inline(__always)
    func set(_ value: Int, _ counter: Counter) {
        unsafe counters[counter.rawValue].store(UInt64(value), ordering: .relaxed)
    }

    @inline(__always)
    func countDrop(_ reason: DropReason) { add(1, WorkerBlock.dropStart &+ Int(reason.rawValue)) }

    @inline(__always)
    func add(_ amount: Int, to counter: PortCounter, port: Int) {
        add(UInt64(amount), WorkerBlock.portStart &+ port &* PortCounter.allCases.count &+ counter.rawValue)
    }

    @inline(__always)
    func get(_ counter: Counter) -> UInt64 { load(counter.rawValue) }

    /// Says that nothing older than these tables is looked at any more.
    func adopted(_ generation: UInt64, ticks: UInt64) {
        set(Int(max(ticks, get(.longestAdoption))), .longestAdoption)
        unsafe counters[Counter.generation.rawValue].store(generation, ordering: .releasing)
    }

    /// The generation that `adopted` told last; what the worker did with older tables is over.
    var adoptedGeneration: UInt64 {
        unsafe counters[Counter.generation.rawValue].load(ordering: .acquiring)
    }

    /// Says that nothing begun under earlier gates is left.
    func passed(gates version: UInt64) {
        unsafe counters[Counter.gates.rawValue].store(version, ordering: .releasing)
    }

    /// What `passed` told last.
    var passedGates: UInt64 { unsafe counters[Counter.gates.rawValue].load(ordering: .acquiring) }

    /// Says that a coprocessor does nothing any more.
    func addStuck(_ device: Int) { set(Int(get(.stuck) | 1 << UInt64(device)), .stuck) }

    /// A counter of a port's.
    func get(_ counter: PortCounter, port: Int) -> UInt64 {
        load(WorkerBlock.portStart + port * PortCounter.allCases.count + counter.rawValue)
    }

    /// Asks the worker to stop.
    func stop() { unsafe counters[Counter.stop.rawValue].store(1, ordering: .releasing) }

    @inline(__always)
    var mustStop: Bool { unsafe counters[Counter.stop.rawValue].load(ordering: .relaxed) != 0 }

    /// Adds where this worker's packets ended to a sum.
    func accumulateEnds(into counts: inout PacketCounts) {
        counts.transmitted += load(Counter.transmitted.rawValue)
        counts.consumed += load(Counter.consumed.rawValue)
        counts.inFlight += load(Counter.inFlight.rawValue)
        for reason in DropReason.allCases {
            counts.drops[reason, default: 0] += load(WorkerBlock.dropStart + Int(reason.rawValue))
        }
    }

    /// Adds where its packets began to a sum.
    func accumulateBeginnings(into counts: inout PacketCounts) {
        counts.received += load(Counter.received.rawValue)
        counts.originated += load(Counter.originated.rawValue)
        for port in counts.ports.indices {
            let first = WorkerBlock.portStart + port * PortCounter.allCases.count
            counts.ports[port].rxPackets += load(first + PortCounter.rxPackets.rawValue)
            counts.ports[port].rxOctets += load(first + PortCounter.rxOctets.rawValue)
            counts.ports[port].txPackets += load(first + PortCounter.txPackets.rawValue)
            counts.ports[port].txOctets += load(first + PortCounter.txOctets.rawValue)
        }
    }
}

/// Where all packets went, summed over workers.
public struct PacketCounts: Sendable, Equatable {
    /// Of one port.
    public struct Port: Sendable, Equatable {
        /// Frames and their octets, without what the wire adds.
        public var rxPackets: UInt64 = 0, rxOctets: UInt64 = 0, txPackets: UInt64 = 0, txOctets: UInt64 = 0
    }

    /// Frames that came in, packets the gateway made, frames that went out, packets that were for the gateway itself.
    public var received: UInt64 = 0, originated: UInt64 = 0, transmitted: UInt64 = 0, consumed: UInt64 = 0
    /// Held by a worker: waiting for a neighbour or in a queue between workers.
    public var inFlight: UInt64 = 0
    /// Dropped packets by reason.
    public var drops: [DropReason: UInt64] = [:]
    /// In the topology's order.
    public var ports: [Port]

    /// Zeros for `ports` ports.
    public init(ports: Int) { self.ports = Array(repeating: Port(), count: ports) }

    /// Packets dropped for any reason.
    public var dropped: UInt64 { drops.values.reduce(0, +) }

    /// Whether every packet is accounted for: what came in or was made went out, was consumed, dropped, or is held.
    public var isConserved: Bool { received + originated == transmitted + consumed + dropped + inFlight }

    /// Of workers that run: what has begun and not ended yet is in their hands, and so in flight.
    var ofRunning: PacketCounts {
        var counts = self
        let begun = received + originated, ended = transmitted + consumed + dropped
        counts.inFlight = begun > ended ? begun - ended : 0
        return counts
    }
}
