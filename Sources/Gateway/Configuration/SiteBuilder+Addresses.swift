import IPsec

/// Addresses and blocks of both families, as text.
extension SiteBuilder {
    /// An address that one host may have; nil after saying what is wrong with `text`.
    func hostAddress(_ text: String, at path: String) -> IPAddress? {
        guard let address = IPAddress(text) else {
            problems.error(
                path, "\"\(text)\" is no IP address",
                hint: SiteBuilder.addressHint(
                    text, v4: "four numbers of 0 to 255, \"192.0.2.1\"",
                    v6: "eight groups of hexadecimal digits, \"2001:db8::1\""))
            return nil
        }
        guard SiteBuilder.isUnicast(address) else {
            problems.error(
                path, "\(address) is not an address that a host can have",
                hint: SiteBuilder.isMapped(address)
                    ? "write the IPv4 address itself" : "a unicast address that others can reach")
            return nil
        }
        return address
    }

    /// A block without host bits; nil after saying what is wrong with `text`.
    func block(_ text: String, at path: String) -> IPPrefix? {
        guard let parsed = IPInterfaceAddress(text, allowsAddressAlone: true) else {
            problems.error(
                path, "\"\(text)\" is no block of IP addresses",
                hint: SiteBuilder.addressHint(
                    text, v4: "an address and a prefix length, \"10.0.1.0/24\"",
                    v6: "an address and a prefix length, \"fd00:1::/64\""))
            return nil
        }
        guard parsed.address == parsed.prefix.address else {
            problems.error(path, "\(parsed) has bits set behind its prefix length", hint: "write \"\(parsed.prefix)\"")
            return nil
        }
        return parsed.prefix
    }

    /// The hint for what somebody tried to write.
    static func addressHint(_ text: String, v4: String, v6: String) -> String {
        guard text.contains(":") else { return v4 }
        return text.contains("%") ? "without the zone behind %: the port is named by a key of its own" : v6
    }

    /// Of IPv4 neither "this network" (0/8), loopback (127/8), multicast nor reserved (224/3), of IPv6 neither ::, ::1,
    /// multicast (ff00::/8) nor an IPv4 address in disguise; RFC 6890, RFC 4291 section 2.5.
    static func isUnicast(_ address: IPAddress) -> Bool {
        if let number = address.v4 {
            let first = number >> 24
            return first != 0 && first != 127 && first < 224
        }
        return address.rawValue > 1 && address.rawValue >> 120 != 0xff && !isMapped(address)
    }

    /// Whether it is an IPv4 address written as IPv6, ::ffff:0:0/96 (RFC 4291 section 2.5.5.2): never on a wire.
    private static func isMapped(_ address: IPAddress) -> Bool {
        address.family == .v6 && address.rawValue >> 32 == 0xffff
    }
}
