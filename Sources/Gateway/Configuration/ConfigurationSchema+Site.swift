// Every key that a site file may have.

extension ConfigurationSchema {
    /// The file. A file for pcap mode alone needs no `[dpdk]` and no `device`, which that mode ignores.
    static func site(for mode: SiteReader.Mode) -> ConfigurationSchema {
        let usesDevices = mode.usesDevices
        return ConfigurationSchema([
            ConfigurationKey("gateway", .table(gateway), "[gateway]", "the gateway itself"),
            ConfigurationKey(
                "dpdk", .table(dpdk(needsCores: usesDevices)), required: usesDevices, "[dpdk] and worker_cores = [1]",
                "cores and memory"),
            ConfigurationKey(
                "port", .tables(port(needsDevice: usesDevices)), required: true, "[[port]], with two pairs of brackets",
                "a network port"),
            ConfigurationKey("route", .tables(route), "[[route]], with two pairs of brackets", "a static route"),
            ConfigurationKey(
                "neighbor", .tables(neighbor), "[[neighbor]], with two pairs of brackets", "a static ARP or ND entry"),
            ConfigurationKey("tunnel", .tables(tunnel), "[[tunnel]], with two pairs of brackets", "an IPsec tunnel"),
            ConfigurationKey("policy", .tables(policy), "[[policy]], with two pairs of brackets", "an SPD entry"),
            ConfigurationKey(
                "punt", .table(punt), "[punt] and device = \"net_tap0,iface=vpn-gw\"",
                "a way to the kernel, for IKE and what else is for the gateway itself"),
        ])
    }

    /// The file as run mode takes it.
    static let site = ConfigurationSchema.site(for: .run)

    private static let punt = ConfigurationSchema([
        ConfigurationKey(
            "device", .string, required: true, "device = \"net_tap0,iface=vpn-gw\"",
            "a DPDK vdev that makes a kernel interface"),
        ConfigurationKey(
            "rate_packets_per_second", .integer(1...1_000_000), "rate_packets_per_second = 1000",
            "how many packets the kernel gets"),
    ])

    private static let gateway = ConfigurationSchema([
        ConfigurationKey("name", .string, "name = \"site-a\"", "the gateway's name in logs and metrics"),
        ConfigurationKey(
            "state_directory", .string, "state_directory = \"/var/lib/vpn-gw\"", "where sequence numbers are kept"),
        ConfigurationKey(
            "control_socket", .string, "control_socket = \"/run/vpn-gw/control.sock\"", "where vpn-gw show asks"),
        ConfigurationKey(
            "metrics_address", .string, "metrics_address = \"127.0.0.1:9464\"", "where /metrics is served"),
        ConfigurationKey(
            "hook_command", .strings, "hook_command = [\"/usr/local/libexec/vpn-gw-hook\"]",
            "a program to run at events, with its arguments"),
    ])

    private static func dpdk(needsCores: Bool) -> ConfigurationSchema {
        ConfigurationSchema([
            ConfigurationKey(
                "worker_cores", .integers, required: needsCores, "worker_cores = [1]", "one worker for each core"),
            ConfigurationKey("huge_pages", .boolean, "huge_pages = true", "false: ordinary memory"),
            ConfigurationKey(
                "memory_mib", .integer(16...1_048_576), "memory_mib = 512", "memory for packet buffers in MiB"),
            ConfigurationKey(
                "idle", .string, "idle = \"poll\"",
                "what workers do while nothing comes: \"poll\", \"pause\" (saves power) or \"sleep\" (frees the core)"),
            ConfigurationKey(
                "crypto_devices", .strings, "crypto_devices = [\"0000:3d:01.0\"]",
                "DPDK crypto devices for offload = \"lookaside\": PCI addresses or vdevs, \"crypto_aesni_mb0\""),
            ConfigurationKey("eal_arguments", .strings, "eal_arguments = []", "passed to DPDK as they are"),
        ])
    }

