import Testing

@testable import Gateway

/// One mistake in a site that is otherwise good, and what must be said about it.
struct RuleCase: Sendable, CustomTestStringConvertible {
    /// A piece of the good site; its first occurrence is replaced.
    var replaced: String
    var by: String
    var path: String
    /// A piece of the line that must be named, in the changed text.
    var line: String
    /// What the message or the hint must hold.
    var words: String
    var severity = ConfigurationProblem.Severity.error
    /// The good site.
    var site = goodSite

    init(
        _ replaced: String, _ by: String, _ path: String, at line: String? = nil, _ words: String,
        _ severity: ConfigurationProblem.Severity = .error
    ) {
        self.replaced = replaced
        self.by = by
        self.path = path
        self.line = line ?? by
        self.words = words
        self.severity = severity
    }

    var testDescription: String { "\(path): \(by.prefix(60))" }

    static let namesAndTypes: [RuleCase] = [
        RuleCase("[gateway]", "[gateways]", "gateways", "did you mean gateway?"),
        RuleCase("memory_mib", "memory_mb", "dpdk.memory_mb", "did you mean memory_mib?"),
        RuleCase("mtu_octets = 1400", "mtu_octet = 1400", "port[0].mtu_octet", "did you mean mtu_octets?"),
        RuleCase("via =", "gateway_address =", "route[0].gateway_address", "the keys here are destination, via"),
        RuleCase("mac =", "max =", "neighbor[0].max", "did you mean mac?"),
        RuleCase(
            "replay_window_packets = 2048", "replay_window = 2048", "tunnel[0].inbound.replay_window", "unknown key"),
        RuleCase("replay_window_packets", "nat_traversal", "tunnel[0].inbound.nat_traversal", "belongs in [[tunnel]]"),
        RuleCase("spi = 0x1002,", "spii = 0x1002,", "tunnel[1].outbound.spii", "did you mean spi?"),
        RuleCase("priority = 10", "prio = 10", "policy[0].prio", "unknown key"),
        RuleCase("name = \"site-a\"", "name = 7", "gateway.name", "must be a string, not an integer"),
        RuleCase("[1, 2]", "1", "dpdk.worker_cores", at: "worker_cores = 1", "an array of integers"),
        RuleCase("[1, 2]", "[1,\n \"2\"]", "dpdk.worker_cores[1]", at: " \"2\"]", "must be an integer"),
        RuleCase("huge_pages = true", "huge_pages = \"yes\"", "dpdk.huge_pages", "true or false"),
        RuleCase("spi = 0x1001", "spi = \"0x1001\"", "tunnel[0].outbound.spi", "without quotes"),
        RuleCase("memory_mib = 512", "memory_mib = 1.5", "dpdk.memory_mib", "floating-point"),
        RuleCase("[[route]]", "[route]", "route", "two pairs of brackets"),
        RuleCase("[gateway]", "[[gateway]]", "gateway", "must be one table"),
        RuleCase("name = \"lan\"\n", "", "port[0].name", at: "[[port]]", "is missing"),
        RuleCase("role = \"protected\"\n", "", "port[0].role", at: "[[port]]", "is missing"),
        RuleCase("device = \"0000:03:00.0\"\n", "", "port[0].device", at: "[[port]]", "is missing"),
        RuleCase("addresses = [\"10.0.1.1/24\"]\n", "", "port[0].addresses", at: "[[port]]", "is missing"),
        RuleCase("worker_cores = [1, 2]\n", "", "dpdk.worker_cores", at: "[dpdk]", "is missing"),
        RuleCase("via = \"192.0.2.254\"\n", "", "route[0].via", at: "[[route]]", "is missing"),
        RuleCase("mac = \"02:00:00:00:00:fe\"\n", "", "neighbor[0].mac", at: "[[neighbor]]", "is missing"),
        RuleCase("remote_address = \"198.51.100.1\"\n", "", "tunnel[0].remote_address", at: "[[tunnel]]", "is missing"),
        RuleCase("spi = 0x1001\n", "", "tunnel[0].outbound.spi", at: "[tunnel.outbound]", "is missing"),
        RuleCase("key = \"\(TestKeys.first)\"\n", "", "tunnel[0].outbound", at: "[tunnel.outbound]", "has no key"),
        RuleCase("direction = \"outbound\"\n", "", "policy[0].direction", at: "[[policy]]", "is missing"),
    ]

