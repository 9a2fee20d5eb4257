// The tag of a virtual LAN. IEEE 802.1Q clause 9.6 and figure 9-1.
//
//   0                 6                 12       14                    16       18
//   | destination MAC | source MAC      | 0x8100 | priority, DEI, VLAN | type   | payload
//
// Taken out and put in by moving the two addresses, which are shorter than the rest.

/// A VLAN tag.
@frozen
public struct VLANTag: BitwiseCopyable, Hashable, Sendable {
    /// Octets that a tag makes a frame longer.
    public static let octets = 4
    /// Three bits of priority, one that says "drop me first", twelve of VLAN.
    public let rawValue: UInt16

    /// A tag of these bits.
    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// A tag of a VLAN, its low 12 bits, and a priority, its low 3 bits.
    @inlinable
    public init(vlan: UInt16, priority: UInt8 = 0) { rawValue = UInt16(priority) << 13 | vlan & 0xfff }

    /// The VLAN: 1 to 4094; 0 for a frame that only has a priority; 4095 is reserved.
    @inlinable public var vlan: UInt16 { rawValue & 0xfff }
    /// 0 to 7, not in order: 0 is the ordinary one, 1 less than that.
    @inlinable public var priority: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 13) }

    /// The tag of a frame. Nil when it has none, or no type behind it.
    @inlinable
    @inline(__always)
    public init?(frame: PacketBytes) {
        guard frame.count >= EthernetHeader.octets &+ VLANTag.octets, frame.uint16(at: 12) == EtherType.vlan else {
            return nil
        }
        rawValue = frame.uint16(at: 14)
    }

    /// Takes the tag out of a frame that has one; the frame now starts `octets` later, and this is it.
    @inlinable
    @inline(__always)
    public static func remove(from frame: PacketBytes) -> PacketBytes {
        precondition(frame.count >= EthernetHeader.octets &+ octets)
        let first = frame.word64(at: 0), rest = frame.word32(at: 8)
        frame.store(word: first, at: octets)
        frame.store(word: rest, at: 8 &+ octets)
        return frame.dropFirst(octets)
    }

    /// Puts the tag into a frame in front of which there are `octets` of room: `bytes` starts with the room, and is the
    /// frame afterwards.
    @inlinable
    @inline(__always)
    public func insert(into bytes: PacketBytes) {
        precondition(bytes.count >= EthernetHeader.octets &+ VLANTag.octets)
        let first = bytes.word64(at: VLANTag.octets), rest = bytes.word32(at: 8 &+ VLANTag.octets)
        bytes.store(word: first, at: 0)
        bytes.store(word: rest, at: 8)
        bytes.store(UInt32(EtherType.vlan) << 16 | UInt32(rawValue), at: 12)
    }
}
