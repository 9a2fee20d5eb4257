import IPsec

// One row of each subject. A field that is nil is left out of the JSON. docs/CONTROL.md has every field; a test holds
// that.

extension ControlView {
    /// An SA.
    public struct Association: Sendable, Encodable {
        /// What an SA is to its tunnel.
        enum State: String, Sendable, Encodable, CaseIterable {
            /// Outbound: packets leave with it. Inbound: it was the last to be installed.
            case current
            /// Installed, and waits for its time.
            case next
            /// Inbound: a younger one is there; it still takes what is on its way.
            case old
            /// Installed, and waits until it is activated or another one ends.
            case standby
            /// Its hard lifetime is over.
            case expired
        }

        /// Where an SA comes from.
        enum Origin: String, Sendable, Encodable, CaseIterable {
            /// The site file.
            case file
            /// `vpn-gw sa add`.
            case runtime
        }

        var tunnel: String
        var spi: SPI
        var direction: Direction
        var path = "software"
        /// "esp" or "ah".
        var securityProtocol: String
        var algorithm: String
        /// "tunnel" or "transport".
        var mode: String
        var extendedSequenceNumbers: Bool
        /// Outer addresses.
        var localAddress: String
        var remoteAddress: String
        /// Outbound: the largest inner packet, by the site and by what is known of the way.
        var innerMtuOctets: Int?
        /// With NAT traversal: where the peer is now, "198.51.100.1:4500" or "[2001:db8::1]:4500".
        var natTraversalPeer: String?
        var state: State
        /// The first 16 digits.
        var keyFingerprint: String
        /// The index of the worker that owns it.
        var worker: Int
        var packets: UInt64
        var octets: UInt64
        /// Outbound the last one used, inbound the highest one accepted.
        var sequenceNumber: UInt64
        /// Outbound: the last one that is reserved on disk.
        var sequenceNumbersGranted: UInt64?
        /// Inbound: nothing above it is accepted before a higher one is on disk.
        var replayCeiling: UInt64?
        /// Inbound.
        var replayWindowPackets: Int?
        var notBefore: ControlTime?
        var installedAt: ControlTime?
        var softLifetimePackets: UInt64?
        var softLifetimeOctets: UInt64?
        var softLifetimeSeconds: UInt64?
        var hardLifetimePackets: UInt64?
        var hardLifetimeOctets: UInt64?
        var hardLifetimeSeconds: UInt64?
        var origin: Origin
        /// Packets that took another path than the SA's, by reason.
        var fallbackPackets: [String: UInt64] = [:]
    }

    /// An entry of the SPD. What is any is nil.
    public struct PolicyEntry: Sendable, Encodable {
        var direction: Direction
        /// From 0, in the order they are looked at within a direction.
        var position: Int
        /// The site file's name for it; a tunnel's own selectors have the tunnel's.
        var name: String
        /// "bypass", "discard" or "protect".
        var action: String
        /// Of a protect entry.
        var tunnel: String?
        var source: String
        var destination: String
        var ipProtocol: String?
        var sourcePorts: String?
        var destinationPorts: String?
        var icmpTypes: String?
        /// Nil for a tunnel's own selectors.
        var priority: Int?
        /// What it covered; nil where nobody counts.
        var packets: UInt64?
        var octets: UInt64?

        enum CodingKeys: String, CodingKey {
            case direction, position, action, tunnel, source, destination
            case ipProtocol = "protocol"
            case name, sourcePorts, destinationPorts, icmpTypes, priority, packets, octets
        }
    }

    /// A port with its device's own counters.
    public struct Port: Sendable, Encodable {
        /// Whether frames can pass.
        enum Link: String, Sendable, Encodable { case up, down }

        var name: String
        /// "protected" or "unprotected".
        var role: String
        var device: String
        var driver: String
        var mac: String
        var link: Link
        var mtuOctets: Int
        /// Of tagged frames.
        var vlan: UInt16?
        var rxQueues: Int
        /// How received packets come to several workers: see `PacketSpreading`.
        var spreading: String
        /// Of its device; nil where nobody knows.
        var numaNode: Int?
        var addresses: [String]
        var rxPackets: UInt64
        var rxOctets: UInt64
        var txPackets: UInt64
        var txOctets: UInt64
        /// Lost by the device because nobody took them in time.
        var rxMissed: UInt64
        /// Broken on the wire.
        var rxErrors: UInt64
        /// Lost for want of a packet buffer.
        var rxNoBuffers: UInt64
    }

    /// A worker.
    public struct Worker: Sendable, Encodable {
        var index: Int
        var core: Int
        /// Rounds of its loop.
        var polls: UInt64
        /// Packets that it received by its ports' queues.
        var rxPackets: UInt64
        /// The part of its rounds that had packets, 0 to 1.
        var busyShare: Double?
        /// Packets that it passed to the workers that own what they need, and that it got for that.
        var handedOverPackets: UInt64
        var takenOverPackets: UInt64
        /// Packets that wait for it because it owns their SA.
        var handoffQueuePackets: Int
        /// Counts the tables it has taken on.
        var tablesGeneration: UInt64
        /// The longest time it stood still to take on new tables.
        var blockedNanosecondsMax: UInt64
        /// SAs it owns.
        var associations: Int
    }

    /// How an SA is worked on, and why so.
    public struct Offload: Sendable, Encodable {
        var tunnel: String
        var spi: SPI
        var direction: Direction
        /// "off", "auto", "required" or "lookaside".
        var wanted: String
        /// "software", "inline" or "lookaside".
        var path: String
        var why: String
        /// The port whose NIC has it.
        var port: String?
        /// The crypto device that has it.
        var device: String?
        /// Packets that a device worked on.
        var offloadedPackets: UInt64 = 0
        /// Packets that software worked on though a device was wanted, by reason.
        var fallbackPackets: [String: UInt64] = [:]
    }

    /// A next hop's entry.
    public struct Neighbor: Sendable, Encodable {
        var port: String
        /// "ipv4" or "ipv6".
        var family: String
        var address: String
        /// Nil while it is asked for.
        var mac: String?
        /// "static", "reachable", "stale" or "incomplete".
        var state: String
        /// Since it was last heard of; nil for static ones.
        var ageSeconds: UInt64?
    }

    /// A route.
    public struct Route: Sendable, Encodable {
        /// "ipv4" or "ipv6".
        var family: String
        var destination: String
        /// Nil where it is connected.
        var via: String?
        var port: String
        /// "connected", "static" or "local".
        var kind: String
    }
}
