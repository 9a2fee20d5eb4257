import Foundation
import IPsec

/// What `vpn-gw show` prints for people: the answer's rows as columns. Made of the JSON alone, so that a gateway of a
/// later version, whose answers have more fields, can be asked too.
enum ControlTable {
    private struct Column {
        var title: String
        var fields: [String]
        var isNumber = false
    }

    private static func text(_ title: String, _ fields: String...) -> Column { Column(title: title, fields: fields) }

    private static func number(_ title: String, _ field: String) -> Column {
        Column(title: title, fields: [field], isNumber: true)
    }

    private static func columns(_ subject: ControlSubject) -> [Column] {
        switch subject {
        case .sa:
            [
                text("TUNNEL", "tunnel"), text("DIRECTION", "direction"), text("SPI", "spi"), text("STATE", "state"),
                text("PATH", "path"), text("ALGORITHM", "algorithm"), text("MODE", "mode"),
                text("NAT PEER", "nat_traversal_peer"), number("WORKER", "worker"), number("PACKETS", "packets"),
                number("OCTETS", "octets"), number("SEQUENCE", "sequence_number"), text("ORIGIN", "origin"),
                text("NOT BEFORE", "not_before"), text("KEY", "key_fingerprint"),
            ]
        case .spd:
            [
                text("DIRECTION", "direction"), number("POSITION", "position"), text("NAME", "name"),
                number("PRIORITY", "priority"),
                text("ACTION", "action", "tunnel"), text("SOURCE", "source", "source_ports"),
                text("DESTINATION", "destination", "destination_ports"), text("PROTOCOL", "protocol", "icmp_types"),
                number("PACKETS", "packets"), number("OCTETS", "octets"),
            ]
        case .ports:
            [
                text("PORT", "name"), text("ROLE", "role"), text("LINK", "link"), text("DRIVER", "driver"),
                text("MAC", "mac"), number("MTU", "mtu_octets"), number("VLAN", "vlan"), text("ADDRESSES", "addresses"),
                number("RX PACKETS", "rx_packets"), number("RX OCTETS", "rx_octets"),
                number("TX PACKETS", "tx_packets"), number("TX OCTETS", "tx_octets"), number("MISSED", "rx_missed"),
                number("ERRORS", "rx_errors"), number("NO BUFFERS", "rx_no_buffers"),
            ]
        case .workers:
            [
                number("WORKER", "index"), number("CORE", "core"), number("POLLS", "polls"),
                number("BUSY", "busy_share"), number("HANDOFF QUEUE", "handoff_queue_packets"),
                number("TABLES", "tables_generation"), number("BLOCKED MAX NS", "blocked_nanoseconds_max"),
                number("SAS", "associations"),
            ]
        case .offload:
            [
                text("TUNNEL", "tunnel"), text("DIRECTION", "direction"), text("SPI", "spi"), text("WANTED", "wanted"),
                text("PATH", "path"), number("OFFLOADED", "offloaded_packets"), text("WHY", "why"),
            ]
        case .caps:
            [
                text("PORT", "port"), text("DRIVER", "driver"), text("DIRECTION", "direction"), text("MODE", "mode"),
                text("ALGORITHMS", "algorithms"), number("SAS", "slots"), text("USED FOR", "use"),
                text("WHY NOT", "why"),
            ]
        case .drops: [text("REASON", "reason"), number("PACKETS", "packets"), text("MEANING", "help")]
        case .neighbors:
            [
                text("ADDRESS", "address"), text("MAC", "mac"), text("PORT", "port"), text("STATE", "state"),
                number("AGE SECONDS", "age_seconds"),
            ]
        case .routes:
            [text("DESTINATION", "destination"), text("VIA", "via"), text("PORT", "port"), text("KIND", "kind")]
        case .report, .summary: [text("COUNTER", "counter"), number("PACKETS", "packets")]
        }
    }

    /// A view as `vpn-gw show` prints it, of one port where one is named. Throws `PortUnknown`.
    static func text(_ subject: ControlSubject, of view: ControlView, port: String?, json: Bool) throws -> String {
        let object = try JSONSerialization.jsonObject(with: Data(ControlAnswer(.ok, json: view).body))
        return try text(subject, object as? [String: Any] ?? [:], port: port, json: json)
    }

    /// The same of an answer.
    static func text(_ subject: ControlSubject, _ object: [String: Any], port: String?, json: Bool) throws -> String {
        var object = object
        if let port, let rows = object[subject.rawValue] as? [[String: Any]] {
            let names = rows.compactMap { $0["port"] as? String }
            guard names.contains(port) else { throw PortUnknown(name: port, ports: names) }
            object[subject.rawValue] = rows.filter { $0["port"] as? String == port }
        }
        guard json else { return text(subject, object) }
        let data = try JSONSerialization.data(
            withJSONObject: object, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// A line of titles and one for each row.
    static func text(_ subject: ControlSubject, _ object: [String: Any]) -> String {
        if subject == .summary { return TopScreen.lines(of: object).map { $0.text + "\n" }.joined() }
        let columns = columns(subject)
        var lines = [columns.map(\.title)]
        lines += rows(subject, object).map { row in columns.map { cell(row, $0) } }
        let widths = columns.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { line in
            let cells = columns.indices.map { column in
                let blanks = String(repeating: " ", count: widths[column] - line[column].count)
                return columns[column].isNumber ? blanks + line[column] : line[column] + blanks
            }
            let text = cells.joined(separator: "  ")
            return String(text.reversed().drop { $0 == " " }.reversed()) + "\n"
        }.joined()
    }

    private static func rows(_ subject: ControlSubject, _ object: [String: Any]) -> [[String: Any]] {
        func list(_ name: String) -> [[String: Any]] { object[name] as? [[String: Any]] ?? [] }
        switch subject {
        case .sa: return list("sas")
        case .spd: return list("policies")
        case .workers, .offload, .neighbors, .routes: return list(subject.rawValue)
        case .caps:
            return list("caps").map { row in
                row.merging(["use": row["is_usable"] as? Bool == true ? "offload" : "nothing"]) { $1 }
            }
        case .ports:
            let ports = object["ports"] as? [String: [String: Any]] ?? [:]
            return ports.sorted { $0.key < $1.key }.map(\.value)
        case .drops:
            let counts = object["drops"] as? [String: Any] ?? [:], help = object["help"] as? [String: Any] ?? [:]
            let order = Dictionary(uniqueKeysWithValues: DropReason.allCases.enumerated().map { ($1.name, $0) })
            return counts.sorted { (order[$0.key] ?? .max, $0.key) < (order[$1.key] ?? .max, $1.key) }.map {
                ["reason": $0.key, "packets": $0.value, "help": help[$0.key] ?? ""]
            }
        case .report, .summary:
            let names = ["rx", "originated", "tx", "consumed", "dropped", "in_flight"]
            return names.map { ["counter": $0, "packets": object["\($0)_packets"] ?? 0] }
        }
    }

    private static func cell(_ row: [String: Any], _ column: Column) -> String {
        let words = column.fields.compactMap { field -> String? in
            switch row[field] {
            case let text as String: presentable(text)
            case let list as [Any]: presentable(list.map { "\($0)" }.joined(separator: ", "))
            case let share as Double where field == "busy_share":
                // In tenths of a percent.
                "\((share * 1000).rounded() / 10) %"
            case let number as NSNumber: number.stringValue
            default: nil
            }
        }
        return words.isEmpty || words == [""] ? "-" : words.joined(separator: " ")
    }

    /// Without what a terminal would obey.
    private static func presentable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{fffd}" : $0 }))
    }
}