    private static func port(needsDevice: Bool) -> ConfigurationSchema {
        ConfigurationSchema([
            ConfigurationKey("name", .string, required: true, "name = \"lan\"", "what other tables call the port"),
            ConfigurationKey(
                "role", .choice(["protected", "unprotected"]), required: true, "role = \"protected\"",
                "the side of the protection boundary, RFC 4301 section 3.1"),
            ConfigurationKey(
                "device", .string, required: needsDevice, "device = \"0000:03:00.0\"",
                "a PCI address or a DPDK vdev, \"net_af_packet0,iface=lan0\""),
            ConfigurationKey(
                "addresses", .strings, required: true, "addresses = [\"10.0.1.1/24\", \"fd00:1::1/64\"]",
                "the port's own addresses with their blocks"),
            ConfigurationKey(
                "mtu_octets", .integer(576...9216), "mtu_octets = 1500", "the largest IP packet in octets"),
            ConfigurationKey(
                "local_services", .boolean, "local_services = true", "ARP, ND and echo for the port's own addresses"),
            ConfigurationKey(
                "vlan", .integer(1...4094), "vlan = 7", "the VLAN whose tag its frames have (IEEE 802.1Q)"),
        ])
    }

    private static let route = ConfigurationSchema([
        ConfigurationKey(
            "destination", .string, required: true, "destination = \"0.0.0.0/0\"", "the block it leads to"),
        ConfigurationKey("via", .string, required: true, "via = \"192.0.2.254\"", "the next hop"),
        ConfigurationKey("port", .string, "port = \"wan\"", "the port it is behind, for a link-local next hop"),
    ])

    private static let neighbor = ConfigurationSchema([
        ConfigurationKey("port", .string, required: true, "port = \"wan\"", "the port it is behind"),
        ConfigurationKey("address", .string, required: true, "address = \"192.0.2.254\"", "its IP address"),
        ConfigurationKey("mac", .string, required: true, "mac = \"02:00:00:00:00:fe\"", "its Ethernet address"),
    ])

    private static let tunnel = ConfigurationSchema(
        [
            ConfigurationKey("name", .string, required: true, "name = \"site-b\"", "what policies call the tunnel"),
            ConfigurationKey(
                "local_address", .string, required: true, "local_address = \"192.0.2.1\"",
                "our end, an unprotected port's"),
            ConfigurationKey(
                "remote_address", .string, required: true, "remote_address = \"198.51.100.1\"", "the other end"),
            ConfigurationKey(
                "local_subnets", .strings, "local_subnets = [\"10.0.1.0/24\"]", "what is on our side"),
            ConfigurationKey(
                "remote_subnets", .strings, "remote_subnets = [\"10.0.2.0/24\"]",
                "what is on the other side"),
            ConfigurationKey(
                "offload", .stringOrTable, "offload = \"auto\"",
                "which device encrypts: \"off\", \"auto\", \"required\", \"lookaside\""),
            ConfigurationKey(
                "outbound", .table(securityAssociation(isInbound: false)), required: true,
                "[tunnel.outbound] with spi and key", "the SA that we send under"),
            ConfigurationKey(
                "inbound", .table(securityAssociation(isInbound: true)), required: true,
                "[tunnel.inbound] with spi and key", "the SA that we receive under"),
            ConfigurationKey(
                "child", .tables(child), "[[tunnel.child]], with two pairs of brackets",
                "further SA pairs: those without a time, or with one time, are used side by side, one on each worker"),
            ConfigurationKey("algorithm", .string, "algorithm = \"aes-128-gcm-16\"", "the transform of ESP or AH"),
            ConfigurationKey("icv_octets", .integer(8...16), "icv_octets = 16", "octets of the ICV: 8, 12 or 16"),
            ConfigurationKey("mode", .choice(["tunnel", "transport"]), "mode = \"tunnel\"", "tunnel or transport"),
            ConfigurationKey(
                "extended_sequence_numbers", .boolean, "extended_sequence_numbers = false", "64-bit sequence numbers"),
            ConfigurationKey("nat_traversal", .boolean, "nat_traversal = false", "ESP in UDP, port 4500"),
            ConfigurationKey("df", .choice(["copy", "set", "clear"]), "df = \"copy\"", "the outer header's DF bit"),
            ConfigurationKey("dscp", .integerOrString, "dscp = \"copy\"", "the outer header's DSCP"),
            ConfigurationKey("clamp_mss", .boolean, "clamp_mss = false", "TCP's segment size lowered to what fits"),
            ConfigurationKey(
                "learn_path_mtu", .boolean, "learn_path_mtu = true", "ICMP errors from the way lower the inner MTU"),
            ConfigurationKey(
                "tfc_padding_octets", .integer(0...65535), "tfc_padding_octets = 0",
                "shorter packets are padded to this, against traffic analysis"),
        ] + lifetimes)

