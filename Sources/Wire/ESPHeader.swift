// ESP with AES-GCM, and all that is laid out as that is. RFC 4303 section 2, RFC 4106 sections 3 to 5.
//
//   0               4               8                               16
//   | SPI           | sequence      | IV                            | ciphertext: payload, padding 1 2 3 …,
//                                                                   |   pad length, next header
//   |<-- associated data (32-bit) ->|                               | ICV, 16 octets

/// A view of an ESP packet from its header on.
@frozen
public struct ESPHeader {
    /// Octets of SPI and sequence number.
    public static let headerOctets = 8
    /// Octets of the explicit IV (RFC 4106 section 3.1).
    public static let ivOctets = 8
    /// Octets of the integrity check value, where it is not shortened to 12 or 8.
    public static let icvOctets = 16
    /// Octets of pad length and next header.
    public static let trailerOctets = 2
    /// Octets that ciphertext ends on a multiple of (RFC 4303 section 2.4).
    public static let alignmentOctets = 4
    /// Octets of the smallest packet: no payload, padding to the alignment.
    public static let minimumOctets = headerOctets + ivOctets + alignmentOctets + icvOctets

    /// The packet, to the end of its ICV.
    public let bytes: PacketBytes

    /// The view of a packet with an ICV of 16 octets. Nil when `bytes` is shorter than the smallest packet or its
    /// ciphertext is not aligned.
    @inlinable
    @inline(__always)
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= ESPHeader.minimumOctets, bytes.count & (ESPHeader.alignmentOctets &- 1) == 0 else {
            return nil
        }
        self.bytes = bytes
    }

    /// Names the SA.
    @inlinable public var spi: UInt32 { bytes.uint32(at: 0) }
    /// The (low half of the) sequence number.
    @inlinable public var sequenceNumber: UInt32 { bytes.uint32(at: 4) }
    /// The IV as it lies in memory.
    @inlinable public var ivWord: UInt64 { bytes.word64(at: ESPHeader.headerOctets) }
    /// Octets of ciphertext.
    @inlinable public var ciphertextOctets: Int {
        bytes.count &- ESPHeader.headerOctets &- ESPHeader.ivOctets &- ESPHeader.icvOctets
    }

    /// Whether a packet of `octets`, with an IV, can have an ICV of `icvOctets`: it is long enough, and what is before
    /// the ICV ends on the alignment. `icvOctets` is a multiple of that.
    @inlinable
    public static func isWellFormed(octets: Int, icvOctets: Int) -> Bool {
        octets >= headerOctets &+ ivOctets &+ alignmentOctets &+ icvOctets && octets & (alignmentOctets &- 1) == 0
    }

    /// Octets of padding behind a payload of `length` octets (RFC 4303 section 2.4): 0 to 3.
    @inlinable
    @inline(__always)
    public static func paddingOctets(payload length: Int) -> Int {
        (0 &- (length &+ trailerOctets)) & (alignmentOctets &- 1)
    }
}
