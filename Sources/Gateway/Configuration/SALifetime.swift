import IPsec

/// How long an SA lasts: its sequence numbers must not wrap (RFC 4303 section 3.3.3), so it ends after 2^32 packets, or
/// 2^64 with ESN.
enum SALifetime {
    static let lineRateBitsPerSecond = 10_000_000_000
    /// What a frame costs on the wire besides its octets: preamble, start of frame and gap (IEEE 802.3).
    static let frameGapOctets = 20
    /// Ethernet header and frame check sequence.
    static let frameOverheadOctets = 18
    /// The IP packet in the shortest frame, of 64 octets.
    static let smallestInnerOctets = 64 - frameOverheadOctets

    /// Whole seconds until all numbers of an SA have left a 10GbE port one after the other, with packets of `inner`
    /// octets.
    static func seconds(
        inner innerOctets: Int, _ profile: AssociationProfile = AssociationProfile(), outer family: IPFamily = .v4
    ) -> Int {
        let padded = profile.mode == .tunnel ? max(innerOctets, profile.tfcPaddingOctets) : innerOctets
        let outer = profile.outerOctets(innerOctets: padded, outer: family)
        let octets = outer + frameOverheadOctets + frameGapOctets
        let packets = UInt128(1) << (profile.extendedSequenceNumbers ? 64 : 32)
        return Int(packets * UInt128(octets * 8) / UInt128(lineRateBitsPerSecond))
    }

    /// "7 min 54 s", "1 h 28 min", "54967 years".
    static func text(_ seconds: Int) -> String {
        if seconds < 3600 { return "\(seconds / 60) min \(seconds % 60) s" }
        if seconds < 2 * 86400 { return "\(seconds / 3600) h \(seconds % 3600 / 60) min" }
        return seconds < 730 * 86400 ? "\(seconds / 86400) days" : "\(seconds / (365 * 86400)) years"
    }
}
