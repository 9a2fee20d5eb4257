import IPsec

/// What a driver's inline IPsec forces on who uses it, beyond what its capabilities say. Each rule keeps clear text off
/// the wire, or one SA's packets from another's key.
///
/// The only place that knows drivers by name. Of `net_ixgbe` everything here was read in the driver of this very DPDK
/// version and seen over a model of the NIC; another version may differ, so that one is not used.
public struct EngineRules: Equatable, Sendable {
    /// Outbound SAs that it may be given.
    public var outboundSlots: Int
    /// Inbound ones.
    public var inboundSlots: Int
    /// Own addresses that inbound SAs may be for.
    public var addresses: Int
    /// Whether removing any SA switches the whole direction off until the next one is installed: packets of the others
    /// would leave in clear.
    public var removalDisarms: Bool
    /// Whether SAs are removed by SPI alone, so that of two with the same SPI the wrong one would go.
    public var removesBySPI: Bool

    /// drivers/net/ixgbe/ixgbe_ipsec.c and ixgbe_rxtx.c of DPDK 22.11.
    static let ixgbe = EngineRules(
        // The tables have 1024 each way. But what tells one context descriptor from the next has 8 bits for an outbound
        // SA (`union ixgbe_tx_offload`): SA 256 would be sent under the key of SA 0.
        outboundSlots: 256, inboundSlots: 1024, addresses: 128, removalDisarms: true, removesBySPI: true)

    /// SAs that the gateway gives it in a direction: one place is needed to switch the direction on again.
    func usableSlots(_ direction: Direction) -> Int {
        (direction == .outbound ? outboundSlots : inboundSlots) - (removalDisarms ? 1 : 0)
    }

    /// The rules for a driver of the DPDK that runs; nil for one that nobody has looked at.
    public static func of(driver: String, version: String) -> EngineRules? {
        guard version.hasPrefix("DPDK 22.11.") else { return nil }
        return driver == "net_ixgbe" ? ixgbe : nil
    }
}
