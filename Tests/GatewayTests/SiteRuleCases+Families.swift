@testable import Gateway

/// Mistakes with two families, profiles and ICMP selectors, in the dual site.
extension RuleCase {
    private static func dual(
        _ replaced: String, _ by: String, _ path: String, at line: String? = nil, _ words: String,
        _ severity: ConfigurationProblem.Severity = .error
    ) -> RuleCase {
        var rule = RuleCase(replaced, by, path, at: line, words, severity)
        rule.site = dualSite
        return rule
    }

    private static let lan = "\"fd00:1::1/64\"]"
    private static let dmz = "\"2001:db8:1::1/64\", \"fe80::1/64\"]"
    private static let six = "remote_address = \"2001:db8:9::9\""

    static let families: [RuleCase] =
        [
            ("ff02::1/64", "nor ::, ::1, multicast"), ("::/64", "a host can have"), ("::1/128", "a host can have"),
            ("::ffff:10.0.0.1/120", "IPv4 address in disguise"), ("fd00:1::/64", "any router's"),
            ("fd00:1::1", "write the block too, \"fd00:1::1/64\""), ("fd00:1::1/0", "prefix length of 1 to 128"),
            ("fd00:1::1/129", "prefix length of 1 to 128"), ("fd00:1::1%lan/64", "without the zone"),
            ("fd00:1:::1/64", "no IP address"), ("2001:db8::2/64", "2001:db8::/64 overlaps"),
        ].map { text, words in
            let isLate = text == "2001:db8::2/64"
            return dual(
                lan, "\"\(text)\"]", isLate ? "port[1].addresses[1]" : "port[0].addresses[1]",
                at: isLate ? "addresses = [\"192.0.2.1/24\"" : "\"\(text)\"]",
                isLate ? "2001:db8::/64 overlaps 2001:db8::/64 of port[0].addresses[1]" : words)
        } + [
            dual("vlan = 7", "vlan = 4095", "port[1].vlan", "1 to 4094"),
            dual("vlan = 7", "vlan = 0", "port[1].vlan", "1 to 4094"),
            dual("vlan = 7", "mtu_octets = 1279", "port[1].mtu_octets", "RFC 8200 section 5", .warning),
            dual(
                "device = \"net_tap0,iface=vpn-gw\"\n", "", "punt.device", at: "[punt]", "is missing"),
            dual("net_tap0", "net_null0", "punt.device", "also the device of port[0]"),
            dual(
                "rate_packets_per_second = 500", "rate_packets_per_second = 0", "punt.rate_packets_per_second", "1 to"),
            dual("[::1]:9464", "::1:9464", "gateway.metrics_address", "\"[::1]:9464\""),
            dual("[::1]:9464", "[::1]", "gateway.metrics_address", "\"[::1]:9464\""),
            dual(
                "port = \"wan\"\n\n[[neighbor]]", "\n[[neighbor]]", "route[1].via", at: "via = \"fe80::fe\"",
                "can be on any link"),
            dual("port = \"wan\"\n\n[[neighbor]]", "port = \"wam\"\n\n[[neighbor]]", "route[1].port", "did you mean"),
            dual("via = \"fe80::fe\"", "via = \"fe80::1\"", "route[1].via", "gateway's own (port[1].addresses[2])"),
            dual("via = \"fe80::fe\"", "via = \"2001:db8:1::9\"", "route[1].via", "in no block of port \"wan\""),
            dual("via = \"fe80::fe\"\nport = \"wan\"", "via = \"2001:db8:7::9\"", "route[1].via", "in no port's block"),
            dual("via = \"fe80::fe\"\nport = \"wan\"", "via = \"2001:db8::\"", "route[1].via", "first address of"),
            dual("via = \"fe80::fe\"", "via = \"192.0.2.9\"", "route[1].via", "192.0.2.9 is IPv4 and ::/0 is IPv6"),
            dual("destination = \"::/0\"", "destination = \"fe80::/10\"", "route[1].destination", "on every link"),
            dual("destination = \"::/0\"", "destination = \"::1/0\"", "route[1].destination", "write \"::/0\""),
            dual(
                "port = \"dmz\"", "port = \"wan\"", "neighbor[1].address",
                at: "address = \"fe80::fe\"\nmac = \"02:00:00:00:01:fe\"", "also the address of neighbor[0]"),
            dual(
                six, "remote_address = \"198.51.100.9\"", "tunnel[1].remote_address",
                "198.51.100.9 is IPv4 and local_address 2001:db8::1 is IPv6"),
            dual(six, "remote_address = \"fe80::9\"", "tunnel[1].remote_address", "another host on each link"),
            dual(six, "remote_address = \"2001:db8:1::1\"", "tunnel[1].remote_address", "gateway's own"),
            dual(
                "local_address = \"2001:db8::1\"", "local_address = \"fe80::1\"", "tunnel[1].local_address",
                "another host on each link"),
            dual(
                "remote_subnets = [\"fd00:3::/64\"]", "remote_subnets = [\"10.0.3.0/24\"]", "tunnel[1].remote_subnets",
                "no block is of the family of one in local_subnets"),
            dual(
                "remote_subnets = [\"fd00:3::/64\"]", "remote_subnets = [\"fd00:3::/64\", \"10.0.3.0/24\"]",
                "tunnel[1].remote_subnets", "10.0.3.0/24 has no IPv4 block on the other side", .warning),
            dual(
                "remote_subnets = [\"fd00:3::/64\"]\n", "", "tunnel[1].remote_subnets",
                at: "[[tunnel]]\nname = \"six\"", "is missing"),
            dual(
                "remote_subnets = [\"fd00:3::/64\"]", "remote_subnets = [\"fd00:2::/64\"]", "tunnel[1].remote_subnets",
                "fd00:1::/64 to fd00:2::/64 is also what tunnel \"natted\" protects"),
            dual(
                "remote_subnets = [\"fd00:3::/64\"]", "remote_subnets = [\"fd00::/8\"]", "tunnel[1].remote_subnets",
                "overlaps fd00:1::/64 to fd00:2::/64", .warning),
        ]

