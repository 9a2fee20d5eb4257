import Wire

/// What a record's octets start with.
public enum CaptureLinkType: Hashable, Sendable {
    /// An Ethernet header (DLT_EN10MB).
    case ethernet
    /// An IP header (DLT_RAW in its two numbers, DLT_IPV4).
    case rawIP
}

/// One packet of a capture file.
public struct CaptureRecord: Sendable {
    /// Nanoseconds since 1970, up to 2106-02-07 06:28:15.999999999, the last moment a pcap file can name; what lies
    /// before or after is moved to the nearer end.
    public var timestampNanoseconds: UInt64
    /// The octets that were captured, in libpcap's memory: to be read, and only until the next call to whoever gave the
    /// record. At most 262144.
    public let octets: PacketBytes
    /// Octets that the packet had on the wire.
    public let originalCount: Int
    /// What the octets start with.
    public let linkType: CaptureLinkType

    /// Whether the snap length cut the packet: nothing can be done with it but drop it as malformed.
    public var isCut: Bool { octets.count < originalCount }
}
