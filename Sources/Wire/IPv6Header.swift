// IPv6. RFC 8200 section 3; traffic class as DSCP and ECN: RFC 2474 section 3, RFC 3168 section 5.
//
//   0                   4                6             7           8              24                40
//   |ver| DS+ECN| flow  | payload length | next header | hop limit | source       | destination     | extension headers

/// A view of an IPv6 packet from its header on.
@frozen
public struct IPv6Header {
    /// Octets of the header; extension headers follow.
    public static let octets = 40
    /// Octets that every link carries in one packet (RFC 8200 section 5): no router says "too big" for less.
    public static let minimumMTUOctets = 1280
    /// Where fields start.
    public enum Offset {
        /// In octets from the header's first.
        public static let payloadLength = 4, nextHeader = 6, hopLimit = 7, source = 8, destination = 24
    }

    /// The packet.
    public let bytes: PacketBytes

    /// Nil when `bytes` is shorter than the header; nothing else is checked.
    @inlinable
    @inline(__always)
    public init?(_ bytes: PacketBytes) {
        guard bytes.count >= IPv6Header.octets else { return nil }
        self.bytes = bytes
    }

    /// 6 for IPv6.
    @inlinable public var version: UInt8 { bytes.uint8(at: 0) >> 4 }
    /// DSCP and ECN, as IPv4's type of service has them.
    @inlinable public var trafficClass: UInt8 { UInt8(truncatingIfNeeded: bytes.uint16(at: 0) >> 4) }
    /// The flow's label (RFC 6437): 20 bits.
    @inlinable public var flowLabel: UInt32 { bytes.uint32(at: 0) & 0xf_ffff }
    /// Octets behind this header, extension headers included. 0 in a jumbogram (RFC 2675), which no walk gets through.
    @inlinable public var payloadLength: Int { Int(bytes.uint16(at: Offset.payloadLength)) }
    /// Octets of header and payload.
    @inlinable public var totalLength: Int { payloadLength &+ IPv6Header.octets }
    /// What comes behind this header: an extension header's number or the payload's.
    @inlinable public var nextHeader: UInt8 { bytes.uint8(at: Offset.nextHeader) }
    /// Hops left.
    @inlinable public var hopLimit: UInt8 { bytes.uint8(at: Offset.hopLimit) }
    /// First half of the source address as a number.
    @inlinable public var sourceHigh: UInt64 { bytes.uint64(at: Offset.source) }
    /// Second half of it.
    @inlinable public var sourceLow: UInt64 { bytes.uint64(at: Offset.source &+ 8) }
    /// First half of the destination address as a number.
    @inlinable public var destinationHigh: UInt64 { bytes.uint64(at: Offset.destination) }
    /// Second half of it.
    @inlinable public var destinationLow: UInt64 { bytes.uint64(at: Offset.destination &+ 8) }
    /// Source address as a number.
    @inlinable public var source: UInt128 { UInt128(sourceHigh) << 64 | UInt128(sourceLow) }
    /// Destination address as a number.
    @inlinable public var destination: UInt128 { UInt128(destinationHigh) << 64 | UInt128(destinationLow) }

    /// Whether a receiver may go on: version and length hold. There is no checksum to look at.
    ///
    /// `bytes` may be longer than the packet (Ethernet padding), not shorter.
    @inlinable
    @inline(__always)
    public var isWellFormed: Bool { version == 6 && totalLength <= bytes.count }

    /// One hop less. The caller has checked that the hop limit is at least 1.
    @inlinable
    @inline(__always)
    public func decrementHopLimit() { bytes.store(hopLimit &- 1, at: Offset.hopLimit) }

    /// Replaces the ECN bits (RFC 3168 section 5), the two lowest of the traffic class.
    @inlinable
    public func setECN(_ ecn: UInt8) { bytes.store(bytes.uint8(at: 1) & 0xcf | (ecn & 0x03) << 4, at: 1) }

    /// The pseudo header's sum for a checksum of `length` octets of `upperProtocol`, to be passed to
    /// `InternetChecksum.sum(_:pseudoHeader:)`. Right where the destination in the header is the final one, as it is
    /// unless a routing header has segments left (RFC 8200 section 8.1).
    @inlinable
    public func pseudoHeader(upperProtocol: UInt8, length: Int) -> UInt64 {
        InternetChecksum.pseudoHeader(
            source: source, destination: destination, upperProtocol: upperProtocol, length: length)
    }

    /// Writes all fields. `payloadLength` in octets; `flowLabel` takes its low 20 bits.
    @inlinable
    public func emit(
        trafficClass: UInt8 = 0, flowLabel: UInt32 = 0, payloadLength: Int, nextHeader: UInt8, hopLimit: UInt8,
        source: UInt128, destination: UInt128
    ) {
        bytes.store(0x6000_0000 | UInt32(trafficClass) << 20 | flowLabel & 0xf_ffff, at: 0)
        bytes.store(UInt16(truncatingIfNeeded: payloadLength), at: Offset.payloadLength)
        bytes.store(nextHeader, at: Offset.nextHeader)
        bytes.store(hopLimit, at: Offset.hopLimit)
        bytes.store(UInt64(truncatingIfNeeded: source >> 64), at: Offset.source)
        bytes.store(UInt64(truncatingIfNeeded: source), at: Offset.source &+ 8)
        bytes.store(UInt64(truncatingIfNeeded: destination >> 64), at: Offset.destination)
        bytes.store(UInt64(truncatingIfNeeded: destination), at: Offset.destination &+ 8)
    }
}
