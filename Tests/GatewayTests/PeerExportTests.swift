import IPsec
import Testing

@testable import Gateway

@Suite("vpn-gw export")
struct PeerExportTests {
    /// The first tunnel of `goodSite`, with another profile.
    private func site(_ change: (inout AssociationProfile) -> Void = { _ in }, onLink: Bool = false) throws -> Site {
        var site = try readSite(goodSite).site
        change(&site.topology.tunnels[0].profile)
        if onLink, let peer = IPAddress("192.0.2.9") { site.topology.tunnels[0].remoteAddress = peer }
        return site
    }

    private func export(
        _ kind: PeerExport.Kind, _ site: Site, now: Int64 = 0, withKeys: Bool = false
    ) throws -> String {
        try PeerExport(site, tunnel: "site-b", now: now, withKeys: withKeys).text(for: kind)
    }

    @Test("Linux gets the tunnel mirrored, without keys unless they are asked for")
    func linux() throws {
        let text = try export(.linux, self.site())
        #expect(!TestKeys.leak(in: text))
        let lines = text.split(separator: "\n").map(String.init)
        for expected in [
            "ip xfrm state add src 192.0.2.1 dst 198.51.100.1 proto esp spi 0x00001001 reqid 8193 mode tunnel "
                + "replay-window 2048 flag af-unspec aead 'rfc4106(gcm(aes))' 0xKEY_TO_HERE_0x00001001 128",
            "ip xfrm state add src 198.51.100.1 dst 192.0.2.1 proto esp spi 0x00002001 reqid 8193 mode tunnel "
                + "flag af-unspec aead 'rfc4106(gcm(aes))' 0xKEY_FROM_HERE_0x00002001 128",
            "ip xfrm policy add src 10.0.2.0/24 dst 10.0.1.0/24 dir out tmpl src 198.51.100.1 dst 192.0.2.1 "
                + "proto esp reqid 8193 mode tunnel",
            "ip xfrm policy add src 10.0.1.0/24 dst 10.0.2.0/24 dir in tmpl src 192.0.2.1 dst 198.51.100.1 "
                + "proto esp reqid 8193 mode tunnel",
        ] { #expect(lines.contains(expected), "\(expected)\nin\n\(text)") }
        #expect(lines.contains { $0.hasPrefix("# ip xfrm state add src 198.51.100.1") && $0.contains("0x00002003") })
        #expect(lines.contains { $0.contains("needs a route") } && !text.contains("ip route"))

        let whole = try export(.linux, self.site(), withKeys: true)
        #expect(whole.contains(" \(TestKeys.first) 128") && whole.contains(" \(TestKeys.second) 128"))
        #expect(whole.contains("mode 0600"))
        #expect(try export(.linux, self.site(onLink: true)).contains("\nip route replace 10.0.1.0/24 via 192.0.2.1\n"))
    }

    @Test("the pair whose time it is comes first")
    func rollover() throws {
        let later: Int64 = 1_800_000_000  // after 2027-01-01
        let text = try export(.linux, self.site(), now: later)
        let sending = text.split(separator: "\n").first { $0.hasPrefix("ip xfrm state add src 198.51.100.1") }
        #expect(sending?.contains("spi 0x00002003") == true)
        #expect(try export(.vpp, self.site(), now: later).contains("ipsec sa add 10 spi 8195"))
    }

    /// A profile, and words that the kernel's state then has; none: it can't.
    static let profiles: [(String, @Sendable (inout AssociationProfile) -> Void, [String])] = [
        ("AES-256", { $0.algorithm = algorithm("aes-256-gcm-16") }, ["'rfc4106(gcm(aes))'", " 128\n"]),
        ("ICV 8", { $0.algorithm = algorithm("aes-128-gcm-8") }, ["'rfc4106(gcm(aes))'", " 64\n"]),
        ("ChaCha20", { $0.algorithm = algorithm("chacha20-poly1305") }, ["'rfc7539esp(chacha20,poly1305)'"]),
        ("GMAC", { $0.algorithm = algorithm("aes-128-gmac") }, ["'rfc4543(gcm(aes))'"]),
        (
            "AH", { $0.algorithm = algorithm("ah-hmac-sha2-256-128") },
            ["proto ah", "auth-trunc 'hmac(sha256)'", " 128\n"]
        ),
        ("AH with GMAC", { $0.algorithm = algorithm("ah-aes-128-gmac") }, []),
        ("ESN", { $0.extendedSequenceNumbers = true }, ["replay-window 64 flag esn", "replay-window 2048 flag esn"]),
        ("NAT", { $0.natTraversal = true }, ["encap espinudp 4500 4500 0.0.0.0", "python3 -c"]),
        (
            "transport", { $0.mode = .transport },
            ["mode transport", "dir out tmpl proto esp", "src 198.51.100.1/32 dst 192.0.2.1/32"]
        ),
        ("padding", { $0.tfcPaddingOctets = 100 }, ["# tfc_padding_octets"]),
    ]

    private static func algorithm(_ name: String) -> Algorithm {
        guard let found = Algorithm(name: name) else { preconditionFailure(name) }
        return found
    }

    @Test("every kind of SA that the kernel has", arguments: profiles.indices)
    func kinds(_ index: Int) throws {
        let (name, change, words) = Self.profiles[index]
        let site = try self.site(change)
        if words.isEmpty {
            #expect(throws: PeerExport.Refusal.self) { try export(.linux, site) }
        } else {
            let text = try export(.linux, site)
            for word in words { #expect(text.contains(word), "\(name): \(word) in\n\(text)") }
        }
    }

    @Test("VPP gets decimal SPIs, key and salt apart")
    func vpp() throws {
        let text = try export(.vpp, self.site())
        #expect(!TestKeys.leak(in: text))
        #expect(text.contains("create ipip tunnel src 198.51.100.1 dst 192.0.2.1\n"))
        #expect(text.contains("ipsec tunnel protect ipip0 sa-out 10 sa-in 20\n"))
        #expect(text.contains("ip route add 10.0.1.0/24 via ipip0\n"))
        let key = String(TestKeys.second.dropFirst(2))
        let whole = try export(.vpp, self.site { $0.extendedSequenceNumbers = true }, withKeys: true)
        #expect(
            whole.contains(
                "ipsec sa add 10 spi 8193 esp crypto-alg aes-gcm-128 crypto-key \(key.prefix(32)) "
                    + "salt 0x\(key.suffix(8)) use-anti-replay use-esn\n"), "\(whole)")
        for change: (inout AssociationProfile) -> Void in [
            { $0.mode = .transport }, { $0.algorithm = Self.algorithm("aes-128-gcm-8") },
            { $0.algorithm = Self.algorithm("ah-aes-128-gmac") },
        ] {
            let site = try self.site(change)
            #expect(throws: PeerExport.Refusal.self) { try export(.vpp, site) }
        }
    }

    @Test("pairs that several workers use at once are all received; with one worker nothing is said of it")
    func sideBySide() throws {
        var site = try self.site()
        var further = site.topology.tunnels[0].children[0]
        further.outbound.spi = SPI(rawValue: 0x7001)
        further.inbound.spi = SPI(rawValue: 0x7002)
        site.topology.tunnels[0].children.insert(further, at: 1)
        site.dpdk.workerCores = [1]
        for kind in PeerExport.Kind.allCases { #expect(try !export(kind, site).contains("RFC 9611"), "\(kind)") }
        site.dpdk.workerCores = [1, 2]
        let linux = try export(.linux, site), vpp = try export(.vpp, site)
        #expect(linux.contains("vpn-gw sends under 2 pairs at once") && linux.contains("pcpu-num"))
        #expect(
            linux.contains("proto esp spi 0x00007001")
                && !linux.contains("\nip xfrm state add src 198.51.100.1 dst 192.0.2.1 proto esp spi 0x00007002"))
        #expect(vpp.contains("ipsec sa add 21 spi 28673 ") && vpp.contains("sa-out 10 sa-in 20 sa-in 21\n"))
    }

    @Test("a tunnel that is not there gets the nearest, and no name becomes a command")
    func names() throws {
        #expect {
            try PeerExport(self.site(), tunnel: "site-d", now: 0, withKeys: false)
        } throws: {
            "\($0)".contains("did you mean site-b?") && Failure($0).exitCode == .configuration
        }
        var site = try self.site()
        site.topology.tunnels[0].name = "x\nreboot"
        let text = try PeerExport(site, tunnel: "x\nreboot", now: 0, withKeys: false).text(for: .linux)
        #expect(!text.split(separator: "\n").contains("reboot"))
    }
}
