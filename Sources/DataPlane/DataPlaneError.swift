/// What keeps the data plane from starting. The text says what to do about it; numbers are DPDK's negative errno.
public enum DataPlaneError: Error, Equatable, Sendable {
    /// DPDK's environment did not start.
    case environment(error: Int32, hugePages: Bool)
    /// The library that runs is not the one that was built against.
    case versionMismatch
    /// A device named in the configuration did not become a port.
    case noDevice(port: String, device: String)
    /// A driver refused a step of starting a port.
    case portFailed(port: String, driver: String, step: String, error: Int32)
    /// A device has fewer transmit queues than there are workers.
    case tooFewQueues(port: String, driver: String, offered: Int, workers: Int)
    /// A crypto device named in the configuration is not among DPDK's.
    case noCoprocessor(device: String)
    /// A crypto device refused a step of starting it; the error is 0 where nothing but its own word says no.
    case coprocessorFailed(device: String, driver: String, step: String, error: Int32)
    /// Memory for something ran out.
    case noMemory(what: String, error: Int32)
    /// The processor has no AES instructions, or the crypto library did not start.
    case noCrypto
    /// More SAs than there is room for.
    case tooManyAssociations(limit: Int)
    /// A table could not be built.
    case table(what: String, error: Int32)
}
