/// Which device is to do the cryptography of one direction of a tunnel.
public enum OffloadChoice: String, CaseIterable, Hashable, Sendable {
    /// Software does.
    case off
    /// A NIC does where it can, software for the rest.
    case auto
    /// A gateway whose NIC can't does not start.
    case required
    /// A coprocessor beside the packets' way does.
    case lookaside
}

/// Why software does what a device was wanted for. One list: the counter, its name, the help text.
public enum FallbackReason: UInt8, BitwiseCopyable, CaseIterable, Hashable, Sendable {
    // Of an SA, as long as it lasts.
    case switchedOff, noEngine, notAdvertised, selfTestFailed, unhealthy, reprogramming
    case algorithm, esn, natTraversal, tfcPadding, vlan, noWay
    case saTableFull, addressTableFull, duplicateSPI, driverRefused, noCryptoDevice
    // Of one packet, on its way out.
    case otherPort, neighborUnresolved, ipv4Options, ipv6Extension, fragment
    // Of one packet that came in.
    case notProcessed, deviceFailed

    /// The one with the highest number.
    public static var last: FallbackReason { .deviceFailed }

    /// The name in reports: "sa_table_full".
    public var name: String { reportName(of: self) }

    /// One line for the operator.
    public var help: String {
        switch self {
        case .switchedOff: "an operator switched this direction of the port off"
        case .noEngine: "the port's driver has no IPsec engine, or not one whose habits are known"
        case .notAdvertised: "the driver does not offer this mode and direction with AES-128-GCM"
        case .selfTestFailed: "the engine did not do right in the test before the port started"
        case .unhealthy: "the engine failed packets that software found right"
        case .reprogramming: "the engine is being given its SAs"
        case .algorithm: "the engine does AES-128-GCM with an ICV of 16 octets, in ESP"
        case .esn: "the engine knows no extended sequence numbers"
        case .natTraversal: "the engine does not look into UDP"
        case .tfcPadding: "the engine takes minimal padding only"
        case .vlan: "the engine does not look behind a VLAN tag"
        case .noWay: "no route leads to the peer by an unprotected port"
        case .saTableFull: "the engine's table of SAs is full"
        case .addressTableFull: "the engine's table of own addresses is full"
        case .duplicateSPI: "another SA of the port and direction has this SPI"
        case .driverRefused: "the driver did not take the SA"
        case .noCryptoDevice: "the site names no crypto device"
        case .otherPort: "the packet leaves by another port than the one that has its SA"
        case .neighborUnresolved: "the packet waits for its next hop's address"
        case .ipv4Options: "the packet has IPv4 options"
        case .ipv6Extension: "the packet has IPv6 extension headers"
        case .fragment: "the packet is cut after it was protected"
        case .notProcessed: "the engine did not look at the packet"
        case .deviceFailed: "the engine says that the packet is wrong; software looked again"
        }
    }
}
