import IPsec

/// An SA as the store knows it: its records belong to the key *and* the SPI, because that pair is the SA that the
/// peer's anti-replay window watches (RFC 4303 section 3.4.3).
public struct SAIdentity: Hashable, Sendable {
    /// Names the key without giving it away.
    public let fingerprint: KeyFingerprint
    /// The SPI that its packets carry.
    public let spi: SPI

    /// The SA with this key and SPI.
    public init(fingerprint: KeyFingerprint, spi: SPI) {
        self.fingerprint = fingerprint
        self.spi = spi
    }
}
