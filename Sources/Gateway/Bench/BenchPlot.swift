import Foundation

/// Throughput and cycles an octet against the packet's size, one line for each path, number of SAs and number of
/// workers: a figure in SVG that needs nothing beside it.
///
/// Colours are Okabe and Ito's, which people tell apart who see few; markers and dashes differ as well.
struct BenchPlot {
    /// One line.
    struct Series {
        var name: String
        /// Ascending sizes in octets.
        var points: [(octets: Double, bitsPerSecond: Double, cyclesPerOctet: Double)]
    }

    /// Two panels side by side.
    struct Row {
        var direction: String
        var series: [Series]
    }

    private struct Style {
        var color: String
        var dashes: String
        var marker: Marker
    }

    private enum Marker { case circle, square, triangle, diamond }

    private static let styles = [
        Style(color: "#0072b2", dashes: "", marker: .circle),
        Style(color: "#d55e00", dashes: "7 3", marker: .square),
        Style(color: "#009e73", dashes: "2 3", marker: .triangle),
        Style(color: "#cc79a7", dashes: "9 3 2 3", marker: .diamond),
        Style(color: "#e69f00", dashes: "12 4", marker: .circle),
        Style(color: "#56b4e9", dashes: "4 2", marker: .square),
        Style(color: "#000000", dashes: "1 2", marker: .triangle),
    ]

    var title: String
    /// Machine, clock, version and date.
    var subtitle: String
    var rows: [Row]

    /// The rows of a report that are of one size each.
    init(_ rows: [BenchRow], subtitle: String) {
        let single = rows.filter { !$0.isMixed }
        let severalAssociations = Set(single.map(\.associations)).count > 1
        let severalWorkers = Set(single.map(\.workers)).count > 1
        func name(_ row: BenchRow) -> String {
            var name = row.path
            if severalAssociations { name += ", \(row.associations) SA\(row.associations == 1 ? "" : "s")" }
            if severalWorkers { name += ", \(row.workers) worker\(row.workers == 1 ? "" : "s")" }
            return name
        }
        title = "vpn-gw: ESP tunnel mode, AES-128-GCM"
        if !severalWorkers, let workers = single.first?.workers {
            title += ", \(workers) core\(workers == 1 ? "" : "s")"
        }
        if !severalAssociations, let count = single.first?.associations {
            title += ", \(count) SA\(count == 1 ? "" : "s")"
        }
        self.subtitle = subtitle
        self.rows = ["encap", "decap", "both"].compactMap { direction in
            let own = single.filter { $0.direction == direction }
            var names: [String] = []
            for row in own where !names.contains(name(row)) { names.append(name(row)) }
            let series = names.map { wanted in
                Series(
                    name: wanted,
                    points: own.filter { name($0) == wanted }.sorted { $0.innerOctets < $1.innerOctets }.map {
                        ($0.innerOctets, $0.innerBitsPerSecond, $0.cyclesPerOctet)
                    })
            }
            return series.isEmpty ? nil : Row(direction: direction, series: series)
        }
    }

    // MARK: Layout

    private static let width = 1080.0, panelWidth = 440.0, panelHeight = 300.0
    private static let left = 70.0, gap = 90.0, top = 78.0, rowHeight = 410.0

    private var names: [String] {
        var names: [String] = []
        for series in rows.flatMap(\.series) where !names.contains(series.name) { names.append(series.name) }
        return names
    }

    private func style(_ name: String) -> Style {
        BenchPlot.styles[(names.firstIndex(of: name) ?? 0) % BenchPlot.styles.count]
    }