    static let ports: [RuleCase] = [
        RuleCase("[1, 2]", "[]", "dpdk.worker_cores", at: "worker_cores = []", "is empty"),
        RuleCase("[1, 2]", "[1, 1]", "dpdk.worker_cores[1]", at: "[1, 1]", "twice"),
        RuleCase("[1, 2]", "[1, -2]", "dpdk.worker_cores[1]", at: "[1, -2]", "out of range"),
        RuleCase("memory_mib = 512", "memory_mib = 0", "dpdk.memory_mib", "out of range"),
        RuleCase(
            "name = \"site-a\"", "control_socket = \"/\(String(repeating: "x", count: 120))\"",
            "gateway.control_socket",
            "107"),
        RuleCase("name = \"site-a\"", "metrics_address = \"here\"", "gateway.metrics_address", "no IP address"),
        RuleCase(
            "name = \"wan\"", "name = \"lan\"", "port[1].name", at: "name = \"lan\"\nrole = \"unprotected\"",
            "also the name of port[0]"),
        RuleCase("name = \"lan\"", "name = \"l n\"", "port[0].name", "not a name"),
        RuleCase("role = \"protected\"", "role = \"protectd\"", "port[0].role", "did you mean \"protected\"?"),
        RuleCase("\"0000:03:00.0\"", "\"\"", "port[0].device", at: "device = \"\"", "is empty"),
        RuleCase(
            "\"0000:03:00.0\"", "\"net_af_packet1,iface=x\"", "port[1].device", at: "iface=wan", "device of port[0]"),
        RuleCase(
            "\"0000:03:00.0\"", "\"net_af_packet0,iface=wan\"", "port[1].device", at: "net_af_packet1",
            "\"wan\" is also the interface of port[0]"),
        RuleCase("\"0000:03:00.0\"", "\"eth0\"", "port[0].device", "net_af_packet0,iface=eth0", .warning),
        RuleCase("\"10.0.1.1/24\"", "\"10.0.1.1\"", "port[0].addresses[0]", "10.0.1.1/24"),
        RuleCase(
            "\"10.0.1.1/24\"", "\"10.0.1.0/24\"", "port[0].addresses[0]", at: "[\"10.0.1.0/24\"]", "a host can have"),
        RuleCase("\"10.0.1.1/24\"", "\"224.0.0.1/24\"", "port[0].addresses[0]", "a host can have"),
        RuleCase(
            "\"10.0.1.1/24\"", "\"192.0.2.77/26\"", "port[1].addresses[0]", at: "192.0.2.1/24", "overlaps 192.0.2.64/26"
        ),
        RuleCase("\"192.0.2.3/24\"", "\"10.0.1.1/24\"", "port[1].addresses[1]", at: "192.0.2.1/24", "is also port[0]"),
        RuleCase("\"192.0.2.3/24\"", "\"192.0.2.1/24\"", "port[1].addresses[1]", "twice"),
        RuleCase("[\"10.0.1.1/24\"]", "[]", "port[0].addresses", at: "addresses = []", "is empty"),
        RuleCase("mtu_octets = 1400", "mtu_octets = 575", "port[0].mtu_octets", "576 to 9216"),
        RuleCase("mtu_octets = 1400", "mtu_octets = 9217", "port[0].mtu_octets", "576 to 9216"),
        RuleCase("via = \"192.0.2.254\"", "via = \"172.16.0.1\"", "route[0].via", "192.0.2.0/24 (wan)"),
        RuleCase("via = \"192.0.2.254\"", "via = \"192.0.2.3\"", "route[0].via", "gateway's own"),
        RuleCase("via = \"192.0.2.254\"", "via = \"192.0.2.255\"", "route[0].via", "last address"),
        RuleCase(
            "via = \"192.0.2.254\"", "via = \"fe80::1\"", "route[0].via", "fe80::1 is IPv6 and 198.51.100.0/24 is"),
        RuleCase("\"198.51.100.0/24\"", "\"198.51.100.1/24\"", "route[0].destination", "write \"198.51.100.0/24\""),
        RuleCase("\"198.51.100.0/24\"", "\"192.0.2.0/24\"", "route[0].destination", "connected to wan"),
        RuleCase(
            "[[neighbor]]", "[[route]]\ndestination = \"198.51.100.0/24\"\nvia = \"192.0.2.253\"\n\n[[neighbor]]",
            "route[1].destination", at: "destination = \"198.51.100.0/24\"\nvia = \"192.0.2.253\"",
            "also the destination of route[0]"),
        RuleCase("port = \"wan\"", "port = \"wann\"", "neighbor[0].port", "did you mean \"wan\"?"),
        RuleCase(
            "port = \"wan\"", "port = \"lan\"", "neighbor[0].address", at: "address = \"192.0.2.254\"", "in no block"),
        RuleCase("address = \"192.0.2.254\"", "address = \"192.0.2.1\"", "neighbor[0].address", "gateway's own"),
        RuleCase(":fe\"", ":f\"", "neighbor[0].mac", "no Ethernet address"),
        RuleCase(":fe\"", ":+e\"", "neighbor[0].mac", "no Ethernet address"),
        RuleCase("02:00:00:00:00:fe", "03:00:00:00:00:fe", "neighbor[0].mac", "group address"),
        RuleCase("02:00:00:00:00:fe", "00:00:00:00:00:00", "neighbor[0].mac", "nobody's address"),
    ]

