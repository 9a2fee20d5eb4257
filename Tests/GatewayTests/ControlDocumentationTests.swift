import DataPlane
import Foundation
import IPsec
import Testing

@testable import DataPlane
@testable import Gateway

@Suite("docs/CONTROL.md names what the API has")
struct ControlDocumentationTests {
    private let page: String

    init() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/CONTROL.md")
        page = try String(contentsOf: file.standardized, encoding: .utf8)
    }

    private func expectNamed(_ word: String, _ comment: Comment = "") { #expect(page.contains("`\(word)`"), comment) }

    @Test("every path with its method")
    func routes() {
        for route in ControlAPI.Route.allCases { expectNamed("\(route.method.rawValue) \(route.path)") }
    }

    @Test("every field of every answer, with all that can be absent there", arguments: Sample.views.indices)
    func fields(index: Int) throws {
        let answer = ControlAnswer(.ok, json: ControlView.Page(view: Sample.views[index], nextOffset: 1))
        let object = try JSONSerialization.jsonObject(with: Data(answer.body))
        let names = Self.names(object)
        #expect(names.count > 2)
        for name in names where !Sample.values.contains(name) { expectNamed(name) }
    }

    @Test("the samples leave no field out")
    func complete() {
        for row in Sample.rows {
            for child in Mirror(reflecting: row).children {
                let value = Mirror(reflecting: child.value)
                #expect(value.displayStyle != .optional || value.children.count == 1, "\(child.label ?? "")")
            }
        }
    }

    @Test("every value that is one of a few, every metric and every event")
    func words() throws {
        for state in ControlView.Association.State.allCases { #expect(page.contains("\"\(state.rawValue)\"")) }
        for origin in ControlView.Association.Origin.allCases { #expect(page.contains("\"\(origin.rawValue)\"")) }
        for wanted in OffloadChoice.allCases { #expect(page.contains("\"\(wanted.rawValue)\"")) }
        for kind in GatewayEvent.Kind.allCases { expectNamed(kind.rawValue) }
        for variable in GatewayEvent(.reload).environment.map({ $0.prefix { $0 != "=" } }) where variable != "PATH" {
            expectNamed(String(variable))
        }
        let text = MetricsText(
            report: ControlMetricsTests.report, associations: [Sample.association],
            counters: ControlMetricsTests.counters,
            name: "a")
        for line in text.text.split(separator: "\n") where !line.hasPrefix("#") {
            expectNamed(String(line.prefix { $0 != "{" && $0 != " " }))
        }
    }

    @Test("what looking at packets takes and answers")
    func observing() throws {
        for kind in ObserveRequest.Kind.allCases { #expect(page.contains("\"\(kind.rawValue)\"")) }
        for field in ["kind", "spi", "address", "reason", "port", "count", "snap_octets", "observation"] {
            expectNamed(field)
        }
        let packet = TracedPacket(
            ObservationTextTests.observation {
                $0.fate = .dropped
                $0.inboundSPI = 1
            }, time: "t", ObservationTextTests.names)
        let seen = ObservedPackets(traced: [packet], blocks: [], count: 1, missed: 0, unlooked: 0, isOver: false)
        for answer in [ControlAnswer(.taken(seen)), ControlAnswer(.started(number: 1, notes: []))] {
            for name in Self.names(try JSONSerialization.jsonObject(with: Data(answer.body))) { expectNamed(name) }
        }
        for name in ["out_port", "outbound_spi", "sequence_number", "reason"] { expectNamed(name) }
        #expect(page.contains("asked for \(ObservationSession.patience.components.seconds) seconds"))
        #expect(page.contains("at most \(ObservationSession.recordLimit) packets"))
        #expect(page.contains("at most \(ControlView.Summary.tunnelLimit):"))
    }

    @Test("the ways in which packets are spread")
    func spreading() {
        for way in PacketSpreading.allCases { #expect(page.contains("\"\(way.rawValue)\""), "\(way)") }
    }

    @Test("the limits")
    func limits() {
        let limits = HTTPLimits()
        for words in [
            "\(limits.connections) clients at once", "head of \(limits.headOctets >> 10) KiB",
            "body of \(limits.bodyOctets >> 10) KiB", "\(limits.requestTime.nanoseconds / 1_000_000_000) seconds for a",
            "and \(limits.answerTime.nanoseconds / 1_000_000_000) for its answer",
            "\(limits.idleTime.nanoseconds / 1_000_000_000) seconds between", "at most \(ControlAPI.rowLimit) rows",
            "the first \(MetricsText.associationLimit) SAs", "when \(EventHook.queueLimit) events wait",
        ] {
            #expect(page.contains(words), "\(words)")
        }
    }

    private static func names(_ value: Any) -> Set<String> {
        if let object = value as? [String: Any] {
            return object.reduce(into: Set(object.keys)) { $0.formUnion(names($1.value)) }
        }
        return (value as? [Any])?.reduce(into: []) { $0.formUnion(names($1)) } ?? []
    }
}

/// A row of each kind with every field set.
enum Sample {
    static let time = ControlTime(secondsSince1970: 0)
    static let spi = SPI(rawValue: 0x1001)
    /// Names in the samples that are no field.
    static let values: Set<String> = ["a-value", "wan", "replayed", "integrity_failed"]

    static let association = ControlView.Association(
        tunnel: "t", spi: spi, direction: .inbound, path: "software", securityProtocol: "esp",
        algorithm: "aes-128-gcm-16", mode: "tunnel", extendedSequenceNumbers: false, localAddress: "a",
        remoteAddress: "b", innerMtuOctets: 1446, natTraversalPeer: "b:4500", state: .current, keyFingerprint: "0",
        worker: 0,
        packets: 0, octets: 0, sequenceNumber: 0, sequenceNumbersGranted: 0, replayCeiling: 0, replayWindowPackets: 64,
        notBefore: time, installedAt: time, softLifetimePackets: 0, softLifetimeOctets: 0, softLifetimeSeconds: 0,
        hardLifetimePackets: 0, hardLifetimeOctets: 0, hardLifetimeSeconds: 0, origin: .file,
        fallbackPackets: ["a-value": 1])
    static let policy = ControlView.PolicyEntry(
        direction: .outbound, position: 0, name: "t", action: "protect", tunnel: "t", source: "a", destination: "b",
        ipProtocol: "udp", sourcePorts: "1", destinationPorts: "2", icmpTypes: "8",
        priority: 1, packets: 0, octets: 0)
    static let port = ControlView.Port(
        name: "wan", role: "protected", device: "d", driver: "d", mac: "m", link: .up, mtuOctets: 1500,
        vlan: 7, rxQueues: 2, spreading: PacketSpreading.deviceBySPI.rawValue, numaNode: 0, addresses: ["a"],
        rxPackets: 0, rxOctets: 0, txPackets: 0, txOctets: 0, rxMissed: 0, rxErrors: 0, rxNoBuffers: 0)
    static let worker = ControlView.Worker(
        index: 0, core: 1, polls: 2, rxPackets: 3, busyShare: 0.5, handedOverPackets: 1, takenOverPackets: 2,
        handoffQueuePackets: 0, tablesGeneration: 1,
        blockedNanosecondsMax: 0, associations: 1)
    static let offload = ControlView.Offload(
        tunnel: "t", spi: spi, direction: .outbound, wanted: "auto", path: "software", why: "w",
        port: "wan", device: "crypto0", offloadedPackets: 1, fallbackPackets: ["a-value": 1])
    static let capability = ControlView.Capability(
        port: "wan", driver: "a", direction: .outbound, mode: "tunnel", algorithms: ["a"],
        extendedSequenceNumbers: false, udpEncapsulation: false, replayWindowPackets: 0, slots: 1, isUsable: false,
        why: "w")
    static let cryptoDevice = ControlView.CryptoDevice(
        device: "crypto0", driver: "d", algorithm: "a", inFlightPacketsMax: 1, slots: 1, associations: 1,
        isUsable: false,
        why: "w")
    static let neighbor = ControlView.Neighbor(
        port: "wan", family: "ipv4", address: "a", mac: "m", state: "static", ageSeconds: 1)
    static let route = ControlView.Route(family: "ipv4", destination: "a", via: "b", port: "wan", kind: "static")

    static let summary = ControlView.Summary(
        name: "t", version: "0", uptimeSeconds: 1, ratesSeconds: 1, rxPackets: 0, originatedPackets: 0, txPackets: 0,
        consumedPackets: 0, droppedPackets: 0, inFlightPackets: 0, tunnels: .init(count: 1, up: 1, down: 0, quiet: 0),
        ports: [
            .init(
                name: "wan", role: "protected", link: .up, rxPacketsPerSecond: 0, rxBitsPerSecond: 0,
                txPacketsPerSecond: 0, txBitsPerSecond: 0, rxLostPackets: 0)
        ],
        busiestTunnels: [
            .init(
                name: "t", state: "up", remoteAddress: "b", outboundPath: "software", inboundPath: "software",
                outboundPacketsPerSecond: 0, outboundBitsPerSecond: 0, inboundPacketsPerSecond: 0,
                inboundBitsPerSecond: 0)
        ], drops: [.init(reason: "replayed", help: "h", packets: 1, packetsPerSecond: 0)],
        workers: [.init(index: 0, core: 1, busyShare: 0.5, packetsPerSecond: 0)])

    static let rows: [any Sendable] = [
        association, policy, port, worker, offload, capability, cryptoDevice, neighbor, route, summary.workers[0],
    ]
    static let views: [ControlView] = [
        .sa([association]), .spd([policy]), .ports([port]), .workers([worker]), .offload([offload]),
        .caps([capability], [cryptoDevice]),
        .drops([.replayed: 1]), .neighbors([neighbor]), .routes([route]), .report(ControlMetricsTests.report),
        .summary(summary),
    ]
}
