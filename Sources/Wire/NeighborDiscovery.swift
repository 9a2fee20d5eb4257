// Who has an IPv6 address on an Ethernet link. RFC 4861 sections 4.3, 4.4 (format), 4.6.1 (options), 7.1 (what makes a
// message valid); RFC 2464 sections 6 and 7 (options and multicast over Ethernet); RFC 4291 section 2.7.1.
//
//   0      1      2          4                         8        24                             32
//   | 135  | 0    | checksum | 0                       | target | 1 | 1 | sender's MAC         |  solicitation
//   | 136  | 0    | checksum | router, solicited, over.| target | 2 | 1 | target's MAC         |  advertisement

/// A neighbour solicitation or advertisement that passed all of RFC 4861 section 7.1.
@frozen
public struct NeighborDiscovery: BitwiseCopyable, Sendable, Equatable {
    /// The hop limit that shows that no router forwarded it.
    public static let hopLimit: UInt8 = 255
    /// Octets before the options.
    static let headerOctets = 24
    /// Octets of a message with one link-layer address.
    static let messageOctets = headerOctets + 8
    /// Octets of a packet that is emitted: IPv6 header and message.
    public static let packetOctets = IPv6Header.octets + messageOctets
    /// All nodes on the link: where advertisements go that nobody, or one without an address, asked for.
    @inlinable public static var allNodes: UInt128 { 0xff02 << 112 | 1 }
    /// Bits of an advertisement's second word.
    enum Flags {
        static let router: UInt32 = 0x8000_0000, solicited: UInt32 = 0x4000_0000, override: UInt32 = 0x2000_0000
    }
    enum Option {
        static let source: UInt8 = 1, target: UInt8 = 2
    }

    /// Whether it asks; otherwise it answers.
    public let isSolicitation: Bool
    /// The packet's source; 0 in a solicitation that looks for a duplicate of the target (RFC 4862 section 5.4).
    public let source: UInt128
    /// The packet's destination.
    public let destination: UInt128
    /// Whose link-layer address is asked for or told.
    public let target: UInt128
    /// A solicitation's sender's MAC address or an advertisement's target's; nil without the option.
    public let linkLayerAddress: MACAddress?
    /// An advertisement's flag: the target is a router.
    public let isRouter: Bool
    /// An advertisement's flag: an answer to a solicitation.
    public let isSolicited: Bool
    /// An advertisement's flag: replace what is known.
    public let overrides: Bool

    /// Reads the message at `offset` of a well formed packet. Nil for another kind of message and for one that RFC 4861
    /// says to discard: a hop limit below 255, a wrong checksum, a code, a length, a target that is multicast, options
    /// of no length or beyond the end, a link-layer address of other than six octets, a duplicate's search that names
    /// its sender or goes elsewhere than to the target's group, a solicited advertisement to a group.
    public init?(_ packet: IPv6Header, offset: Int) {
        guard offset >= 0, offset <= packet.totalLength, packet.totalLength <= packet.bytes.count else { return nil }
        let message = packet.bytes.prefix(packet.totalLength).dropFirst(offset)
        guard message.count >= NeighborDiscovery.headerOctets, message.uint8(at: 1) == 0,
            packet.hopLimit == NeighborDiscovery.hopLimit
        else { return nil }
        switch message.uint8(at: 0) {
        case ICMPv6Message.Kind.neighborSolicitation: isSolicitation = true
        case ICMPv6Message.Kind.neighborAdvertisement: isSolicitation = false
        default: return nil
        }
        source = packet.source
        destination = packet.destination
        target = UInt128(message.uint64(at: 8)) << 64 | UInt128(message.uint64(at: 16))
        let flags = isSolicitation ? 0 : message.uint32(at: 4)
        isRouter = flags & Flags.router != 0
        isSolicited = flags & Flags.solicited != 0
        overrides = flags & Flags.override != 0
        let options = message.dropFirst(NeighborDiscovery.headerOctets)
        let wanted = isSolicitation ? Option.source : Option.target
        guard let found = NeighborDiscovery.linkLayerAddress(in: options, kind: wanted) else { return nil }
        linkLayerAddress = found.address
        guard !NeighborDiscovery.isMulticast(target), !NeighborDiscovery.isMulticast(source) else { return nil }
        if isSolicitation && source == 0 {
            guard linkLayerAddress == nil, destination == NeighborDiscovery.solicitedNode(of: target) else {
                return nil
            }
        }
        guard !(isSolicited && NeighborDiscovery.isMulticast(destination)) else { return nil }
        // Last, because it reads all of the message.
        let pseudoHeader = packet.pseudoHeader(upperProtocol: IPProtocol.icmpv6, length: message.count)
        guard InternetChecksum.sum(message, pseudoHeader: pseudoHeader) == 0xffff else { return nil }
    }

