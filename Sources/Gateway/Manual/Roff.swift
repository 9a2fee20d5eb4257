/// A manual page in the macros of man(7), put together paragraph by paragraph.
public struct Roff: Sendable {
    /// The page so far.
    public private(set) var text: String

    /// A page that is called `name` in `section` and does `what`.
    public init(name: String, section: Int, what: String) {
        text = ".TH \(Roff.escaped(name.uppercased())) \(section) \"\" \"vpn-gw \(SoftwareVersion.text)\"\n"
        heading("name")
        text += "\(Roff.escaped(name)) \\- \(Roff.escaped(what))\n"
    }

    /// Begins a section.
    public mutating func heading(_ title: String) { text += ".SH \"\(Roff.escaped(title.uppercased()))\"\n" }

    /// Begins a part of a section.
    public mutating func subheading(_ title: String) { text += ".SS \"\(Roff.escaped(title))\"\n" }

    /// A paragraph.
    public mutating func paragraph(_ words: String) {
        guard !words.isEmpty else { return }
        text += ".PP\n" + Roff.lines(words)
    }

    /// A term, what it is, and a line as it might stand in a file.
    public mutating func term(_ name: String, _ words: String, example: String? = nil) {
        text += ".TP\n.B \"\(Roff.escaped(name))\"\n" + Roff.lines(words.isEmpty ? " " : words)
        if let example { text += ".br\n" + Roff.lines(example) }
    }

    /// Text that stays as it is.
    public mutating func verbatim(_ words: String) { text += ".PP\n.EX\n" + Roff.lines(words) + ".EE\n" }

    /// Each line of its own, none of them taken for a request.
    private static func lines(_ words: String) -> String {
        words.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            let escaped = escaped(String(line))
            return (escaped.hasPrefix(".") || escaped.hasPrefix("'") ? "\\&" : "") + escaped + "\n"
        }.joined()
    }

    /// Quotes are a macro's argument's end, a hyphen is a minus that can be pasted.
    private static func escaped(_ words: String) -> String {
        words.replacing("\\", with: "\\e").replacing("-", with: "\\-").replacing("\"", with: "\\(dq")
    }
}
