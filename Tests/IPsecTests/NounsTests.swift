import IPsec
import Testing

@Suite("RFC 4301 nouns")
struct NounsTests {
    @Test("addresses are read strictly and printed back", arguments: ["0.0.0.0", "10.0.1.1", "255.255.255.255"])
    func addressRoundTrip(text: String) { #expect(IPAddress(text)?.description == text) }

    @Test(
        "what is no dotted quad is refused",
        arguments: [
            "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1..2.3", " 1.2.3.4", "1.2.3.4 ", "a.b.c.d", "+1.2.3.4",
        ])
    func addressRefused(text: String) { #expect(IPAddress(text) == nil) }

    @Test("prefixes hold no host bits")
    func prefixes() {
        #expect(IPPrefix("10.0.0.0/8")?.description == "10.0.0.0/8")
        #expect(IPPrefix("10.0.0.1/8") == nil)
        #expect(IPPrefix("10.0.0.0/33") == nil)
        #expect(IPPrefix("10.0.0.0/-1") == nil)
        #expect(IPPrefix("10.0.0.1")?.length == 32)
        #expect(IPPrefix("0.0.0.0/0")?.mask == 0)
        #expect(IPInterfaceAddress("10.0.1.1/24")?.broadcast == IPAddress("10.0.1.255"))
        #expect(IPInterfaceAddress("10.0.1.1/31")?.broadcast == nil)
        #expect(IPInterfaceAddress("10.0.1.1") == nil)
    }

    @Test("overlap is symmetric")
    func overlap() throws {
        let wide = try #require(IPPrefix("10.0.0.0/8")), narrow = try #require(IPPrefix("10.1.0.0/16"))
        let other = try #require(IPPrefix("11.0.0.0/8"))
        #expect(wide.overlaps(narrow) && narrow.overlaps(wide) && !wide.overlaps(other) && !other.overlaps(narrow))
    }

    @Test("every drop reason has a contract name of its own")
    func dropReasonNames() {
        let names = DropReason.allCases.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(names.first == "malformed")
        for name in [
            "unsupported_ethertype", "not_for_us", "no_outbound_sa", "ttl_expired", "unknown_spi",
            "tunnel_address_mismatch",
            "ecn_violation", "handoff_full", "tx_full", "no_buffers",
        ] { #expect(names.contains(name)) }
        for reason in DropReason.allCases { #expect(!reason.help.isEmpty) }
    }

    @Test("an SPI prints as ip xfrm prints it")
    func spi() {
        #expect(SPI(rawValue: 0x1001).description == "0x00001001")
        #expect(SPI(rawValue: 255).isReserved && !SPI(rawValue: 256).isReserved)
    }
}
