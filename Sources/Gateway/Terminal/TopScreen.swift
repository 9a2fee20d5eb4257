import Foundation
import IPsec

/// What `vpn-gw top` shows: the gateway's summary as lines of a screen. Made of the JSON alone, like `ControlTable`.
enum TopScreen {
    /// How a line looks where there is colour.
    enum Style: Sendable { case plain, title, alarm, faint }

    /// A line without control characters.
    struct Line: Equatable, Sendable {
        var text: String
        var style = Style.plain
    }

    /// A gateway that does not answer.
    static func lines(silent: String, since seconds: Int) -> [Line] {
        [Line(text: "NO ANSWER for \(seconds) s: \(presentable(silent))", style: .alarm), Line(text: "")]
    }

    /// All of a summary: title, packets, ports, workers, tunnels, drops.
    static func lines(of summary: [String: Any]) -> [Line] {
        let drops = rows(summary, "drops")
        return head(summary) + ports(summary) + workers(summary) + tunnels(summary, limit: .max)
            + self.drops(drops, limit: .max)
    }

    /// The same in so many lines: of ports and workers there are few; tunnels and drops share what is left, and the
    /// last line of each says how many are not shown.
    static func lines(of summary: [String: Any], rows height: Int) -> [Line] {
        let fixed = head(summary) + ports(summary) + workers(summary), drops = rows(summary, "drops")
        let left = max(0, height - fixed.count)
        let tunnelLines = min(rows(summary, "busiest_tunnels").count + 2, max(left / 2, left - drops.count - 2))
        let shown = fixed + tunnels(summary, limit: tunnelLines)
        return Array((shown + self.drops(drops, limit: max(0, height - shown.count))).prefix(height))
    }

    /// Cuts lines to a width, and paints them: everything from the upper left corner on, each line cleared behind its
    /// end, and everything below. Nothing is blank in between, so nothing flickers.
    static func frame(_ lines: [Line], columns: Int, rows: Int, hasColor: Bool) -> String {
        let painted = lines.prefix(rows).map { line in
            let text = String(line.text.prefix(columns))
            guard hasColor else { return text + "\u{1b}[K" }
            let code =
                switch line.style {
                case .plain: ""
                case .title: "\u{1b}[1m"
                case .alarm: "\u{1b}[1;31m"
                case .faint: "\u{1b}[2m"
                }
            return code + text + (code.isEmpty ? "" : "\u{1b}[0m") + "\u{1b}[K"
        }
        // No newline behind the last line, which would scroll.
        return "\u{1b}[H" + painted.joined(separator: "\r\n") + (painted.count < rows ? "\r\n\u{1b}[J" : "")
    }

    // MARK: Parts

    private static func head(_ summary: [String: Any]) -> [Line] {
        let tunnels = summary["tunnels"] as? [String: Any] ?? [:]
        let down = number(tunnels, "down")
        let name = presentable(summary["name"] as? String ?? ""), version = summary["version"] as? String ?? ""
        var state = "\(whole(number(tunnels, "up"))) of \(whole(number(tunnels, "count"))) tunnels up"
        if down > 0 { state += ", \(whole(down)) DOWN" }
        let uptime = duration(number(summary, "uptime_seconds"))
        func sum(_ write: (Double) -> String) -> String {
            func count(_ field: String) -> String { write(number(summary, "\(field)_packets")) }
            return "packets: rx \(count("rx")) + own \(count("originated")) = tx \(count("tx")) + consumed "
                + "\(count("consumed")) + dropped \(count("dropped")) + held \(count("in_flight"))"
        }
        return [
            Line(
                text: "\(name)  vpn-gw \(presentable(version))  up \(uptime)  \(state)",
                style: down > 0 ? .alarm : .title), Line(text: sum(whole).count <= 80 ? sum(whole) : sum(short)),
            Line(text: ""),
        ]
    }

    private static func ports(_ summary: [String: Any]) -> [Line] {
        return [
            Line(text: row(["PORT", "ROLE", "LINK", "RX PPS", "RX BPS", "TX PPS", "TX BPS", "LOST"]), style: .title)
        ]
            + rows(summary, "ports").map { port in
                let isDown = port["link"] as? String == "down", lost = number(port, "rx_lost_packets")
                return Line(
                    text: row([
                        text(port, "name"), text(port, "role"), text(port, "link"),
                        short(number(port, "rx_packets_per_second")), short(number(port, "rx_bits_per_second")),
                        short(number(port, "tx_packets_per_second")), short(number(port, "tx_bits_per_second")),
                        short(lost),
                    ]), style: isDown ? .alarm : .plain)
            } + [Line(text: "")]

        func row(_ cells: [String]) -> String {
            columns(cells, [-14, -11, -5, 8, 8, 8, 8, 8])
        }
    }