    static let tunnels: [RuleCase] = [
        RuleCase("spi = 0x1001", "spi = 255", "tunnel[0].outbound.spi", "SPI 255 is reserved"),
        RuleCase("spi = 0x1001", "spi = 0", "tunnel[0].outbound.spi", "use 256 or above"),
        RuleCase("spi = 0x1001", "spi = -1", "tunnel[0].outbound.spi", "32 bits"),
        RuleCase("spi = 0x1001", "spi = 0x100000000", "tunnel[0].outbound.spi", "32 bits"),
        RuleCase(
            "spi = 0x2002", "spi = 0x2001", "tunnel[1].inbound.spi", at: "inbound = {", "SPI of tunnel[0].inbound"),
        RuleCase(
            TestKeys.second, TestKeys.first.dropLast(8) + "00000000", "tunnel[0].inbound.key",
            "as tunnel[0].outbound.key"),
        RuleCase(
            TestKeys.fourth, TestKeys.first, "tunnel[1].inbound.key", at: "inbound = {", "as tunnel[0].outbound.key"),
        RuleCase(TestKeys.first, String(TestKeys.first.dropLast()), "tunnel[0].outbound.key", "has 39 digits"),
        RuleCase(TestKeys.first, String(TestKeys.first.dropLast(8)), "tunnel[0].outbound.key", "salt is missing"),
        RuleCase(TestKeys.first, String(TestKeys.first.dropFirst(2)), "tunnel[0].outbound.key", "begin with 0x"),
        RuleCase(TestKeys.first, TestKeys.first.dropLast() + "g", "tunnel[0].outbound.key", "no hexadecimal digits"),
        RuleCase(
            "spi = 0x1001", "spi = 0x1001\nkey_file = \"a\"", "tunnel[0].outbound.key_file", at: "key_file", "both"),
        RuleCase(
            "replay_window_packets = 2048", "replay_window_packets = 1000", "tunnel[0].inbound.replay_window_packets",
            "power of two"),
        RuleCase(
            "replay_window_packets = 2048", "replay_window_packets = 32", "tunnel[0].inbound.replay_window_packets",
            "64 to 8192"),
        RuleCase(
            "name = \"site-c\"", "name = \"site-b\"", "tunnel[1].name",
            at: "name = \"site-b\"\nlocal_address = \"192.0.2.3\"", "also the name"),
        RuleCase(
            "local_address = \"192.0.2.1\"", "local_address = \"10.0.1.1\"", "tunnel[0].local_address",
            "unprotected port"),
        RuleCase(
            "local_address = \"192.0.2.1\"", "local_address = \"::1\"", "tunnel[0].local_address", "a host can have"),
        RuleCase(
            "remote_address = \"198.51.100.1\"", "remote_address = \"192.0.2.3\"", "tunnel[0].remote_address",
            "gateway's own"),
        RuleCase(
            "remote_address = \"198.51.100.1\"", "remote_address = \"8.8.8.8\"", "tunnel[0].remote_address",
            "no route"),
        RuleCase(
            "remote_address = \"198.51.100.1\"", "remote_address = \"10.0.1.9\"", "tunnel[0].remote_address",
            "a protected port"),
        RuleCase(
            "remote_address = \"198.51.100.1\"", "remote_address = \"239.1.1.1\"", "tunnel[0].remote_address",
            "a host can have"),
        RuleCase("local_subnets = [\"10.0.1.0/24\"]", "local_subnets = []", "tunnel[0].local_subnets", "is empty"),
        RuleCase(
            "remote_subnets = [\"10.0.2.0/24\"]", "remote_subnets = [\"10.0.2.7/24\"]", "tunnel[0].remote_subnets[0]",
            "write \"10.0.2.0/24\""),
        RuleCase(
            "remote_subnets = [\"10.0.2.0/24\"]", "remote_subnets = [\"10.0.3.0/24\"]", "tunnel[1].remote_subnets",
            at: "\"10.0.4.0/24\"]", "also what tunnel \"site-b\" protects"),
        RuleCase(
            "remote_subnets = [\"10.0.2.0/24\"]", "remote_subnets = [\"10.0.0.0/16\"]", "tunnel[1].remote_subnets",
            at: "\"10.0.4.0/24\"]", "the more specific selector does not win", .warning),
        RuleCase("[[tunnel]]", "[[tunnel]]", "tunnel", "RFC 8221 section 3", .warning),
    ]

