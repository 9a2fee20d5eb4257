import IPsec

// The plain kind of packet is what most gateways send: it has a way of its own through the bursts, as short as it can
// be. What is not plain takes the general one.

extension AssociationProfile {
    /// Tunnel mode with encryption and a full ICV, 32-bit numbers and no UDP: as of RFC 4106 and RFC 7634.
    private var isPlain: Bool {
        mode == .tunnel && algorithm.encrypts && algorithm.icvOctets == 16 && !extendedSequenceNumbers && !natTraversal
    }

    /// Whether an outer IPv4 header and all behind it is that of `OutboundBurst`'s short way.
    var isPlainOutbound: Bool { isPlain && dontFragment == .copy && dscp == .copy && tfcPaddingOctets == 0 }

    /// Whether a packet, whatever its outer header, is one of `InboundBurst`'s short way.
    var isPlainInbound: Bool { isPlain }
}