    /// The whole file.
    var svg: String {
        let legendLines = (names.count + 3) / 4
        let legendTop = BenchPlot.top + Double(rows.count) * BenchPlot.rowHeight
        let notesTop = legendTop + Double(legendLines) * 24 + 8, notes = notes
        let height = notesTop + Double(notes.count) * 16 + 8
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(number(BenchPlot.width))\" "
                + "height=\"\(number(height))\" role=\"img\" "
                + "viewBox=\"0 0 \(number(BenchPlot.width)) \(number(height))\" "
                + "font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"13\" fill=\"#222\">",
            "<title>\(BenchPlot.escape(title))</title>",
            "<desc>\(BenchPlot.escape(subtitle))</desc>",
            "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
            text(title, x: BenchPlot.left, y: 30, size: 18, weight: "bold"),
            text(subtitle, x: BenchPlot.left, y: 52, size: 12, color: "#555"),
        ]
        for (index, row) in rows.enumerated() {
            let top = BenchPlot.top + Double(index) * BenchPlot.rowHeight
            lines += panels(row, top: top)
        }
        lines += legend(top: legendTop)
        for (index, note) in notes.enumerated() {
            lines.append(text(note, x: BenchPlot.left, y: notesTop + Double(index) * 16, size: 11, color: "#555"))
        }
        lines.append("</svg>")
        return lines.joined(separator: "\n") + "\n"
    }

    /// What the names mean.
    private var notes: [String] {
        var notes = [
            "Octets are those of inner IP packets. Cycles are the time-stamp counter's, the feed's included; compare "
                + "only what was measured in one run."
        ]
        let paths = [
            ("inline", "inline: a NIC encrypts, its part and its driver's left out"),
            ("lookaside", "lookaside: DPDK's crypto_aesni_mb beside the packets' way, on the same core"),
            ("null", "null: nobody encrypts"),
        ]
        let shown = paths.filter { path in names.contains { $0.hasPrefix(path.0) } }.map(\.1)
        if !shown.isEmpty { notes.append(shown.joined(separator: "; ") + ".") }
        return notes
    }

    private func panels(_ row: Row, top: Double) -> [String] {
        let octets = Array(Set(row.series.flatMap(\.points).map(\.octets))).sorted()
        let sizes = Axis(logarithmic: octets)
        let rates = Axis(linearUpTo: row.series.flatMap(\.points).map { $0.bitsPerSecond / 1e9 }.max() ?? 1)
        let costs = Axis(decades: row.series.flatMap(\.points).map(\.cyclesPerOctet))
        let caption =
            switch row.direction {
            case "encap": "encapsulation"
            case "decap": "decapsulation"
            default: "both ways in one worker"
            }
        let second = BenchPlot.left + BenchPlot.panelWidth + BenchPlot.gap
        return panel(
            "Throughput, \(caption)", "inner Gbit/s", sizes, rates, x: BenchPlot.left, y: top + 26,
            row.series.map { series in (series.name, series.points.map { ($0.octets, $0.bitsPerSecond / 1e9) }) })
            + panel(
                "Processor cycles an octet, \(caption)", "TSC cycles an inner octet", sizes, costs, x: second,
                y: top + 26,
                row.series.map { series in (series.name, series.points.map { ($0.octets, $0.cyclesPerOctet) }) }
            )
    }

    private func panel(
        _ title: String, _ unit: String, _ sizes: Axis, _ values: Axis, x: Double, y: Double,
        _ series: [(name: String, points: [(Double, Double)])]
    ) -> [String] {
        let (width, height) = (BenchPlot.panelWidth, BenchPlot.panelHeight)
        func across(_ value: Double) -> Double { x + sizes.place(value) * width }
        func up(_ value: Double) -> Double { y + height - values.place(value) * height }
        var lines = [text(title, x: x, y: y - 12, size: 14, weight: "bold")]
        for tick in values.ticks {
            lines.append(line(x, up(tick), x + width, up(tick), color: "#ddd"))
            lines.append(text(Axis.label(tick), x: x - 8, y: up(tick) + 4, size: 12, anchor: "end"))
        }
        // A label that would run into the one before stands lower; into that too, and it is left out.
        var ends = [-Double.infinity, -Double.infinity]
        for tick in sizes.ticks {
            let label = Axis.label(tick), half = Double(label.count) * 4 + 3
            let row = ends.firstIndex { $0 <= across(tick) - half }
            let length = Double(row ?? 0) * 13 + 5
            lines.append(line(across(tick), y + height, across(tick), y + height + length, color: "#222"))
            guard let row else { continue }
            ends[row] = across(tick) + half
            lines.append(text(label, x: across(tick), y: y + height + length + 14, size: 12, anchor: "middle"))
        }
        lines.append(line(x, y + height, x + width, y + height, color: "#222"))
        lines.append(line(x, y, x, y + height, color: "#222"))
        lines.append(
            text("inner packet, octets (logarithmic)", x: x + width / 2, y: y + height + 50, size: 12, anchor: "middle")
        )
        let (labelX, labelY) = (x - 46, y + height / 2)
        lines.append(
            "<g transform=\"rotate(-90 \(number(labelX)) \(number(labelY)))\">"
                + text(
                    unit + (values.isLogarithmic ? " (logarithmic)" : ""), x: labelX, y: labelY, size: 12,
                    anchor: "middle")
                + "</g>")
        for (name, points) in series {
            let style = style(name)
            let path = points.map { "\(number(across($0.0))),\(number(up($0.1)))" }.joined(separator: " ")
            lines.append(
                "<polyline points=\"\(path)\" fill=\"none\" stroke=\"\(style.color)\" stroke-width=\"2\""
                    + (style.dashes.isEmpty ? "" : " stroke-dasharray=\"\(style.dashes)\"") + "/>")
            lines += points.map { marker(style, across($0.0), up($0.1)) }
        }
        return lines
    }

    private func legend(top: Double) -> [String] {
        names.enumerated().flatMap { index, name -> [String] in
            let x = BenchPlot.left + Double(index % 4) * 250, y = top + Double(index / 4) * 24
            let style = style(name)
            return [
                "<line x1=\"\(number(x))\" y1=\"\(number(y))\" x2=\"\(number(x + 40))\" y2=\"\(number(y))\" "
                    + "stroke=\"\(style.color)\" stroke-width=\"2\""
                    + (style.dashes.isEmpty ? "" : " stroke-dasharray=\"\(style.dashes)\"") + "/>",
                marker(style, x + 20, y), text(name, x: x + 48, y: y + 4, size: 13),
            ]
        }
    }

    // MARK: Marks

    private func marker(_ style: Style, _ x: Double, _ y: Double) -> String {
        let corners: [(Double, Double)]
        switch style.marker {
        case .circle: return "<circle cx=\"\(number(x))\" cy=\"\(number(y))\" r=\"4\" fill=\"\(style.color)\"/>"
        case .square: corners = [(-4, -4), (4, -4), (4, 4), (-4, 4)]
        case .triangle: corners = [(0, -5), (5, 4), (-5, 4)]
        case .diamond: corners = [(0, -6), (5, 0), (0, 6), (-5, 0)]
        }
        let points = corners.map { "\(number(x + $0.0)),\(number(y + $0.1))" }.joined(separator: " ")
        return "<polygon points=\"\(points)\" fill=\"\(style.color)\"/>"
    }

    private func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, color: String) -> String {
        "<line x1=\"\(number(x1))\" y1=\"\(number(y1))\" x2=\"\(number(x2))\" y2=\"\(number(y2))\" "
            + "stroke=\"\(color)\"/>"
    }

    private func text(
        _ text: String, x: Double, y: Double, size: Int, color: String = "#222", anchor: String = "start",
        weight: String = "normal"
    ) -> String {
        "<text x=\"\(number(x))\" y=\"\(number(y))\" font-size=\"\(size)\" font-weight=\"\(weight)\" fill=\"\(color)\" "
            + "text-anchor=\"\(anchor)\">\(BenchPlot.escape(text))</text>"
    }

    private func number(_ value: Double) -> String { String(format: "%.1f", value) }

    /// Text between tags: markup in it is shown and not obeyed, and what XML 1.0 can't hold is left out.
    static func escape(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            case "\t", "\n", "\r": escaped += " "
            default:
                let isAllowed = scalar.value >= 0x20 && scalar.value != 0xfffe && scalar.value != 0xffff
                if isAllowed { escaped.unicodeScalars.append(scalar) }
            }
        }
        return escaped
    }
}