    static let offload: [RuleCase] = [
        RuleCase(
            "huge_pages = true", "huge_pages = true\nidle = \"slep\"", "dpdk.idle", at: "idle = ", "none of \"poll\""),
        RuleCase(
            "offload = \"auto\"", "offload = \"required\"", "tunnel[0].offload",
            "can't be had on wan, which is no NIC; hint"),
        RuleCase(
            "offload = \"auto\"", "offload = { outbound = \"required\" }\ntfc_padding_octets = 256",
            "tunnel[0].offload.outbound", at: "offload = { outbound", "padding for traffic flow confidentiality"),
        RuleCase(
            "offload = \"auto\"", "offload = \"required\"\nextended_sequence_numbers = true", "tunnel[0].offload",
            at: "offload = \"required\"", "can't be had with extended sequence numbers"),
        RuleCase(
            "offload = \"auto\"", "offload = \"required\"\nnat_traversal = true", "tunnel[0].offload",
            at: "offload = \"required\"", "can't be had with NAT traversal"),
        RuleCase("offload = \"auto\"", "offload = { sideways = \"off\" }", "tunnel[0].offload.sideways", "unknown key"),
        RuleCase("offload = \"auto\"", "offload = \"of\"", "tunnel[0].offload", "none of"),
        RuleCase(
            "offload = \"auto\"", "offload = \"lookaside\"", "tunnel[0].offload", "can't be had without a crypto device"
        ),
        RuleCase(
            "offload = \"auto\"", "offload = { inbound = \"lookaside\" }\nextended_sequence_numbers = true",
            "tunnel[0].offload.inbound", at: "offload = { inbound",
            "\"lookaside\" can't be had with extended sequence numbers"),
        RuleCase(
            "memory_mib = 512", "crypto_devices = [\"crypto_a0,x=1\", \"crypto_a0\"]", "dpdk.crypto_devices[1]",
            at: "crypto_devices", "also named by dpdk.crypto_devices[0]"),
        RuleCase(
            "memory_mib = 512", "crypto_devices = [\"\"]", "dpdk.crypto_devices[0]", at: "crypto_devices", "is empty"),
    ]

    static let policies: [RuleCase] = [
        RuleCase("action = \"bypass\"", "action = \"permit\"", "policy[0].action", "none of"),
        RuleCase("action = \"bypass\"", "action = \"protect\"", "policy[0].tunnel", at: "[[policy]]", "is missing"),
        RuleCase(
            "action = \"bypass\"", "action = \"bypass\"\ntunnel = \"site-b\"", "policy[0].tunnel",
            at: "tunnel = \"site-b\"", "takes no tunnel"),
        RuleCase("tunnel = \"site-c\"", "tunnel = \"site-d\"", "policy[1].tunnel", "there is no tunnel"),
        RuleCase("direction = \"outbound\"", "direction = \"out\"", "policy[0].direction", "none of"),
        RuleCase("source = \"10.0.1.0/24\"", "source = \"10.0.1.1/24\"", "policy[0].source", "write \"10.0.1.0/24\""),
        RuleCase("source = \"10.0.1.0/24\"", "source = \"everywhere\"", "policy[0].source", "no block of IP addresses"),
        RuleCase("protocol = \"udp\"", "protocol = \"upd\"", "policy[0].protocol", "no IP protocol"),
        RuleCase("protocol = \"udp\"", "protocol = 256", "policy[0].protocol", "no IP protocol"),
        RuleCase(
            "protocol = \"udp\"", "protocol = \"icmp\"", "policy[0].destination_ports", at: "destination_ports",
            "no ports"),
        RuleCase("protocol = \"udp\"\n", "", "policy[0].destination_ports", at: "destination_ports", "need a protocol"),
        RuleCase("\"500-510\"", "\"510-500\"", "policy[0].destination_ports", "backwards"),
        RuleCase("\"500-510\"", "\"500-510-520\"", "policy[0].destination_ports", "neither a port nor a range"),
        RuleCase("\"500-510\"", "\"-500\"", "policy[0].destination_ports", "neither a port nor a range"),
        RuleCase("\"500-510\"", "\"500-65536\"", "policy[0].destination_ports", "neither a port nor a range"),
        RuleCase("\"500-510\"", "65536", "policy[0].destination_ports", "no port"),
    ]

    static let all =
        namesAndTypes + ports + tunnels + offload + policies + children + lifetimes + hooks + families + profiles
        + messages
}
