import IPsec

/// An SA as the store knows it: its records belong to the key *and* the SPI, because that pair is the SA that the
/// peer's anti-replay window watches (RFC 4303 section 3.4.3).
public struct SAIdentity: Hashable, Sendable {
    /// Names the AES key without giving it away: 64 lowercase hexadecimal digits.
    public let fingerprint: String
    /// The SPI that its packets carry.
    public let spi: SPI

    /// The SA with this key and SPI. Traps unless `fingerprint` is 64 lowercase hexadecimal digits.
    public init(fingerprint: String, spi: SPI) {
        precondition(isFingerprint(fingerprint))
        self.fingerprint = fingerprint
        self.spi = spi
    }
}

/// 64 lowercase hexadecimal digits: a SHA-256, and no key by mistake.
func isFingerprint(_ text: some StringProtocol) -> Bool { text.utf8.count == 64 && isLowercaseHexadecimal(text) }

func isLowercaseHexadecimal(_ text: some StringProtocol) -> Bool {
    text.utf8.allSatisfy(isLowercaseHexadecimal)
}

func isLowercaseHexadecimal(_ octet: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(octet) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(octet)
}