    private static let algorithm = "algorithm = \"chacha20-poly1305\""

    static let profiles: [RuleCase] =
        [
            dual(
                algorithm, "algorithm = \"chacha20-poly1350\"", "tunnel[1].algorithm",
                "did you mean \"chacha20-poly1305\"?"),
            dual(algorithm, "algorithm = \"rot13\"", "tunnel[1].algorithm", "aes-128-gcm-16, aes-128-gcm-12"),
            dual(
                algorithm, "algorithm = \"aes-128-gcm-16\"", "tunnel[1].outbound.key", at: "outbound = { spi = 0x1002",
                "has 72 digits; hint: aes-128-gcm-16 takes 40 digits: 32 of key, 8 of salt"),
            dual(
                algorithm, "algorithm = \"ah-hmac-sha2-256-128\"", "tunnel[1].inbound.key",
                at: "inbound = { spi = 0x2002", "has 72 digits; hint: ah-hmac-sha2-256-128 takes 64 digits, behind"),
            dual(
                DualKeys.chaCha, DualKeys.digest, "tunnel[1].outbound.key",
                "has 64 digits: the salt is missing, 8 digits behind the key; hint: chacha20-poly1305 takes 72 digits: "
                    + "64 of key, 8 of salt"),
            dual(algorithm, "algorithm = \"aes-256-gmac\"", "tunnel[1].algorithm", "hides nothing of it", .warning),
            dual(
                algorithm, "algorithm = \"aes-256-gcm-8\"", "tunnel[1].algorithm",
                "2^64 times as likely to pass as one of 16; hint: \"aes-256-gcm-16\"", .warning),
            dual("icv_octets = 12", "icv_octets = 8", "tunnel[0].icv_octets", "2^64 times", .warning),
            dual("icv_octets = 12", "icv_octets = 10", "tunnel[0].icv_octets", "8, 12 or 16"),
            dual("icv_octets = 12", "icv_octets = 32", "tunnel[0].icv_octets", "8 to 16"),
            dual(
                algorithm, "\(algorithm)\nicv_octets = 8", "tunnel[1].icv_octets", at: "icv_octets = 8",
                "has an ICV of 16 octets and no other"),
            dual("mode = \"transport\"", "mode = \"transprot\"", "tunnel[2].mode", "did you mean \"transport\"?"),
            dual("df = \"set\"", "df = \"keep\"", "tunnel[0].df", "none of \"copy\", \"set\", \"clear\""),
            dual("dscp = 8", "dscp = 64", "tunnel[1].dscp", "no DSCP"),
            dual("dscp = 8", "dscp = -1", "tunnel[1].dscp", "no DSCP"),
            dual("dscp = 8", "dscp = \"af44\"", "tunnel[1].dscp", "no DSCP; hint: did you mean \"af41\"?"),
            dual("dscp = 8", "dscp = \"64\"", "tunnel[1].dscp", "0 to 63"),
            dual("dscp = 8", "dscp = true", "tunnel[1].dscp", "a string or an integer"),
            dual("dscp = 8", "nat_traversal = \"yes\"", "tunnel[1].nat_traversal", "true or false"),
            dual(
                "tfc_padding_octets = 512", "tfc_padding_octets = 1443", "tunnel[0].tfc_padding_octets",
                "1442 octets; hint: 1442 at most"),
            dual(
                "tfc_padding_octets = 512", "tfc_padding_octets = 65536", "tunnel[0].tfc_padding_octets", "0 to 65535"),
        ] + transport

