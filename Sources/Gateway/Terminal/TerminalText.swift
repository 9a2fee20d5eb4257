/// Text as a terminal shows it: how many columns it takes, and how it is cut to fewer.
enum TerminalText {
    /// Columns of a terminal that `text` takes: characters of East Asian scripts and pictures take two, marks upon
    /// others none.
    static func columns(_ text: some StringProtocol) -> Int { text.reduce(0) { $0 + columns($1) } }

    /// `text` in so many columns at most; what is cut ends with "…".
    static func cut(_ text: String, to columns: Int) -> String {
        guard columns > 0 else { return "" }
        // Most are short: no character takes more columns than octets.
        guard text.utf8.count > columns, TerminalText.columns(text) > columns else { return text }
        var room = columns - 1
        let kept = text.prefix { character in
            room -= TerminalText.columns(character)
            return room >= 0
        }
        return kept + "…"
    }

    /// `text` with blanks up to so many columns, before it or behind it; a longer one stays as it is.
    static func padded(_ text: String, to columns: Int, isNumber: Bool) -> String {
        let blanks = String(repeating: " ", count: max(0, columns - TerminalText.columns(text)))
        return isNumber ? blanks + text : text + blanks
    }

    /// Without blanks at the end.
    static func trimmed(_ text: String) -> String {
        String(text.prefix(upTo: text.lastIndex { $0 != " " }.map(text.index(after:)) ?? text.startIndex))
    }

    /// Without what a terminal would obey: control characters, and those that turn the direction of what follows.
    static func presentable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    switch scalar.properties.generalCategory {
                    case .control, .format, .lineSeparator, .paragraphSeparator: "\u{fffd}"
                    default: scalar
                    }
                }))
    }

    private static func columns(_ character: Character) -> Int {
        if character.isASCII { return 1 }
        return character.unicodeScalars.map(columns).max() ?? 0
    }

    private static func columns(_ scalar: Unicode.Scalar) -> Int {
        switch scalar.properties.generalCategory {
        // U+FE0F makes a picture of what stands before it.
        case .nonspacingMark, .enclosingMark: return scalar.value == 0xfe0f ? 2 : 0
        default: return scalar.properties.isEmojiPresentation || isWide(scalar.value) ? 2 : 1
        }
    }

    /// Unicode's East_Asian_Width W and F, by blocks.
    private static func isWide(_ value: UInt32) -> Bool {
        switch value {
        case 0x1100...0x115f, 0x2e80...0x303e, 0x3041...0xa4cf, 0xa960...0xa97f, 0xac00...0xd7a3, 0xf900...0xfaff,
            0xfe30...0xfe6f, 0xff00...0xff60, 0xffe0...0xffe6, 0x1b000...0x1b2ff, 0x1f300...0x1f64f, 0x1f680...0x1f6ff,
            0x1f900...0x1f9ff, 0x20000...0x3fffd:
            true
        default: false
        }
    }
}
