/// A site without a mistake that has what `goodSite` has not: both families, every mode, other algorithms, a VLAN, a
/// punt port.
let dualSite = """
    [gateway]
    name = "dual"
    metrics_address = "[::1]:9464"

    [dpdk]
    worker_cores = [0]

    [punt]
    device = "net_tap0,iface=vpn-gw"
    rate_packets_per_second = 500

    [[port]]
    name = "lan"
    role = "protected"
    device = "net_null0"
    addresses = ["10.0.1.1/24", "fd00:1::1/64"]

    [[port]]
    name = "wan"
    role = "unprotected"
    device = "net_null1"
    addresses = ["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"]
    vlan = 7

    [[port]]
    name = "dmz"
    role = "unprotected"
    device = "net_null2"
    addresses = ["2001:db8:1::1/64", "fe80::1/64"]

    [[route]]
    destination = "0.0.0.0/0"
    via = "192.0.2.254"

    [[route]]
    destination = "::/0"
    via = "fe80::fe"
    port = "wan"

    [[neighbor]]
    port = "wan"
    address = "fe80::fe"
    mac = "02:00:00:00:00:fe"

    [[neighbor]]
    port = "dmz"
    address = "fe80::fe"
    mac = "02:00:00:00:01:fe"

    [[tunnel]]
    name = "natted"
    local_address = "192.0.2.1"
    remote_address = "198.51.100.1"
    local_subnets = ["10.0.1.0/24", "fd00:1::/64"]
    remote_subnets = ["fd00:2::/64", "10.0.2.0/24"]
    algorithm = "aes-256-gcm-16"
    icv_octets = 12
    nat_traversal = true
    df = "set"
    dscp = "af41"
    clamp_mss = true
    learn_path_mtu = false
    tfc_padding_octets = 512
    outbound = { spi = 0x1001, key = "\(DualKeys.aes256)" }
    inbound = { spi = 0x2001, key = "\(DualKeys.aes256In)" }

    [[tunnel]]
    name = "six"
    local_address = "2001:db8::1"
    remote_address = "2001:db8:9::9"
    local_subnets = ["fd00:1::/64"]
    remote_subnets = ["fd00:3::/64"]
    algorithm = "chacha20-poly1305"
    extended_sequence_numbers = true
    dscp = 8
    hard_lifetime_packets = 0x100000000
    soft_lifetime_packets = 0x80000000
    outbound = { spi = 0x1002, key = "\(DualKeys.chaCha)" }
    inbound = { spi = 0x2002, key = "\(DualKeys.chaChaIn)" }

    [[tunnel]]
    name = "hosts"
    mode = "transport"
    local_address = "fd00:1::10"
    remote_address = "2001:db8:9::10"
    algorithm = "aes-128-gcm-16"
    outbound = { spi = 0x1003, key = "\(DualKeys.aes128)" }
    inbound = { spi = 0x2003, key = "\(DualKeys.aes128In)" }

    [[policy]]
    name = "ping"
    action = "bypass"
    direction = "outbound"
    source = "fd00:1::/64"
    protocol = "ipv6-icmp"
    icmp_types = "128-129"

    [[policy]]
    action = "discard"
    direction = "inbound"
    protocol = "icmp"
    icmp_types = "3/4"

    [[policy]]
    name = "all-of-hosts"
    action = "protect"
    direction = "outbound"
    tunnel = "hosts"
    protocol = "udp"

    """

/// Keys of the dual site, which have other lengths.
enum DualKeys {
    static let aes256 = "0x" + String(repeating: "c0ffee15", count: 9)
    static let aes256In = "0x" + String(repeating: "0dd5ea7b", count: 9)
    static let chaCha = "0x" + String(repeating: "5eed1e55", count: 9)
    static let chaChaIn = "0x" + String(repeating: "ba5eba11", count: 9)
    static let aes128 = TestKeys.fifth
    static let aes128In = TestKeys.sixth
    /// Of HMAC: without a salt.
    static let digest = "0x" + String(repeating: "decafbad", count: 8)
    static let digestIn = "0x" + String(repeating: "0b50e1e7", count: 8)
}
