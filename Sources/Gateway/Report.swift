import DataPlane
import ESP
import Foundation
import IPsec
import Synchronization

/// Where all packets went, in the words of the contract. Encodes to JSON with sorted keys: same numbers, same text.
public struct Report: Sendable, Encodable {
    struct Port: Sendable, Encodable {
        var rxPackets: UInt64, rxOctets: UInt64, txPackets: UInt64, txOctets: UInt64
    }

    struct Association: Sendable, Encodable {
        var tunnel: String
        var spi: String
        var direction: String
        var path = "software"
        var algorithm: String
        var mode: String
        var extendedSequenceNumbers: Bool
        var packets: UInt64 = 0
        var octets: UInt64 = 0
        /// Outbound the last one used, inbound the highest one accepted.
        var sequenceNumber: UInt64 = 0
        /// Packets that a device worked on.
        var offloadedPackets: UInt64 = 0
        /// Packets that software worked on though a device was wanted, by reason.
        var fallbackPackets: [String: UInt64] = [:]

        mutating func tell(_ path: OffloadPath?, _ counters: borrowing FallbackCounters) {
            if let path { self.path = path.name }
            offloadedPackets = counters.offloaded
            fallbackPackets = counters.packets
        }
    }

    var rxPackets: UInt64
    var originatedPackets: UInt64
    var txPackets: UInt64
    var consumedPackets: UInt64
    var droppedPackets: UInt64
    var inFlightPackets: UInt64
    var ports: [String: Port]
    /// By reason; reasons that never occurred are left out.
    var drops: [String: UInt64]
    var sas: [Association]
    /// Whether every packet is accounted for.
    public let isConserved: Bool

    enum CodingKeys: CodingKey {
        case rxPackets, originatedPackets, txPackets, consumedPackets, droppedPackets, inFlightPackets, ports, drops,
            sas
    }
}

extension Report {
    /// The counts of a group: `group.counts`, or `group.runningCounts` while its workers run. `book` says which SAs
    /// there are.
    init(_ counts: PacketCounts, _ group: WorkerGroup, _ book: TunnelBook, _ offload: OffloadKeeper? = nil) {
        rxPackets = counts.received
        originatedPackets = counts.originated
        txPackets = counts.transmitted
        consumedPackets = counts.consumed
        droppedPackets = counts.dropped
        inFlightPackets = counts.inFlight
        isConserved = counts.isConserved
        let named = zip(group.tables.topology.ports, counts.ports).map { port, count in
            (
                port.name,
                Port(
                    rxPackets: count.rxPackets, rxOctets: count.rxOctets, txPackets: count.txPackets,
                    txOctets: count.txOctets)
            )
        }
        ports = Dictionary(uniqueKeysWithValues: named)
        drops = Dictionary(
            uniqueKeysWithValues: counts.drops.filter { $0.value > 0 }.map { ($0.key.name, $0.value) })
        sas = book.entries.flatMap { entry in
            entry.children.flatMap { child -> [Association] in
                guard let pair = child.pair else { return [] }
                let profile = pair.sameness.profile
                func row(_ spi: SPI, _ direction: Direction) -> Association {
                    Association(
                        tunnel: entry.name, spi: spi.description, direction: direction.rawValue,
                        algorithm: profile.algorithm.name, mode: profile.mode.rawValue,
                        extendedSequenceNumbers: profile.extendedSequenceNumbers)
                }
                var outbound = row(child.description.outbound.spi, .outbound)
                pair.outbound.reference.with { association in
                    outbound.packets = association.packets
                    outbound.octets = association.octets.load(ordering: .relaxed)
                    outbound.sequenceNumber = association.sequenceNumber.load(ordering: .relaxed)
                    outbound.tell(offload?.path(of: pair.outbound.id), association.fallbacks)
                }
                var inbound = row(child.description.inbound.spi, .inbound)
                pair.inbound.reference.with { association in
                    inbound.packets = association.packets.load(ordering: .relaxed)
                    inbound.octets = association.octets.load(ordering: .relaxed)
                    inbound.sequenceNumber = association.highest.load(ordering: .relaxed)
                    inbound.tell(offload?.path(of: pair.inbound.id), association.fallbacks)
                }
                return [outbound, inbound]
            }
        }
    }

    /// The report as the contract's JSON, with a newline at the end.
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }

    /// For the log: one line a fact.
    public var lines: [String] {
        var lines = [
            "received \(rxPackets), originated \(originatedPackets), sent \(txPackets), consumed \(consumedPackets), "
                + "dropped \(droppedPackets), in flight \(inFlightPackets)"
        ]
        for (name, port) in ports.sorted(by: { $0.key < $1.key }) {
            lines.append(
                "port \(name): received \(port.rxPackets) packets \(port.rxOctets) octets, "
                    + "sent \(port.txPackets) packets \(port.txOctets) octets")
        }
        for association in sas {
            lines.append(
                "tunnel \(association.tunnel) \(association.direction) \(association.spi): "
                    + "\(association.packets) packets \(association.octets) octets, "
                    + "sequence number \(association.sequenceNumber)")
        }
        for (reason, count) in drops.sorted(by: { $0.key < $1.key }) { lines.append("dropped \(reason): \(count)") }
        return lines
    }
}