/// Where values lie along one side of a panel.
struct Axis {
    /// What is labelled.
    let ticks: [Double]
    let isLogarithmic: Bool
    private let from: Double
    private let to: Double

    /// Labelled where something was measured; a doubling is as far everywhere.
    init(logarithmic values: [Double]) {
        isLogarithmic = true
        let (least, greatest) = (values.first ?? 1, values.last ?? 1)
        let (from, to) = (least / 1.15, greatest * 1.15)
        (self.from, self.to) = (from, to)
        ticks = values
    }

    /// From 0 to a round number above `greatest`.
    init(linearUpTo greatest: Double) {
        isLogarithmic = false
        let limit = max(greatest, 1e-9)
        let power = pow(10, floor(log10(limit)))
        let step = [0.1, 0.2, 0.25, 0.5, 1, 2].map { $0 * power }.first { limit / $0 <= 6 } ?? power
        let count = Int((limit / step).rounded(.up))
        ticks = (0...count).map { Double($0) * step }
        (from, to) = (0, Double(count) * step)
    }

    /// From a 1, 2 or 5 below all to one above.
    init(decades values: [Double]) {
        isLogarithmic = true
        let positive = values.filter { $0 > 0 }
        let (least, greatest) = (positive.min() ?? 0.1, positive.max() ?? 1)
        let all = (-9...9).flatMap { power in [1.0, 2, 5].map { $0 * pow(10, Double(power)) } }
        let first = all.last { $0 <= least } ?? least, last = all.first { $0 >= greatest } ?? greatest
        (from, to) = (first, max(last, first * 2))
        ticks = all.filter { $0 >= first && $0 <= max(last, first * 2) }
    }

    /// 0 at the start, 1 at the end.
    func place(_ value: Double) -> Double {
        guard isLogarithmic else { return (value - from) / (to - from) }
        return log(max(value, from) / from) / log(to / from)
    }

    /// As many digits as are wanted.
    static func label(_ value: Double) -> String { String(format: "%g", (value * 1e6).rounded() / 1e6) }
}

extension BenchReport {
    /// Draws the rows of one size each into a file. Throws `ReplayError.reportUnwritable`.
    public func plot(to path: String) throws {
        try FileOutput.write(BenchPlot(rows, subtitle: BenchMachine.description).svg, to: path)
    }
}
