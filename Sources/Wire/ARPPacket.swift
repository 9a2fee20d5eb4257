// ARP for IPv4 over Ethernet. RFC 826; probes and announcements of RFC 5227.
//
//   0       2       4   5   6       8                 14             18                24             28
//   | 1     | 0x0800| 6 | 4 | oper  | sender MAC      | sender IPv4  | target MAC      | target IPv4  |

/// A view of an ARP packet.
@frozen
public struct ARPPacket {
    /// Octets of a packet.
    public static let octets = 28
    /// What it asks or says.
    public enum Operation {
        /// RFC 826's two.
        public static let request: UInt16 = 1, reply: UInt16 = 2
    }

    let bytes: PacketBytes

    /// Nil when `bytes` is shorter than a packet.
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= ARPPacket.octets else { return nil }
        self.bytes = bytes
    }

    /// Whether hardware, protocol and both lengths are those of IPv4 over Ethernet.
    public var isIPv4OverEthernet: Bool { bytes.uint64(at: 0) >> 16 == 0x0001_0800_0604 }
    /// Request, reply, or a number we don't know.
    public var operation: UInt16 { bytes.uint16(at: 6) }
    /// The sender's MAC address.
    public var senderMAC: MACAddress { MACAddress(rawValue: bytes.uint64(at: 8) >> 16) }
    /// The sender's IPv4 address as a number; 0 in a probe (RFC 5227).
    public var senderAddress: UInt32 { bytes.uint32(at: 14) }
    /// The IPv4 address that is asked for, as a number.
    public var targetAddress: UInt32 { bytes.uint32(at: 24) }

    /// Writes all fields.
    public func emit(
        operation: UInt16, senderMAC: MACAddress, senderAddress: UInt32, targetMAC: MACAddress, targetAddress: UInt32
    ) {
        bytes.store(UInt64(0x0001_0800_0604) << 16 | UInt64(operation), at: 0)
        bytes.store(senderMAC.rawValue << 16 | UInt64(senderAddress >> 16), at: 8)
        bytes.store(UInt16(truncatingIfNeeded: senderAddress), at: 16)
        bytes.store(targetMAC.rawValue << 16 | UInt64(targetAddress >> 16), at: 18)
        bytes.store(UInt16(truncatingIfNeeded: targetAddress), at: 26)
    }
}
