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
        [Line(text: "NO ANSWER for \(seconds) s: \(TerminalText.presentable(silent))", style: .alarm), Line(text: "")]
    }

    /// All of a summary: title, packets, ports, workers, tunnels, drops. Names get what a wide terminal has to spare.
    static func lines(of summary: [String: Any], columns: Int = .max) -> [Line] {
        fixed(summary, columns: columns) + tunnels(summary, limit: .max, columns: columns)
            + drops(rows(summary, "drops"), limit: .max)
    }

    private static func fixed(_ summary: [String: Any], columns: Int) -> [Line] {
        head(summary, columns: columns) + ports(summary, columns: columns) + workers(summary, columns: columns)
    }

    /// The same in so many lines: of ports and workers there are few; tunnels and drops share what is left, and the
    /// last line of each says how many are not shown.
    static func lines(of summary: [String: Any], columns: Int, rows height: Int) -> [Line] {
        let fixed = fixed(summary, columns: columns)
        let drops = rows(summary, "drops")
        let left = max(0, height - fixed.count)
        let tunnelLines = min(rows(summary, "busiest_tunnels").count + 2, max(left / 2, left - drops.count - 2))
        let shown = fixed + tunnels(summary, limit: tunnelLines, columns: columns)
        let all = shown + self.drops(drops, limit: max(0, height - shown.count))
        let hasAll =
            all.count <= height && (tunnelLines >= 3 || rows(summary, "busiest_tunnels").isEmpty)
            && (height - shown.count >= 2 || drops.isEmpty)
        if hasAll { return all }
        let rest = [Line(text: "… and more, on a taller terminal", style: .faint)]
        return height > 0 ? all.prefix(height - 1) + rest : []
    }

    /// Cuts lines to a width, with "…" where something is lost, and paints them: everything from the upper left corner
    /// on, each line cleared behind its end, and everything below. Nothing is blank in between, so nothing flickers.
    static func frame(_ lines: [Line], columns: Int, rows: Int, hasColor: Bool) -> String {
        let painted = lines.prefix(rows).map { line in
            let text = TerminalText.cut(line.text, to: columns)
            // Where a line is full, the cursor stands on its last character, which clearing would take.
            let clear = TerminalText.columns(text) < columns ? "\u{1b}[K" : ""
            guard hasColor else { return text + clear }
            let code =
                switch line.style {
                case .plain: ""
                case .title: "\u{1b}[1m"
                case .alarm: "\u{1b}[1;31m"
                case .faint: "\u{1b}[2m"
                }
            return code + text + (code.isEmpty ? "" : "\u{1b}[0m") + clear
        }
        // No newline behind the last line, which would scroll.
        return "\u{1b}[H" + painted.joined(separator: "\r\n") + (painted.count < rows ? "\r\n\u{1b}[J" : "")
    }

    // MARK: Parts

    private static func head(_ summary: [String: Any], columns room: Int) -> [Line] {
        let tunnels = summary["tunnels"] as? [String: Any] ?? [:]
        let down = number(tunnels, "down")
        let version = TerminalText.presentable(summary["version"] as? String ?? "")
        var state = "\(whole(number(tunnels, "up"))) of \(whole(number(tunnels, "count"))) tunnels up"
        if down > 0 { state += ", \(whole(down)) DOWN" }
        let uptime = duration(number(summary, "uptime_seconds"))
        func sum(_ write: (Double) -> String) -> String {
            func count(_ field: String) -> String { write(number(summary, "\(field)_packets")) }
            return "rx \(count("rx")) + own \(count("originated")) = tx \(count("tx")) + consumed "
                + "\(count("consumed")) + dropped \(count("dropped")) + in flight \(count("in_flight"))"
        }
        // What has room, the most exact first.
        let packets =
            ["packets: " + sum(whole), "packets: " + sum(short)].first { $0.utf8.count <= room } ?? sum(short)
        let rest = "  \(state)  up \(uptime)  vpn-gw \(version)"
        // A long name must not hide that tunnels are down.
        let name = TerminalText.cut(
            TerminalText.presentable(summary["name"] as? String ?? ""), to: max(8, room - TerminalText.columns(rest)))
        return [Line(text: name + rest, style: down > 0 ? .alarm : .title), Line(text: packets), Line(text: "")]
    }

    private static func ports(_ summary: [String: Any], columns room: Int) -> [Line] {
        let name = nameColumns(rows(summary, "ports"), least: 14, spare: room - 80)
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
            columns(cells, [-name, -11, -5, 8, 8, 8, 8, 8])
        }
    }

    private static func workers(_ summary: [String: Any], columns room: Int) -> [Line] {
        // What is left beside the numbers.
        let workers = rows(summary, "workers"), most = Double(max(0, min(40, room - 32)))
        return [Line(text: columns(["WORKER", "CORE", "PPS", "BUSY"], [-8, 4, 8, 7]), style: .title)]
            + workers.prefix(8).map { worker in
                let share = worker["busy_share"] as? Double
                let bar = share.map { String(repeating: "#", count: Int(($0 * most).rounded())) } ?? ""
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
    private static func tunnels(_ summary: [String: Any], limit: Int, columns room: Int) -> [Line] {
        let rows = rows(summary, "busiest_tunnels")
        let widths = [-nameColumns(rows, least: 18, spare: room - 80), -6, -19, 7, 7, 7, 7]
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
            TerminalText.padded(
                width < 0 ? TerminalText.cut(cell, to: -width) : cell, to: abs(width), isNumber: width > 0)
        }
        return TerminalText.trimmed(line.joined(separator: " "))
    }

    /// How wide a column of names is: as the longest, and no more than there is.
    private static func nameColumns(_ rows: [[String: Any]], least: Int, spare: Int) -> Int {
        let longest = rows.map { TerminalText.columns(text($0, "name")) }.max() ?? 0
        return longest <= least ? least : longest - least <= spare ? longest : least + max(0, spare)
    }

    private static func rows(_ object: [String: Any], _ name: String) -> [[String: Any]] {
        object[name] as? [[String: Any]] ?? []
    }

    private static func text(_ row: [String: Any], _ field: String) -> String {
        TerminalText.presentable(row[field] as? String ?? "-")
    }

    private static func number(_ row: [String: Any], _ field: String) -> Double {
        (row[field] as? NSNumber)?.doubleValue ?? 0
    }

    private static func whole(_ number: Double) -> String { String(format: "%.0f", number) }

    /// In at most 6 characters: "0", "0.5", "999", "1.23k", "45.6M", "789G".
    static func short(_ number: Double) -> String {
        guard number >= 999.5 else {
            return number < 9.95 && number != number.rounded() ? String(format: "%.1f", number) : whole(number)
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
}
