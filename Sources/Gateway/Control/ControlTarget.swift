import ESP
import IPsec

/// What the control socket asks and changes: the running gateway. Every call may come from several clients at once.
public protocol ControlTarget: Sendable {
    /// One subject as it is now.
    func view(_ subject: ControlSubject) async throws -> ControlView
    /// Reads the site file again and applies what differs, all of it or nothing.
    func reload(by peer: ControlPeer) async -> ControlOutcome
    /// Adds an SA pair to a tunnel; the outbound one is not used before `activate` or its `notBefore`.
    func addAssociations(_ request: AddAssociations, by peer: ControlPeer) async -> ControlOutcome
    /// Sends the tunnel's traffic with this outbound SA from now on.
    func activate(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome
    /// Takes an SA away, with its key.
    func remove(tunnel: String, spi: SPI, by peer: ControlPeer) async -> ControlOutcome
    /// Moves SAs between software and NIC.
    func setOffload(_ request: OffloadRequest, by peer: ControlPeer) async -> ControlOutcome
    /// Stops a port and starts it.
    func restartPort(_ name: String, by peer: ControlPeer) async -> ControlOutcome
    /// Has single packets shown, to one operator at a time; who asks no more is forgotten.
    func observe(_ request: ObserveRequest, by peer: ControlPeer) async -> ObservationOutcome
    /// What was seen since.
    func takeObserved(_ number: Int) async -> ObservationOutcome
    /// Has no more shown.
    func endObservation(_ number: Int) async -> ControlOutcome
    /// Whether every worker advances.
    func isHealthy() async -> Bool
    /// Events that no view counts.
    func counters() async -> ControlCounters
}

/// What can be looked at: the last part of `/v1/sa`, and the word after `vpn-gw show`.
public enum ControlSubject: String, Sendable, CaseIterable {
    case sa, spd, ports, workers, offload, caps, drops, neighbors, routes, report, summary
}

/// Who asks, as the kernel knows it: the credentials of the process that connected.
public struct ControlPeer: Sendable, Equatable, CustomStringConvertible {
    /// The user's number.
    public let uid: UInt32
    /// The group's number.
    public let gid: UInt32
    /// The process's number; 0 when it is in a process namespace that can't be seen from here.
    public let pid: Int32

    /// "uid 0 (root), pid 123". Other users have no name here: asking for one may wait for a directory server.
    public var description: String { "uid \(uid)\(uid == 0 ? " (root)" : ""), pid \(pid)" }
}

/// How a change ended.
public struct ControlOutcome: Sendable, Equatable {
    /// `ok`, or why not: what the client's process ends with.
    public var exitCode: ExitCode
    /// Lines for people: what changed, or every problem. No keys.
    public var messages: [String]

    /// An end with its words.
    public init(_ exitCode: ExitCode, _ messages: [String]) {
        self.exitCode = exitCode
        self.messages = messages
    }
}

/// An SA pair for a tunnel that runs. The two keys differ.
public struct AddAssociations: Sendable {
    /// The tunnel's name.
    public var tunnel: String
    /// 256 or above.
    public var outboundSPI: SPI
    /// For what we send.
    public var outboundKey: ControlKey
    /// 256 or above.
    public var inboundSPI: SPI
    /// For what we receive.
    public var inboundKey: ControlKey
    /// A power of two, 64 to 8192.
    public var replayWindowPackets: Int
    /// When the outbound SA takes over by itself, in seconds since 1970; nil: when it is activated.
    public var notBefore: Int64?
}

/// Where the SAs of a tunnel or a port are to be worked on.
public struct OffloadRequest: Sendable, Equatable {
    /// What it is about, by name.
    public enum Subject: Sendable, Equatable {
        case tunnel(String), port(String)
    }

    /// Whose SAs.
    public var subject: Subject
    /// Nil: both.
    public var direction: Direction?
    /// What is wished for.
    public var wanted: OffloadChoice
}

/// What no view counts, since the start.
public struct ControlCounters: Sendable, Equatable {
    /// Of one worker.
    public struct Worker: Sendable, Equatable {
        /// Spent on rounds that had packets.
        public var busySeconds: Double
        /// Rounds of its loop.
        public var polls: UInt64
        /// Packets passed to other workers.
        public var handedOver: UInt64
    }

    /// In the order of their indices.
    public var workers: [Worker] = []
    /// SAs that passed a soft lifetime.
    public var softLifetimeEvents: UInt64 = 0
    /// SAs that passed a hard lifetime.
    public var hardLifetimeEvents: UInt64 = 0
    /// Commits of the state store.
    public var storeCommits: UInt64 = 0
    /// Octets that the state store wrote.
    public var storeWrittenOctets: UInt64 = 0
    /// Tunnels there are now.
    public var tunnels: UInt64 = 0
    /// Of these, those whose peer answers, and those whose peer does not: see `TunnelWatch`.
    public var tunnelsUp: UInt64 = 0, tunnelsDown: UInt64 = 0
}
