import IPsec
import Synchronization

/// Which ports' engines and which coprocessors workers may use at the moment. The control plane opens and shuts;
/// workers look once a round and say when they go by it, so that what they did before is over.
final class OffloadGates: Sendable {
    /// Ports beyond have no offload.
    static let portLimit = 64

    /// One bit for each port, and for each coprocessor.
    private let outbound = Atomic<UInt64>(0), paused = Atomic<UInt64>(0), purging = Atomic<UInt64>(0)
    private let crossing = Atomic<UInt64>(0)
    private let version = Atomic<UInt64>(0)

    init() {}

    /// Whether a worker that went by `known` has to look again.
    @inline(__always)
    func hasChanged(since known: UInt64) -> Bool { version.load(ordering: .relaxed) != known }

    /// As a worker takes them on.
    struct Positions {
        let version: UInt64
        private let outbound: UInt64, paused: UInt64, purging: UInt64, crossing: UInt64

        init(_ gates: borrowing OffloadGates) {
            version = gates.version.load(ordering: .acquiring)
            outbound = gates.outbound.load(ordering: .relaxed)
            paused = gates.paused.load(ordering: .relaxed)
            purging = gates.purging.load(ordering: .relaxed)
            crossing = gates.crossing.load(ordering: .relaxed)
        }

        /// Whether packets may be left to the port's engine.
        func sendsInline(_ port: Int) -> Bool { port < OffloadGates.portLimit && outbound >> UInt64(port) & 1 != 0 }
        /// Whether the port must not be touched.
        func isPaused(_ port: Int) -> Bool { port < OffloadGates.portLimit && paused >> UInt64(port) & 1 != 0 }
        /// Whether what waits for the port's engine is lost.
        func purges(_ port: Int) -> Bool { port < OffloadGates.portLimit && purging >> UInt64(port) & 1 != 0 }
        /// Whether packets may be left to a coprocessor.
        func crosses(_ device: Int) -> Bool { crossing >> UInt64(device) & 1 != 0 }
    }

    /// What a gate is of.
    enum Gate { case outbound, paused, purging, crossing }

    /// Moves a gate of a port, or of a coprocessor; returns the version that workers then go by. One thread at a time.
    func set(_ gate: Gate, _ port: Int, _ isSet: Bool) -> UInt64 {
        precondition(port < OffloadGates.portLimit)
        func move(_ word: borrowing Atomic<UInt64>) {
            let bit: UInt64 = 1 << UInt64(port), value = word.load(ordering: .relaxed)
            word.store(isSet ? value | bit : value & ~bit, ordering: .relaxed)
        }
        switch gate {
        case .outbound: move(outbound)
        case .paused: move(paused)
        case .purging: move(purging)
        case .crossing: move(crossing)
        }
        return version.wrappingAdd(1, ordering: .releasing).newValue
    }
}
