// How the SAs of a tunnel treat packets. RFC 4301 sections 4.1 and 5.1.2, RFC 4303, RFC 3948.

/// What both SAs of a pair, and all pairs of a tunnel, have in common besides addresses, SPIs and keys.
public struct AssociationProfile: Hashable, Sendable {
    /// RFC 4301 section 4.1.
    public enum Mode: String, CaseIterable, Hashable, Sendable {
        /// A packet is carried whole behind an outer header.
        case tunnel
        /// What follows a packet's own IP header is carried: for two hosts, not for two networks.
        case transport
    }

    /// The outer IPv4 header's DF bit (RFC 4301 section 8.1).
    public enum DontFragment: String, CaseIterable, Hashable, Sendable {
        /// As the inner one; for an inner IPv6 packet, set.
        case copy
        /// Always, or never.
        case set, clear
    }

    /// The outer header's DSCP (RFC 4301 section 5.1.2, RFC 2983).
    public enum DSCP: Hashable, Sendable {
        /// As the inner one.
        case copy
        /// This one, 0 to 63, which says nothing of the inner packet.
        case fixed(UInt8)
    }

    /// Transform and ICV.
    public var algorithm = Algorithm.aes128GCM16
    /// Tunnel or transport mode.
    public var mode = Mode.tunnel
    /// Whether sequence numbers have 64 bits, of which 32 are sent (RFC 4303 section 2.2.1).
    public var extendedSequenceNumbers = false
    /// Whether ESP travels in UDP, port 4500 (RFC 3948), to a peer whose address and port may change on the way.
    public var natTraversal = false
    /// The outer IPv4 header's DF bit.
    public var dontFragment = DontFragment.copy
    /// The outer header's DSCP.
    public var dscp = DSCP.copy
    /// Inner packets that are shorter get padding up to this many octets (RFC 4303 section 2.7), tunnel mode only.
    public var tfcPaddingOctets = 0

    /// What a tunnel has when its site says nothing.
    public init() {}
}
