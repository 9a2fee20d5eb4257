import Foundation
import IPsec

/// What `vpn-gw show` prints for people: the answer's rows as columns. Made of the JSON alone, so that a gateway of a
/// later version, whose answers have more fields, can be asked too.
enum ControlTable {
    private struct Column {
        var title: String
        var fields: [String]
        var isNumber = false
        /// Where a table is too wide those of the highest go first; those of 0 stay.
        var rank = 0
        /// Whether it is a sentence, which may be cut.
        var isProse = false
    }

    private static func text(_ title: String, _ fields: String..., rank: Int = 0) -> Column {
        Column(title: title, fields: fields, rank: rank)
    }

    private static func number(_ title: String, _ field: String, rank: Int = 0) -> Column {
        Column(title: title, fields: [field], isNumber: true, rank: rank)
    }

    private static func prose(_ title: String, _ field: String) -> Column {
        Column(title: title, fields: [field], isProse: true)
    }

    private static func columns(_ subject: ControlSubject) -> [Column] {
        switch subject {
        case .sa:
            [
                text("TUNNEL", "tunnel"), text("DIRECTION", "direction"), text("SPI", "spi"), text("STATE", "state"),
                text("PATH", "path", rank: 2), text("ALGORITHM", "algorithm", rank: 8), text("MODE", "mode", rank: 11),
                text("NAT PEER", "nat_traversal_peer", rank: 6), number("WORKER", "worker", rank: 9),
                number("PACKETS", "packets"),
                number("OCTETS", "octets", rank: 3), number("SEQUENCE", "sequence_number", rank: 4),
                text("ORIGIN", "origin", rank: 12),
                text("NOT BEFORE", "not_before", rank: 7), text("KEY", "key_fingerprint", rank: 10),
            ]
        case .spd:
            [
                text("DIRECTION", "direction"), number("POSITION", "position", rank: 5), text("NAME", "name", rank: 4),
                number("PRIORITY", "priority", rank: 6),
                text("ACTION", "action", "tunnel"), text("SOURCE", "source", "source_ports"),
                text("DESTINATION", "destination", "destination_ports"),
                text("PROTOCOL", "protocol", "icmp_types", rank: 1),
                number("PACKETS", "packets", rank: 2), number("OCTETS", "octets", rank: 7),
            ]
        case .ports:
            [
                text("PORT", "name"), text("ROLE", "role", rank: 2), text("LINK", "link"),
                text("DRIVER", "driver", rank: 6),
                text("MAC", "mac", rank: 8), number("MTU", "mtu_octets", rank: 7), number("VLAN", "vlan", rank: 5),
                number("QUEUES", "rx_queues", rank: 10),
                text("SPREADING", "spreading", rank: 11), text("ADDRESSES", "addresses", rank: 9),
                number("RX PACKETS", "rx_packets"), number("RX OCTETS", "rx_octets", rank: 12),
                number("TX PACKETS", "tx_packets"), number("TX OCTETS", "tx_octets", rank: 12),
                number("MISSED", "rx_missed", rank: 1),
                number("ERRORS", "rx_errors", rank: 3), number("NO BUFFERS", "rx_no_buffers", rank: 4),
            ]
        case .workers:
            [
                number("WORKER", "index"), number("CORE", "core", rank: 1), number("POLLS", "polls", rank: 9),
                number("BUSY", "busy_share"), number("RX PACKETS", "rx_packets"),
                number("HANDED OVER", "handed_over_packets", rank: 3),
                number("TAKEN OVER", "taken_over_packets", rank: 4),
                number("HANDOFF QUEUE", "handoff_queue_packets", rank: 5),
                number("TABLES", "tables_generation", rank: 8),
                number("BLOCKED MAX NS", "blocked_nanoseconds_max", rank: 7),
                number("SAS", "associations", rank: 2),
            ]
        case .offload:
            [
                text("TUNNEL", "tunnel"), text("DIRECTION", "direction"), text("SPI", "spi"),
                text("WANTED", "wanted", rank: 2),
                text("PATH", "path"), number("OFFLOADED", "offloaded_packets", rank: 1), prose("WHY", "why"),
            ]
        case .caps:
            [
                text("PORT", "port"), text("DRIVER", "driver", rank: 2), text("DIRECTION", "direction"),
                text("MODE", "mode"),
                text("ALGORITHMS", "algorithms", rank: 4), number("SAS", "slots", rank: 3), text("USED FOR", "use"),
                prose("WHY NOT", "why"),
            ]
        case .drops: [text("REASON", "reason"), number("PACKETS", "packets"), prose("MEANING", "help")]
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

    private static let cryptoDevices = [
        text("CRYPTO DEVICE", "device"), text("DRIVER", "driver"), text("ALGORITHM", "algorithm", rank: 2),
        number("IN FLIGHT MAX", "in_flight_packets_max", rank: 1), number("SAS", "associations"),
        number("SLOTS", "slots", rank: 1),
        text("USED FOR", "use"),
        prose("WHY NOT", "why"),
    ]

    /// A view as `vpn-gw show` prints it, of one port where one is named. Throws `PortUnknown`.
    static func text(
        _ subject: ControlSubject, of view: ControlView, port: String?, json: Bool, columns room: Int?
    ) throws -> String {
        let object = try JSONSerialization.jsonObject(with: Data(ControlAnswer(.ok, json: view).body))
        return try text(subject, object as? [String: Any] ?? [:], port: port, json: json, columns: room)
    }

    /// The same of an answer.
    static func text(
        _ subject: ControlSubject, _ object: [String: Any], port: String?, json: Bool, columns room: Int?
    ) throws -> String {
        var object = object
        if let port, let rows = object[subject.rawValue] as? [[String: Any]] {
            let names = rows.compactMap { $0["port"] as? String }
            guard names.contains(port) else { throw PortUnknown(name: port, ports: names) }
            object[subject.rawValue] = rows.filter { $0["port"] as? String == port }
            object["crypto_devices"] = nil
        }
        guard json else { return text(subject, object, columns: room) }
        let data = try JSONSerialization.data(
            withJSONObject: object, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// A line of titles and one for each row, in so many columns of a terminal: what has no room is left out, the least
    /// important first, and named below. Nil: all there is.
    static func text(_ subject: ControlSubject, _ object: [String: Any], columns room: Int? = nil) -> String {
        if subject == .summary {
            let lines = TopScreen.lines(of: object, columns: room ?? .max)
            return lines.map { TerminalText.cut($0.text, to: room ?? .max) + "\n" }.joined()
        }
        let table = text(columns(subject), rows(subject, object), room)
        guard subject == .caps, let devices = object["crypto_devices"] as? [[String: Any]], !devices.isEmpty else {
            return table
        }
        return table + "\n" + text(cryptoDevices, devices.map(withUse), room)
    }

    private static func text(_ columns: [Column], _ rows: [[String: Any]], _ room: Int?) -> String {
        let lines = [columns.map(\.title)] + rows.map { row in columns.map { cell(row, $0) } }
        var widths = columns.indices.map { column in lines.map { TerminalText.columns($0[column]) }.max() ?? 0 }
        var shown = Array(columns.indices), hidden: [String] = []
        func width() -> Int { shown.reduce(-2) { $0 + 2 + (columns[$1].isProse ? min(20, widths[$1]) : widths[$1]) } }
        if let room, width() > room {
            // Nothing is lost with a column in which nobody has a value.
            shown.removeAll { column in
                columns[column].rank > 0 && lines.dropFirst().allSatisfy { $0[column] == "-" }
            }
            for column in columns.indices.sorted(by: { columns[$0].rank > columns[$1].rank })
            where columns[column].rank > 0 && shown.contains(column) && width() > room {
                shown.removeAll { $0 == column }
                hidden.append(columns[column].title)
            }
        }
        if let room, let last = shown.last, columns[last].isProse {
            let others = shown.dropLast().reduce(0) { $0 + widths[$1] + 2 }
            widths[last] = min(widths[last], max(20, room - others))
        }
        var text = lines.map { line in
            let cells = shown.map { column in
                TerminalText.padded(
                    columns[column].isProse ? TerminalText.cut(line[column], to: widths[column]) : line[column],
                    to: widths[column], isNumber: columns[column].isNumber)
            }
            return TerminalText.trimmed(cells.joined(separator: "  ")) + "\n"
        }.joined()
        if let room, !hidden.isEmpty {
            text += TerminalText.cut("--wide shows \(hidden.reversed().joined(separator: ", "))", to: room) + "\n"
        }
        return text
    }

    private static func withUse(_ row: [String: Any]) -> [String: Any] {
        row.merging(["use": row["is_usable"] as? Bool == true ? "offload" : "nothing"]) { $1 }
    }

    private static func rows(_ subject: ControlSubject, _ object: [String: Any]) -> [[String: Any]] {
        func list(_ name: String) -> [[String: Any]] { object[name] as? [[String: Any]] ?? [] }
        switch subject {
        case .sa: return list("sas")
        case .spd: return list("policies")
        case .workers, .offload, .neighbors, .routes: return list(subject.rawValue)
        case .caps: return list("caps").map(withUse)
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
            case let text as String: TerminalText.presentable(text)
            case let list as [Any]: TerminalText.presentable(list.map { "\($0)" }.joined(separator: ", "))
            case let share as Double where field == "busy_share":
                // In tenths of a percent.
                "\((share * 1000).rounded() / 10) %"
            case let number as NSNumber: number.stringValue
            default: nil
            }
        }
        return words.isEmpty || words == [""] ? "-" : words.joined(separator: " ")
    }
}
