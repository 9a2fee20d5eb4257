// What protects a packet: transforms of ESP and AH. RFC 4106, RFC 4543, RFC 7634, RFC 4868; RFC 8221 says which to use.

/// Which of the two IPsec protocols an SA speaks.
public enum SecurityProtocol: UInt8, Hashable, Sendable {
    /// RFC 4303 and RFC 4302; the number is the IP protocol's.
    case esp = 50
    /// Likewise.
    case ah = 51
}

/// A transform and the size of its ICV, by the name that site files use: "aes-128-gcm-16".
public struct Algorithm: Hashable, Sendable {
    /// The transform.
    public enum Transform: UInt8, CaseIterable, Hashable, Sendable {
        /// ESP, AES-GCM (RFC 4106).
        case aes128GCM, aes256GCM
        /// ESP, ChaCha20-Poly1305 (RFC 7634).
        case chaCha20Poly1305
        /// ESP without encryption, AES-GMAC (RFC 4543 section 3).
        case aes128GMAC, aes256GMAC
        /// AH, HMAC-SHA-256-128 (RFC 4868).
        case authenticationHMACSHA256
        /// AH, AES-GMAC (RFC 4543 section 4).
        case authenticationAES128GMAC
    }

    /// The transform.
    public let transform: Transform
    /// Octets of the integrity check value: 16, or 12 or 8 for ESP with AES-GCM (RFC 4106 section 6).
    public let icvOctets: Int

    /// Nil when the transform has no ICV of that size.
    public init?(_ transform: Transform, icvOctets: Int = 16) {
        guard icvOctets == 16 || Algorithm.truncates(transform) && [8, 12].contains(icvOctets) else { return nil }
        self.transform = transform
        self.icvOctets = icvOctets
    }

    private init(known transform: Transform, icvOctets: Int) {
        self.transform = transform
        self.icvOctets = icvOctets
    }

    /// What a tunnel has when its site says nothing.
    public static let aes128GCM16 = Algorithm(known: .aes128GCM, icvOctets: 16)

    private static func truncates(_ transform: Transform) -> Bool { transform == .aes128GCM || transform == .aes256GCM }

    /// All of them, the preferred one first.
    public static let all: [Algorithm] = Transform.allCases.flatMap { transform in
        [16, 12, 8].compactMap { Algorithm(transform, icvOctets: $0) }
    }

    /// The algorithm of this name; nil when there is none.
    public init?(name: some StringProtocol) {
        guard let found = Algorithm.all.first(where: { $0.name == name }) else { return nil }
        self = found
    }

    /// As in site files.
    public var name: String {
        switch transform {
        case .aes128GCM: "aes-128-gcm-\(icvOctets)"
        case .aes256GCM: "aes-256-gcm-\(icvOctets)"
        case .chaCha20Poly1305: "chacha20-poly1305"
        case .aes128GMAC: "aes-128-gmac"
        case .aes256GMAC: "aes-256-gmac"
        case .authenticationHMACSHA256: "ah-hmac-sha2-256-128"
        case .authenticationAES128GMAC: "ah-aes-128-gmac"
        }
    }

    /// The protocol it is a transform of.
    public var securityProtocol: SecurityProtocol {
        switch transform {
        case .authenticationHMACSHA256, .authenticationAES128GMAC: .ah
        default: .esp
        }
    }

    /// Whether packets can't be read on their way.
    public var encrypts: Bool {
        switch transform {
        case .aes128GCM, .aes256GCM, .chaCha20Poly1305: true
        default: false
        }
    }

    /// Octets of the key alone.
    public var keyOctets: Int {
        switch transform {
        case .aes128GCM, .aes128GMAC, .authenticationAES128GMAC: 16
        case .aes256GCM, .aes256GMAC, .chaCha20Poly1305, .authenticationHMACSHA256: 32
        }
    }

    /// Octets of the salt that follows the key in KEYMAT and goes before every IV; 0 for a transform without nonces.
    public var saltOctets: Int { transform == .authenticationHMACSHA256 ? 0 : 4 }

    /// Octets of KEYMAT: key and salt.
    public var keyMaterialOctets: Int { keyOctets + saltOctets }

    /// Octets of the IV that each packet carries, which must never repeat under a key; 0 for a transform without.
    public var ivOctets: Int { transform == .authenticationHMACSHA256 ? 0 : 8 }
}

extension Algorithm: CustomStringConvertible {
    /// Its name.
    public var description: String { name }
}
