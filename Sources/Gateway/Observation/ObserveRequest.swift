import Foundation
import IPsec

/// What an operator wants to see of packets; the body of `POST /v1/observe/start`.
public struct ObserveRequest: Sendable, Equatable {
    /// What of them.
    public enum Kind: String, Sendable, CaseIterable {
        /// What became of each, step by step.
        case trace
        /// A port's frames, with the clear text of what is protected there.
        case capture
        /// What came in by a port and was dropped.
        case dropped
    }

    /// What of them.
    public var kind: Kind
    /// Of a trace: an SPI that stands in the packet, before or behind this gateway.
    public var spi: SPI?
    /// Of a trace: an address in any of its headers.
    public var address: IPAddress?
    /// Of a trace: why it was dropped.
    public var reason: DropReason?
    /// Of a capture.
    public var port: String?
    /// Packets after which it ends.
    public var count: Int
    /// Of a capture: octets kept of each.
    public var snapOctets: Int

    /// The most packets that may be asked for.
    public static let countLimit = 1_000_000
    /// Octets that may be kept of each packet.
    public static let snapRange = 64...65535

    /// A request for all packets.
    public init(_ kind: Kind, port: String? = nil, count: Int, snapOctets: Int = 65535) {
        self.kind = kind
        self.port = port
        self.count = count
        self.snapOctets = snapOctets
    }

    init(body octets: borrowing [UInt8]) throws(ControlRequestError) {
        let body = try ControlBody(octets)
        try body.allow("kind", "spi", "address", "reason", "port", "count", "snap_octets")
        let kinds = Kind.allCases.map(\.rawValue).joined(separator: ", ")
        guard let kind = Kind(rawValue: try body.string("kind", "one of \(kinds)")) else {
            throw body.wrong("kind", "one of \(kinds)")
        }
        self.init(kind, count: 0)
        let range = 1...ObserveRequest.countLimit, wanted = "a number of packets, 1 to \(ObserveRequest.countLimit)"
        count = try body.integer("count", wanted)
        guard range.contains(count) else { throw body.wrong("count", wanted) }
        if body.has("snap_octets") {
            let wanted = "\(ObserveRequest.snapRange.lowerBound) to \(ObserveRequest.snapRange.upperBound)"
            snapOctets = try body.integer("snap_octets", wanted)
            guard ObserveRequest.snapRange.contains(snapOctets) else { throw body.wrong("snap_octets", wanted) }
        }
        if kind == .trace {
            if body.has("port") { throw ControlRequestError("a trace is of all ports", hint: "leave port out") }
            try readChoice(body)
        } else {
            for name in ["spi", "address", "reason"] where body.has(name) {
                throw ControlRequestError("\(name) chooses for a trace alone", hint: "leave \(name) out")
            }
            port = try body.string("port", "a port's name")
        }
    }

    private mutating func readChoice(_ body: ControlBody) throws(ControlRequestError) {
        if body.has("spi") { spi = try body.spi() }
        if body.has("address") {
            let text = try body.string("address", "an IPv4 or IPv6 address")
            guard let address = IPAddress(text) else { throw body.wrong("address", "an IPv4 or IPv6 address") }
            self.address = address
        }
        if body.has("reason") {
            let text = try body.string("reason", "a drop reason")
            guard let reason = DropReason.allCases.first(where: { $0.name == text }) else {
                let hint = nearest(to: text, among: DropReason.allCases.map(\.name)).map { "did you mean \($0)?" }
                throw ControlRequestError(
                    "reason is no drop reason", hint: hint ?? "docs/DROPS.md has all of them")
            }
            self.reason = reason
        }
    }
}

/// The body of `POST /v1/observe/take` and `/v1/observe/stop`.
struct NamedObservation: Sendable {
    let number: Int

    init(body octets: borrowing [UInt8]) throws(ControlRequestError) {
        let body = try ControlBody(octets)
        try body.allow("observation")
        number = try body.integer("observation", "the number that start answered")
    }
}

/// How a request to look at packets ended.
public enum ObservationOutcome: Sendable {
    /// It runs: its number, and lines that whoever reads the result must know.
    case started(number: Int, notes: [String])
    /// What was seen since it was asked last.
    case taken(ObservedPackets)
    /// Not now, or not so.
    case refused(ControlOutcome)
}

/// What was seen since it was asked last.
public struct ObservedPackets: Sendable {
    /// Of a trace.
    var traced: [TracedPacket]
    /// Of a capture: blocks of a pcapng file, the file's first ones with the first answer.
    var blocks: [UInt8]
    /// Packets in `traced` or `blocks`.
    var count: Int
    /// Packets that should have been shown and found no room, since it began.
    var missed: UInt64
    /// Packets that nobody looked at, since more came than can be followed one by one, since it began.
    var unlooked: UInt64
    /// Whether it is over: all that were asked for have been shown.
    var isOver: Bool
}

extension ControlAnswer {
    /// An observation's answer.
    init(_ outcome: ObservationOutcome) {
        struct Started: Encodable { var exitCode: Int32 = 0, observation: Int, notes: [String] }
        struct Taken: Encodable {
            var exitCode: Int32 = 0
            var packets: [TracedPacket]
            var blocks: String
            var count: Int, missed: UInt64, unlooked: UInt64, isOver: Bool
        }
        switch outcome {
        case .started(let number, let notes): self.init(.ok, json: Started(observation: number, notes: notes))
        case .taken(let seen):
            self.init(
                .ok,
                json: Taken(
                    packets: seen.traced, blocks: Data(seen.blocks).base64EncodedString(), count: seen.count,
                    missed: seen.missed, unlooked: seen.unlooked, isOver: seen.isOver))
        case .refused(let outcome): self.init(outcome)
        }
    }
}
