import IPsec
import Synchronization

/// The hot half of an inbound SA. One worker owns it; others may read the `Atomic` counters.
@safe
public struct InboundSecurityAssociation: ~Copyable {
    /// Numbers accepted so far.
    public internal(set) var window: ReplayWindow
    /// Expanded key.
    let key: UnsafeMutableRawPointer
    /// First 4 octets of the nonce, as they lie in memory.
    let saltWord: UInt32
    /// Outer destination its packets must carry, as a number.
    public let local: UInt32
    /// Outer source its packets must carry, as a number.
    public let remote: UInt32
    /// Index of the worker that owns it.
    public let owner: UInt32
    /// Index of the tunnel it belongs to, whose selectors hold for what it decrypts.
    public let tunnel: UInt32
    /// Packets accepted so far.
    public let packets: Atomic<UInt64>
    /// Inner octets accepted so far.
    public let octets: Atomic<UInt64>

    /// An SA that has seen nothing. `replayWindow` is a power of two from 64 to 8192.
    public init(
        key: ExpandedKey, local: IPv4Address, remote: IPv4Address, replayWindow: Int, tunnel: Int, owner: Int
    ) {
        window = ReplayWindow(size: replayWindow)
        unsafe self.key = unsafe key.table
        saltWord = key.saltWord
        self.local = local.rawValue
        self.remote = remote.rawValue
        self.owner = UInt32(owner)
        self.tunnel = UInt32(tunnel)
        packets = Atomic(0)
        octets = Atomic(0)
    }
}