    /// Nil when the options don't hold. RFC 4861 section 4.6: lengths are in units of eight octets, and never 0.
    private static func linkLayerAddress(in options: PacketBytes, kind: UInt8) -> (address: MACAddress?, Void)? {
        var address: MACAddress?
        var offset = 0
        while offset < options.count {
            guard offset + 8 <= options.count else { return nil }
            let length = Int(options.uint8(at: offset + 1)) * 8
            guard length > 0, offset + length <= options.count else { return nil }
            if options.uint8(at: offset) == kind {
                guard length == 8 else { return nil }
                address = address ?? MACAddress(rawValue: options.uint64(at: offset))
            }
            offset += length
        }
        return (address, ())
    }

    /// Whether an address is a group's (RFC 4291 section 2.7).
    @inlinable
    public static func isMulticast(_ address: UInt128) -> Bool { address >> 120 == 0xff }

    /// The group that an address's owner listens to (RFC 4291 section 2.7.1): ff02::1:ff00:0/104 and its last 24 bits.
    @inlinable
    public static func solicitedNode(of address: UInt128) -> UInt128 {
        0xff02 << 112 | 0x1_ff00_0000 | address & 0xff_ffff
    }

    /// The MAC address that packets to a group go to (RFC 2464 section 7): 33:33 and the group's last 32 bits.
    @inlinable
    public static func groupMAC(of group: UInt128) -> MACAddress {
        MACAddress(rawValue: 0x3333 << 32 | UInt64(truncatingIfNeeded: group & 0xffff_ffff))
    }

    /// Writes a packet of `packetOctets` that asks for `target`. To the target's group, or to `destination` when its
    /// owner is only asked whether it is still there. `source` is not the unspecified address.
    public static func emitSolicitation(
        _ bytes: PacketBytes, source: UInt128, mac: MACAddress, target: UInt128, destination: UInt128? = nil
    ) {
        precondition(source != 0)
        let destination = destination ?? solicitedNode(of: target)
        emit(
            bytes, type: ICMPv6Message.Kind.neighborSolicitation, flags: 0, target: target,
            option: UInt64(Option.source) << 56 | 1 << 48 | mac.rawValue, source: source, destination: destination)
    }

    /// Writes a packet of `packetOctets` that says where `target`, the gateway's own address and the packet's source,
    /// is. To who asked; with `isSolicited` false, to `allNodes`.
    public static func emitAdvertisement(
        _ bytes: PacketBytes, target: UInt128, mac: MACAddress, destination: UInt128, isSolicited: Bool,
        overrides: Bool = true
    ) {
        let flags = Flags.router | (isSolicited ? Flags.solicited : 0) | (overrides ? Flags.override : 0)
        emit(
            bytes, type: ICMPv6Message.Kind.neighborAdvertisement, flags: flags, target: target,
            option: UInt64(Option.target) << 56 | 1 << 48 | mac.rawValue, source: target, destination: destination)
    }

    private static func emit(
        _ bytes: PacketBytes, type: UInt8, flags: UInt32, target: UInt128, option: UInt64, source: UInt128,
        destination: UInt128
    ) {
        let packet = bytes.prefix(packetOctets)
        IPv6Header(packet)?.emit(
            payloadLength: messageOctets, nextHeader: IPProtocol.icmpv6, hopLimit: hopLimit, source: source,
            destination: destination)
        let message = packet.dropFirst(IPv6Header.octets)
        message.store(UInt32(type) << 24, at: 0)
        message.store(flags, at: 4)
        message.store(UInt64(truncatingIfNeeded: target >> 64), at: 8)
        message.store(UInt64(truncatingIfNeeded: target), at: 16)
        message.store(option, at: headerOctets)
        ICMPv6Message(message)?.fillChecksum(
            pseudoHeader: InternetChecksum.pseudoHeader(
                source: source, destination: destination, upperProtocol: IPProtocol.icmpv6, length: messageOctets))
    }
}
