import Glibc

/// Where `vpn-gw show --watch` draws: the same place again on a terminal, one after the other elsewhere.
public struct ControlScreen: Sendable {
    private let isTerminal: Bool

    /// Of standard output.
    public init() { isTerminal = isatty(STDOUT_FILENO) == 1 }

    /// What to print to show `text` instead of the text before. On a terminal that is the text from its upper left
    /// corner, each line cleared behind its end and everything below it: nothing is blank in between, so nothing
    /// flickers. Lines that the terminal has no room for are left out.
    public func frame(_ text: String) -> String {
        isTerminal ? ControlScreen.frame(text, rows: ControlScreen.rows) : text
    }

    /// - Parameter rows: lines of the terminal; nil when it does not say.
    static func frame(_ text: String, rows: Int?) -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last == "" { lines.removeLast() }
        // The last line stays free for the cursor.
        if let rows, lines.count >= rows { lines.removeLast(lines.count - max(1, rows - 1)) }
        return "\u{1b}[H" + lines.map { "\($0)\u{1b}[K\n" }.joined() + "\u{1b}[J"
    }

    private static var rows: Int? {
        var size = winsize()
        guard unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0 else { return nil }
        return Int(size.ws_row)
    }
}
