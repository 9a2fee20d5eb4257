import CDPDK

/// An engine that does nothing, on ports without a device: for benchmarks and tests of all that a worker does on the
/// inline path. What such a port sends is in clear, and never reaches a wire.
public enum IdleEngine {
    /// As workers take it; 0 when there is no room for it in packet buffers.
    static let address: UInt = unsafe UInt(bitPattern: cdpdk_idle_engine())

    /// How SAs name it on a port.
    static func handle(port: Int) -> UInt64 {
        unsafe UInt64(port + 1) << 48 | UInt64(UInt(bitPattern: cdpdk_idle_session()))
    }

    /// Has every SA of a group's tables be the engine's, on the port with this index, whose engine it is.
    public static func takeAll(_ group: WorkerGroup, port: Int) {
        for state in group.tables.states {
            for outbound in state.lanes.compactMap(\.outbound) {
                outbound.reference.with { $0.deviceHandle.store(handle(port: port), ordering: .releasing) }
            }
            for inbound in state.inbound {
                inbound.reference.with { $0.deviceHandle.store(handle(port: port), ordering: .releasing) }
            }
        }
        _ = group.gates.set(.outbound, port, true)
    }
}

extension Mbuf {
    /// Says what a NIC would that has opened it, or has found it wrong.
    public func setVerdict(isOpened: Bool, hasFailed: Bool = false) {
        unsafe cdpdk_mbuf_set_verdict(pointer, isOpened, hasFailed)
    }
}