    private static let lifetimes = [
        ("soft", "when it is time for the next SA"), ("hard", "when an SA ends"),
    ].flatMap { limit, help in
        ["packets", "octets", "seconds"].map { unit in
            ConfigurationKey(
                "\(limit)_lifetime_\(unit)", .integer(1...Int.max), "\(limit)_lifetime_\(unit) = 1000000", help)
        }
    }

    private static let child = ConfigurationSchema([
        ConfigurationKey(
            "not_before", .dateTime, "not_before = 2027-01-01T00:00:00Z, where Z says UTC; +01:00 would be an offset",
            "when both ends begin to send under it, in the place of all pairs of before; without, from the beginning"),
        ConfigurationKey(
            "outbound", .table(securityAssociation(isInbound: false)), required: true,
            "outbound = { spi = 0x1002, key_file = \"keys/site-b-out-2.key\" }", "the SA that we send under"),
        ConfigurationKey(
            "inbound", .table(securityAssociation(isInbound: true)), required: true,
            "inbound = { spi = 0x2002, key_file = \"keys/site-b-in-2.key\" }", "the SA that we receive under"),
    ])

    private static func securityAssociation(isInbound: Bool) -> ConfigurationSchema {
        let window = ConfigurationKey(
            "replay_window_packets", .integer(64...8192), "replay_window_packets = 1024",
            "the anti-replay window, a power of two")
        return ConfigurationSchema(
            [
                ConfigurationKey(
                    "spi", .integer(Int.min...Int.max), required: true, "spi = 0x1001, without quotes",
                    "the SPI on the wire, 256 or above"),
                ConfigurationKey(
                    "key", .string, "key = \"0x…\" with 40 digits for AES-128",
                    "key and then salt, as ip xfrm takes them"),
                ConfigurationKey(
                    "key_file", .string, "key_file = \"keys/site-b-out.key\"", "a file that holds the key in one line"),
            ] + (isInbound ? [window] : []))
    }

    private static let policy = ConfigurationSchema([
        ConfigurationKey("name", .string, "name = \"management\"", "what counters call it; policy-N when absent"),
        ConfigurationKey(
            "action", .choice(["bypass", "discard", "protect"]), required: true, "action = \"bypass\"",
            "what happens to the packets"),
        ConfigurationKey(
            "direction", .choice(["outbound", "inbound"]), required: true, "direction = \"outbound\"",
            "outbound is towards the unprotected side"),
        ConfigurationKey("tunnel", .string, "tunnel = \"site-b\"", "the tunnel that protects, by name"),
        ConfigurationKey("source", .string, "source = \"10.0.1.0/24\"", "the source block, any when absent"),
        ConfigurationKey(
            "destination", .string, "destination = \"10.0.2.0/24\"", "the destination block, any when absent"),
        ConfigurationKey("protocol", .integerOrString, "protocol = \"udp\"", "the IP protocol, any when absent"),
        ConfigurationKey("source_ports", .integerOrString, "source_ports = \"500-510\"", "ports, any when absent"),
        ConfigurationKey(
            "destination_ports", .integerOrString, "destination_ports = \"500-510\"", "ports, any when absent"),
        ConfigurationKey(
            "icmp_types", .integerOrString, "icmp_types = \"0-8\"", "ICMP types, or \"type/code\"; any when absent"),
        ConfigurationKey(
            "priority", .integer(-1_000_000_000...1_000_000_000), "priority = 10", "lowest first, 0 when absent"),
    ])
}
