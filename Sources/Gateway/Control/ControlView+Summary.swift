extension ControlView {
    /// A gateway at a glance. Rates are those of the last second or so. docs/CONTROL.md has every field; a test holds
    /// that.
    public struct Summary: Sendable, Encodable {
        /// Tunnels by whether their peers answer.
        struct Tunnels: Sendable, Encodable {
            var count: UInt64, up: UInt64, down: UInt64, quiet: UInt64
        }

        /// A port.
        struct Port: Sendable, Encodable {
            var name: String, role: String
            var link: ControlView.Port.Link
            var rxPacketsPerSecond: Double, rxBitsPerSecond: Double
            var txPacketsPerSecond: Double, txBitsPerSecond: Double
            /// Lost by the device, for whatever reason.
            var rxLostPackets: UInt64
        }

        /// One of the tunnels that carry most.
        struct Tunnel: Sendable, Encodable {
            var name: String
            /// "up", "down" or "quiet".
            var state: String
            /// The peer's outer address.
            var remoteAddress: String
            var outboundPath: String, inboundPath: String
            var outboundPacketsPerSecond: Double, outboundBitsPerSecond: Double
            var inboundPacketsPerSecond: Double, inboundBitsPerSecond: Double
        }

        /// A reason for which packets were dropped.
        struct Drop: Sendable, Encodable {
            var reason: String, help: String
            var packets: UInt64
            var packetsPerSecond: Double
        }

        /// A worker.
        struct Worker: Sendable, Encodable {
            var index: Int, core: Int
            /// The part of its time that it spent on rounds that had packets, 0 to 1.
            var busyShare: Double?
            var packetsPerSecond: Double
        }

        /// Busiest tunnels that are told.
        static let tunnelLimit = 32

        var name: String
        var version: String
        var uptimeSeconds: Int64
        /// What rates are of; 0 when there are none yet.
        var ratesSeconds: Double
        var rxPackets: UInt64, originatedPackets: UInt64, txPackets: UInt64
        var consumedPackets: UInt64, droppedPackets: UInt64, inFlightPackets: UInt64
        var tunnels: Tunnels
        /// In the site file's order.
        var ports: [Port]
        var busiestTunnels: [Tunnel]
        /// Those that occurred, most frequent now first.
        var drops: [Drop]
        var workers: [Worker]
    }
}
