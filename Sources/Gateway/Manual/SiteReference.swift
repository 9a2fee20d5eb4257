/// Every key of a site file, from the definitions that the reader judges files by.
public enum SiteReference {
    private struct Section {
        /// As a file writes it: "[[tunnel.child]]".
        var title: String
        var help: String
        var keys: [ConfigurationKey]
    }

    /// Every table, the file's order, each after the one that it is in.
    private static var sections: [Section] { sections(of: .site, path: "") }

    private static func sections(of schema: ConfigurationSchema, path: String) -> [Section] {
        schema.keys.flatMap { key -> [Section] in
            let path = path.isEmpty ? key.name : "\(path).\(key.name)"
            switch key.kind {
            case .table(let inner): return section("[\(path)]", key, inner, path)
            case .tables(let inner): return section("[[\(path)]]", key, inner, path)
            default: return []
            }
        }
    }

    private static func section(
        _ title: String, _ key: ConfigurationKey, _ inner: ConfigurationSchema, _ path: String
    ) -> [Section] {
        var help = key.help
        if key.isRequired { help += "; required" }
        let keys = inner.keys.filter {
            if case .table = $0.kind { false } else if case .tables = $0.kind { false } else { true }
        }
        return [Section(title: title, help: help, keys: keys)] + sections(of: inner, path: path)
    }

    /// "an integer from 576 to 9216, required".
    private static func type(_ key: ConfigurationKey) -> String {
        var words = key.kind.name
        switch key.kind {
        case .integer(let range) where range.lowerBound > Int.min && range.upperBound < Int.max:
            words = "an integer from \(range.lowerBound) to \(range.upperBound)"
        case .integer(let range) where range.lowerBound > Int.min: words = "an integer from \(range.lowerBound) on"
        case .choice(let choices): words = choices.map { "\"\($0)\"" }.joined(separator: " or ")
        default: break
        }
        if key.isRequired { words += ", required" }
        return words
    }

    private static let introduction = """
        A site file is TOML. Unknown keys are errors, key names end in their unit, and `vpn-gw check` tells every \
        problem at once with its line. Tables in two pairs of brackets may stand any number of times.
        """

    /// vpn-gw-site(5).
    public static var manual: String {
        var page = Roff(name: "vpn-gw-site", section: 5, what: "the site file of vpn-gw")
        page.heading("description")
        page.paragraph(introduction)
        page.heading("tables and keys")
        for section in sections {
            page.subheading(section.title)
            page.paragraph(section.help + ".")
            for key in section.keys { page.term(key.name, "\(key.help) (\(type(key))).", example: key.example) }
        }
        page.heading("files")
        page.term("/etc/vpn-gw/site.toml", "the site that vpn-gw.service runs")
        page.term("/usr/share/doc/vpn-gw/examples/", "whole sites")
        page.heading("see also")
        page.paragraph("vpn-gw(1)")
        return page.text
    }

    /// The same as Markdown, for docs/SITE.md.
    public static var markdown: String {
        // A bar ends a cell.
        func cell(_ text: String) -> String { text.replacing("|", with: "\\|") }
        var lines = [
            "# The site file, key by key", "", introduction,
            "This page follows from the definitions that files are judged by; so does vpn-gw-site(5).", "",
        ]
        for section in sections {
            lines += ["## `\(section.title)`", section.help + ".", ""]
            if section.keys.isEmpty { continue }
            lines += ["| key | what | for example |", "|---|---|---|"]
            for key in section.keys {
                lines.append("| `\(key.name)` | \(cell(key.help)): \(cell(type(key))) | `\(cell(key.example))` |")
            }
            lines.append("")
        }
        return lines.joined(separator: "\n")
    }
}
