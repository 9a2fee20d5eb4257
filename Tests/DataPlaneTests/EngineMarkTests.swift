import CDPDK
import Testing

/// What tells a driver that its engine is to encrypt a packet is what DPDK asks for (P13), whether or not the driver at
/// hand looks at all of it: `net_ixgbe` takes the kind of IP from the checksum's flag.
@Suite("The mark for an engine")
struct EngineMarkTests {
    @Test("says SECURITY, the kind of IP, IPv4's checksum, and how long the headers are", arguments: [false, true])
    func mark(isIPv6: Bool) {
        let octets = isIPv6 ? 40 : 20, mark = cdpdk_mark_make(UInt16(octets), isIPv6)
        let ip = isIPv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM
        #expect(mark.flags == RTE_MBUF_F_TX_SEC_OFFLOAD | ip)
        // Of `tx_offload`: 7 bits of l2_len, then 9 of l3_len.
        #expect(mark.lengths == UInt64(14 | octets << 7))
    }
}
