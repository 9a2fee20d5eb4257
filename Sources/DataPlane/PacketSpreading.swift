/// How what comes in by a port finds its way to several workers.
///
/// Whatever the device does, ESP ends with the worker that owns its SA, and what goes out with the owner of its tunnel
/// or lane: who receives a packet hands it there.
public enum PacketSpreading: String, Sendable, CaseIterable {
    /// There is one worker.
    case none
    /// The device's queues, ESP by its SPI (RSS).
    case deviceBySPI = "device_by_spi"
    /// The device's queues, by addresses and ports alone: all ESP between two gateways comes by one.
    case deviceByAddresses = "device_by_addresses"
    /// The device's queues, in its own way: net_af_packet's are filled by the kernel.
    case device
    /// One queue; the worker that polls it hands packets on.
    case software

    init(workers: Int, rxQueues: Int, hasRSS: Bool, hasSPI: Bool) {
        if workers < 2 {
            self = .none
        } else if rxQueues < 2 {
            self = .software
        } else if !hasRSS {
            self = .device
        } else {
            self = hasSPI ? .deviceBySPI : .deviceByAddresses
        }
    }
}
