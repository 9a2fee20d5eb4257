import DataPlane
import Foundation
import IPsec

/// What became of one packet, as `vpn-gw trace --json` prints it.
struct TracedPacket: Sendable, Encodable {
    /// A step of its way and what was decided there, in words.
    struct Stage: Sendable, Encodable, Equatable {
        var stage: String
        var text: String
    }

    /// When its burst came, "2027-01-01T00:00:00.123456789Z".
    var time: String
    /// Index of the worker.
    var worker: Int
    /// Where it came in, and left; absent where it did not, or not here.
    var port: String?
    var outPort: String?
    /// Of the inbound SA that took it, and of what left.
    var inboundSpi: SPI?
    var outboundSpi: SPI?
    var sequenceNumber: UInt64?
    /// "sent", "dropped", "consumed", "cut", "handed", or what it waits for.
    var fate: String
    /// Of a drop.
    var reason: String?
    /// In the order of its way.
    var stages: [Stage]

    /// What is called how, at the moment.
    struct Names: Sendable {
        var ports: [String]
        var tunnels: [String]
        /// How an SA is worked on: by the index of its tunnel.
        var path: @Sendable (Int, Direction) -> String

        func port(_ index: UInt16) -> String? { ports.indices.contains(Int(index)) ? ports[Int(index)] : nil }

        func tunnel(_ index: UInt32) -> String {
            tunnels.indices.contains(Int(index)) ? "tunnel \(tunnels[Int(index)])" : "a tunnel that is gone"
        }

        /// A tunnel, and who does the work on its SAs.
        func work(_ index: UInt32, _ direction: Direction) -> String {
            let words = [
                "software": "in software", "inline": "inline by the NIC", "lookaside": "by a lookaside device",
            ]
            let path = path(Int(index), direction)
            return "\(tunnel(index)), \(words[path] ?? path)"
        }
    }

    init(_ observation: Observation, time: String, _ names: Names) {
        let record = observation.record
        self.time = time
        worker = observation.worker
        port = names.port(record.port)
        outPort = record.fate == .sent ? names.port(record.outPort) : nil
        inboundSpi = record.inboundSPI == 0 ? nil : SPI(rawValue: record.inboundSPI)
        let sent = PacketWords(frame: observation.sent)
        outboundSpi = sent.spi
        sequenceNumber = record.number == 0 ? sent.sequenceNumber.map(UInt64.init) : record.number
        fate = TracedPacket.word(record.fate)
        reason = record.reason?.name
        var stages: [Stage] = []
        func add(_ stage: String, _ text: String) { stages.append(Stage(stage: stage, text: text)) }
        TracedPacket.beginning(observation, names, add)
        TracedPacket.opening(observation, names, add)
        TracedPacket.deciding(record, names, add)
        if record.outboundTunnel != .max, record.fate == .sent, let spi = sent.spi {
            let number = sent.sequenceNumber.map { ", sequence number \($0)" } ?? ""
            add("protected", "SA \(spi) of \(names.work(record.outboundTunnel, .outbound))\(number)")
        }
        add(fate, TracedPacket.end(record, sent, names))
        self.stages = stages
    }

    /// What it was when it came.
    private static func beginning(_ observation: Observation, _ names: Names, _ add: (String, String) -> Void) {
        let record = observation.record
        guard record.hasBegun else {
            return add("earlier", "waited, or was made here: \(PacketWords(ip: observation.inner).text)")
        }
        let port = names.port(record.port).map { "port \($0)" } ?? "no port"
        if record.cameFromWorker {
            return add(
                "taken over", "from another worker, in by \(port): \(PacketWords(ip: observation.received).text)")
        }
        let words = PacketWords(frame: observation.received)
        let from = words.macs.map { " from \($0.source)" } ?? ""
        add("received", "on \(port), \(record.receivedOctets) octets\(from): \(words.text)")
    }

    /// What its inbound SA said.
    private static func opening(_ observation: Observation, _ names: Names, _ add: (String, String) -> Void) {
        let record = observation.record
        if record.inboundSPI != 0 {
            let spi = SPI(rawValue: record.inboundSPI)
            add("association", "inbound SA \(spi) of \(names.work(record.inboundTunnel, .inbound))")
            if let text = window(record) { add("window", text) }
            switch record.reason {
            case .replayed?, .late?, .malformed?, .cryptoError?: break
            case .integrityFailed?: add("integrity", "the ICV is wrong")
            default: add("integrity", "the ICV is right")
            }
        }
        if record.hasBegun && record.innerOctets > 0 {
            add("inner", "\(PacketWords(ip: observation.inner).text), \(record.innerOctets) octets")
        }
        if record.askedInboundPolicies {
            add("clear text", "from the unprotected side: the inbound policies were asked")
        }
    }

    private static func window(_ record: ObservationRecord) -> String? {
        let (number, highest, size) = (record.number, record.windowHighest, record.windowSize)
        guard number > 0 else { return nil }
        if number > highest { return "sequence number \(number) is above all before, \(highest)" }
        let range = "the window of \(size) up to \(highest)"
        return switch record.reason {
        case .replayed?: "sequence number \(number) was accepted before, in \(range)"
        case .late?: "sequence number \(number) is below \(range)"
        default: "sequence number \(number) is inside \(range), and new"
        }
    }

    /// What policies and routes said.
    private static func deciding(_ record: ObservationRecord, _ names: Names, _ add: (String, String) -> Void) {
        if let verdict = record.policyVerdict {
            let tunnel = record.outboundTunnel == .max ? "" : " by \(names.tunnel(record.outboundTunnel))"
            add("policy", verdict == "no policy" ? "none covers it on its way out" : "\(verdict)\(tunnel)")
        }
        guard let route = record.route else { return }
        let port = names.port(record.routePort).map { "port \($0)" } ?? "no port"
        let isTunnelled = record.outboundTunnel != .max
        switch route {
        case "local": add("route", "an address of the gateway's own, on \(port)")
        case "broadcast": add("route", "a broadcast of a connected block")
        case "nowhere": add("route", isTunnelled ? "by its tunnel" : "none")
        default: add("route", isTunnelled ? "by its tunnel" : "by \(port)")
        }
        if let hop = record.nextHop { add("next hop", hop.description) }
    }

    private static func end(_ record: ObservationRecord, _ sent: PacketWords, _ names: Names) -> String {
        switch record.fate {
        case .sent:
            "by \(names.port(record.outPort).map { "port \($0)" } ?? "a port"), \(record.sentOctets) octets"
                + (sent.macs.map { " to \($0.destination)" } ?? "") + ": \(sent.text)"
        case .dropped: record.reason.map { "\($0.name): \($0.help)" } ?? "for a reason this version does not know"
        case .consumed: "for the gateway itself, or part of a packet that goes on"
        case .cut: "into pieces that fit the way, or answered: each piece goes on"
        case .handed: "to the worker that owns its SA"
        case .waitsForNeighbor: "for the neighbor \(record.nextHop.map { "\($0) " } ?? "")to answer"
        case .waitsForDevice: "until a crypto device has done its work; then it goes on"
        case .waitsForDisk: "until its number is on disk, milliseconds; then it goes on"
        case .waitsForFragments: "for the other fragments"
        case .none: "not followed to its end"
        }
    }

    private static func word(_ fate: ObservationRecord.Fate) -> String {
        switch fate {
        case .none: "unknown"
        case .sent: "sent"
        case .dropped: "dropped"
        case .consumed: "consumed"
        case .cut: "cut"
        case .handed: "handed"
        case .waitsForNeighbor, .waitsForDisk, .waitsForFragments, .waitsForDevice: "waits"
        }
    }
}