    private static let host = "mode = \"transport\""

    private static let transport: [RuleCase] = [
        dual(
            host, "\(host)\nnat_traversal = true", "tunnel[2].nat_traversal", at: "nat_traversal = true\nlocal",
            "transport mode does not pass a NAT"),
        dual(
            host, "\(host)\ntfc_padding_octets = 100", "tunnel[2].tfc_padding_octets", at: "tfc_padding_octets = 100",
            "transport mode has no room for TFC padding"),
        dual(host, "\(host)\ndf = \"clear\"", "tunnel[2].df", at: "df = \"clear\"", "does nothing", .warning),
        dual(
            host, "\(host)\nlocal_subnets = [\"fd00:1::/64\"]", "tunnel[2].local_subnets",
            at: "local_subnets = [\"fd00:1::/64\"]\nlocal_address = \"fd00:1::10\"", "write [\"fd00:1::10/128\"]"),
        dual(
            host, "\(host)\nremote_subnets = [\"::/0\"]", "tunnel[2].remote_subnets", at: "remote_subnets = [\"::/0\"]",
            "carries what 2001:db8:9::10 says and nothing else"),
        dual(
            "local_address = \"fd00:1::10\"", "local_address = \"fd00:9::10\"", "tunnel[2].local_address",
            "neither the gateway's own nor on a protected port's link", .warning),
        dual(
            "local_address = \"fd00:1::10\"", "local_address = \"2001:db8:9::10\"", "tunnel[2].remote_address",
            at: "remote_address = \"2001:db8:9::10\"", "also local_address"),
        dual(
            "tunnel = \"hosts\"", "tunnel = \"hosts\"\nsource = \"fd00:1::/64\"", "policy[2].source",
            at: "source = \"fd00:1::/64\"\nprotocol = \"udp\"", "write \"fd00:1::10/128\""),
        dual(
            "tunnel = \"hosts\"", "tunnel = \"hosts\"\ndestination = \"0.0.0.0/0\"", "policy[2].destination",
            at: "destination = \"0.0.0.0/0\"\nprotocol", "is in transport mode"),
    ]

    private static let types = "icmp_types = \"128-129\""

    static let messages: [RuleCase] =
        [
            ("256", "no ICMP type"), ("-1", "no ICMP type"), ("\"129-128\"", "write \"128-129\""),
            ("\"8/0/1\"", "neither an ICMP type nor a range"), ("\"8/256\"", "neither an ICMP type nor a range"),
            ("\"-8\"", "neither an ICMP type nor a range"), ("\"+8\"", "neither an ICMP type nor a range"),
            ("\"0-1-2\"", "neither an ICMP type nor a range"), ("true", "a string or an integer"),
        ].map { dual(types, "icmp_types = \($0)", "policy[0].icmp_types", $1) } + [
            dual(
                "protocol = \"ipv6-icmp\"", "protocol = \"udp\"", "policy[0].icmp_types", at: types, "has no ICMP types"
            ),
            dual("protocol = \"ipv6-icmp\"\n", "", "policy[0].icmp_types", at: types, "need a protocol"),
            dual("protocol = \"ipv6-icmp\"", "protocol = \"icmp\"", "policy[0].protocol", "the ICMP of IPv4"),
            dual(
                "protocol = \"icmp\"", "protocol = \"icmp\"\nsource = \"::/0\"", "policy[1].protocol",
                at: "protocol = \"icmp\"\nsource", "hint: protocol = \"icmpv6\""),
            dual(
                "source = \"fd00:1::/64\"", "source = \"fd00:1::/64\"\ndestination = \"10.0.0.0/8\"",
                "policy[0].destination", at: "destination = \"10.0.0.0/8\"",
                "10.0.0.0/8 is IPv4 and fd00:1::/64 is IPv6"),
            dual(
                "name = \"all-of-hosts\"", "name = \"ping\"", "policy[2].name",
                at: "name = \"ping\"\naction = \"protect\"",
                "also the name of policy[0]"),
            dual(
                "name = \"ping\"", "name = \"policy-2\"", "policy[1].name", at: "[[policy]]\naction = \"discard\"",
                "also the name of policy[0]"),
            dual("protocol = \"udp\"", "protocol = \"icmpv66\"", "policy[2].protocol", "did you mean \"icmpv6\"?"),
        ]
}