    private static func workers(_ summary: [String: Any]) -> [Line] {
        let workers = rows(summary, "workers")
        return [Line(text: columns(["WORKER", "CORE", "PPS", "BUSY"], [-8, 4, 8, 7]), style: .title)]
            + workers.prefix(8).map { worker in
                let share = worker["busy_share"] as? Double
                let bar = share.map { String(repeating: "#", count: Int(($0 * 40).rounded())) } ?? ""
                return Line(
                    text: columns(
                        [
                            whole(number(worker, "index")), whole(number(worker, "core")),
                            short(number(worker, "packets_per_second")),
                            share.map { String(format: "%.1f %%", $0 * 100) } ?? "-",
                        ], [-8, 4, 8, 7]) + "  " + bar,
                    style: (share ?? 0) > 0.9 ? .alarm : .plain)
            } + (workers.count > 8 ? [Line(text: "… \(workers.count - 8) more", style: .faint)] : []) + [Line(text: "")]
    }

    /// At most `limit` lines.
    private static func tunnels(_ summary: [String: Any], limit: Int) -> [Line] {
        let widths = [-18, -6, -19, 7, 7, 7, 7], rows = rows(summary, "busiest_tunnels")
        let count = Int(number(summary["tunnels"] as? [String: Any] ?? [:], "count"))
        guard limit >= 3 else { return [] }
        let shown = min(rows.count, limit - 2)
        var lines = [
            Line(
                text: columns(["TUNNEL", "STATE", "PATH OUT/IN", "OUT PPS", "OUT BPS", "IN PPS", "IN BPS"], widths),
                style: .title)
        ]
        lines += rows.prefix(shown).map { tunnel in
            let path = "\(text(tunnel, "outbound_path"))/\(text(tunnel, "inbound_path"))"
            return Line(
                text: columns(
                    [
                        text(tunnel, "name"), text(tunnel, "state"), path,
                        short(number(tunnel, "outbound_packets_per_second")),
                        short(number(tunnel, "outbound_bits_per_second")),
                        short(number(tunnel, "inbound_packets_per_second")),
                        short(number(tunnel, "inbound_bits_per_second")),
                    ], widths), style: tunnel["state"] as? String == "down" ? .alarm : .plain)
        }
        lines.append(Line(text: count > shown ? "… \(count - shown) more" : "", style: .faint))
        return lines
    }

    /// At most `limit` lines.
    private static func drops(_ rows: [[String: Any]], limit: Int) -> [Line] {
        guard limit >= 2 else { return [] }
        let widths = [-24, 12, 8]
        let shown = rows.count <= limit - 1 ? rows.count : limit - 2
        return [Line(text: columns(["DROPPED", "PACKETS", "PPS"], widths), style: .title)]
            + rows.prefix(shown).map { drop in
                let rate = number(drop, "packets_per_second")
                return Line(
                    text: columns([text(drop, "reason"), whole(number(drop, "packets")), short(rate)], widths) + "  "
                        + text(drop, "help"), style: rate > 0 ? .plain : .faint)
            } + (rows.count > shown ? [Line(text: "… \(rows.count - shown) more", style: .faint)] : [])
    }

    // MARK: Words and numbers

    /// Cells in columns: a negative width is of text, which stands to the left and is cut.
    private static func columns(_ cells: [String], _ widths: [Int]) -> String {
        let line = zip(cells, widths).map { cell, width in
            let room = abs(width), text = width < 0 && cell.count > room ? cell.prefix(room - 1) + "…" : cell[...]
            let blanks = String(repeating: " ", count: max(0, room - text.count))
            return width < 0 ? text + blanks : blanks + text
        }.joined(separator: " ")
        return String(line.reversed().drop { $0 == " " }.reversed())
    }

    private static func rows(_ object: [String: Any], _ name: String) -> [[String: Any]] {
        object[name] as? [[String: Any]] ?? []
    }

    private static func text(_ row: [String: Any], _ field: String) -> String {
        presentable(row[field] as? String ?? "-")
    }

    private static func number(_ row: [String: Any], _ field: String) -> Double {
        (row[field] as? NSNumber)?.doubleValue ?? 0
    }

    private static func whole(_ number: Double) -> String { String(format: "%.0f", number) }

    /// In at most 6 characters: "0", "999", "1.23k", "45.6M", "789G".
    static func short(_ number: Double) -> String {
        guard number >= 999.5 else {
            return number > 0 && number < 9.95 ? String(format: "%.1f", number) : whole(number)
        }
        var value = number
        for unit in ["k", "M", "G", "T", "P"] {
            value /= 1000
            if value < 9.995 { return String(format: "%.2f", value) + unit }
            if value < 99.95 { return String(format: "%.1f", value) + unit }
            if value < 999.5 { return String(format: "%.0f", value) + unit }
        }
        return ">999P"
    }

    /// "3 d 04:05:06".
    static func duration(_ seconds: Double) -> String {
        let all = Int(seconds), days = all / 86400
        let clock = String(format: "%02d:%02d:%02d", all / 3600 % 24, all / 60 % 60, all % 60)
        return days > 0 ? "\(days) d \(clock)" : clock
    }

    /// Without what a terminal would obey.
    private static func presentable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{fffd}" : $0 }))
    }
}
