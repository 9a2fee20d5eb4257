import IPsec

/// An SA as the store knows it: its records belong to the key *and* the SPI, because that pair is the SA that the
/// peer's anti-replay window watches (RFC 4303 section 3.4.3).
public struct SAIdentity: Hashable, Sendable {
    /// Names the AES key without giving it away: 64 lowercase hexadecimal digits.
    public let fingerprint: String
    /// The SPI that its packets carry.
    public let spi: SPI
    /// The fingerprint once more.
    let key: KeyName

    /// The SA with this key and SPI. Traps unless `fingerprint` is 64 lowercase hexadecimal digits.
    public init(fingerprint: String, spi: SPI) {
        guard let key = KeyName(fingerprint) else { preconditionFailure("no fingerprint") }
        self.init(fingerprint: fingerprint, key: key, spi: spi)
    }

    init(fingerprint: String, key: KeyName, spi: SPI) {
        self.fingerprint = fingerprint
        self.spi = spi
        self.key = key
    }

    /// The same key and SPI.
    public static func == (left: SAIdentity, right: SAIdentity) -> Bool {
        left.spi == right.spi && left.key == right.key
    }

    /// Of both.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(key)
        hasher.combine(spi)
    }
}
