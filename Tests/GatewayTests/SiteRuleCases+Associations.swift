@testable import Gateway

/// Mistakes in children and lifetimes, and in the hook that tells of them.
extension RuleCase {
    private static let firstTime = "not_before = 2027-01-01T01:00:00+01:00"
    private static let beforeChild = "[[tunnel.child]]\nnot_before = 2027-01-01T01:00:00+01:00"

    /// Another child in front of the one there is.
    private static func child(_ time: String, spi: Int = 0x3001, key: Int = 1) -> String {
        let digits = String(key, radix: 16)
        let keys = ["a", "b"].map { "0x" + $0 + String(repeating: "0", count: 31 - digits.count) + digits + "00000000" }
        return """
            [[tunnel.child]]
            \(time)
            outbound = { spi = \(spi), key = "\(keys[0])" }
            inbound = { spi = \(spi), key = "\(keys[1])" }

            """
    }

    static let children: [RuleCase] =
        [
            ("2027-01-01T01:00:00", "not one without its offset"), ("2027-01-01T01:00:00.5Z", "with a fraction"),
            ("2027-01-01", "not a date"), ("01:00:00", "not a time"), ("1798761600", "not an integer"),
            ("\"2027-01-01T01:00:00Z\"", "not a string"), ("1969-12-31T23:59:59Z", "before 1970"),
            ("1970-01-01T00:59:59+01:00", "before 1970"), ("0000-01-01T00:00:00Z", "before 1970"),
            ("9999-12-31T23:59:59-00:01", "after 9999"), ("2027-01-01T01:00:00", "Z says UTC"),
        ].map { value, words in
            RuleCase(firstTime, "not_before = \(value)", "tunnel[0].child[0].not_before", words)
        } + [
            RuleCase(
                beforeChild, child("not_before = 2027-01-01T00:00:01Z") + beforeChild,
                "tunnel[0].child[1].not_before", at: "not_before = 2027-01-01T01:00:00+01:00",
                "is before 2027-01-01T00:00:01Z of tunnel[0].child[0].not_before in line 52"),
            RuleCase(
                beforeChild, child("not_before = 2028-02-29T00:00:00Z") + beforeChild,
                "tunnel[0].child[1].not_before", at: "not_before = 2027-01-01T01:00:00+01:00",
                "2027-01-01T00:00:00Z is before 2028-02-29T00:00:00Z"),
            RuleCase("[[tunnel.child]]", "[tunnel.child]", "tunnel[0].child", "two pairs of brackets"),
            RuleCase(firstTime, "not_befor = 1", "tunnel[0].child[0].not_befor", "did you mean not_before?"),
            RuleCase(
                "[tunnel.child.inbound]\nspi = 0x2003\n", "[tunnel.child.inbound]\n", "tunnel[0].child[0].inbound.spi",
                at: "[tunnel.child.inbound]", "is missing"),
            RuleCase(
                "outbound = { spi = 0x1003, key = \"\(TestKeys.fifth)\" }\n", "", "tunnel[0].child[0].outbound",
                at: "[[tunnel.child]]", "is missing"),
            RuleCase(
                "spi = 0x1003", "spi = 0x1001", "tunnel[0].child[0].outbound.spi", at: "spi = 0x1001, key",
                "also the SPI of tunnel[0].outbound"),
            RuleCase(
                "spi = 0x2003", "spi = 0x2001", "tunnel[0].child[0].inbound.spi", at: "spi = 0x2001\nkey = \"0x0b",
                "inbound SPI of tunnel[0].inbound"),
            RuleCase(
                "spi = 0x2002", "spi = 0x2003", "tunnel[1].inbound.spi", at: "inbound = {",
                "SPI of tunnel[0].child[0].inbound"),
            RuleCase(
                TestKeys.sixth, TestKeys.first, "tunnel[0].child[0].inbound.key",
                at: "key = \"\(TestKeys.first)\"\nreplay_window_packets = 512", "as tunnel[0].outbound.key"),
            RuleCase(
                TestKeys.fifth, String(TestKeys.fifth.dropLast()), "tunnel[0].child[0].outbound.key", "has 39 digits"),
            RuleCase(
                "replay_window_packets = 512", "replay_window_packets = 513",
                "tunnel[0].child[0].inbound.replay_window_packets", "power of two"),
            RuleCase(
                beforeChild, (0..<63).map { child("", spi: 0x3001 + $0, key: $0) }.joined() + beforeChild,
                "tunnel[0].child[63]", at: beforeChild, "64 at most"),
        ]

    static let lifetimes: [RuleCase] =
        ["soft", "hard"].flatMap { limit in
            ["packets", "octets", "seconds"].map { unit in
                RuleCase(
                    "mode = \"tunnel\"", "\(limit)_lifetime_\(unit) = 0", "tunnel[0].\(limit)_lifetime_\(unit)",
                    "out of range")
            }
        } + [
            RuleCase(
                "mode = \"tunnel\"", "soft_lifetime_octets = 5\nhard_lifetime_octets = 5",
                "tunnel[0].soft_lifetime_octets", at: "soft_lifetime_octets", "not less than hard_lifetime_octets = 5"),
            RuleCase(
                "soft_lifetime_packets = 1000000", "soft_lifetime_packets = 2000001", "tunnel[1].soft_lifetime_packets",
                "not less than hard_lifetime_packets = 2000000"),
            RuleCase(
                "hard_lifetime_packets = 2000000", "hard_lifetime_packets = 0x100000000",
                "tunnel[1].hard_lifetime_packets", "ends with sequence number 4294967295", .warning),
            RuleCase(
                "mode = \"tunnel\"", "soft_lifetime_packets = 4294967296", "tunnel[0].soft_lifetime_packets",
                "never reached", .warning),
            RuleCase(
                "mode = \"tunnel\"", "hard_lifetime_seconds = 60", "tunnel[0].hard_lifetime_seconds",
                "without a word before; hint: soft_lifetime_seconds", .warning),
        ]

    static let hooks: [RuleCase] = [
        RuleCase("[dpdk]", "hook_command = \"/x\"\n[dpdk]", "gateway.hook_command", at: "hook", "array of strings"),
        RuleCase("[dpdk]", "hook_command = [\"x\"]\n[dpdk]", "gateway.hook_command[0]", at: "hook", "absolute path"),
        RuleCase("[dpdk]", "hook_command = [\"\"]\n[dpdk]", "gateway.hook_command[0]", at: "hook", "absolute path"),
    ]
}
