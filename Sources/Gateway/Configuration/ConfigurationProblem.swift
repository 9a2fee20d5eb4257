/// One thing that is wrong, or unwise, in a site file, with the words that help to mend it.
///
/// Prints as compilers do, so that editors jump to it:
/// `site.toml:23: tunnel[0].outbound.spi: SPI 255 is reserved (RFC 4303 section 2.1); hint: use 256 or above`.
/// No text of it holds a key: whatever looks like one is replaced when the problem is made.
public struct ConfigurationProblem: Hashable, Sendable {
    /// How bad it is.
    public enum Severity: String, Sendable, Encodable {
        /// The site can't be used.
        case error
        /// The site can be used and somebody should look at this first.
        case warning
        /// Worth knowing.
        case note
    }

    /// How bad it is.
    public let severity: Severity
    /// The site file, as the caller named it.
    public let file: String
    /// The line in the file, from 1; nil when the problem has none.
    public let line: Int?
    /// The key, "tunnel[0].outbound.spi"; empty when it is about the file as a whole.
    public let path: String
    /// What is wrong.
    public let message: String
    /// What to do; may be empty.
    public let hint: String
    /// What the process ends with when this is all that is wrong.
    let exitCode: ExitCode

    init(
        _ severity: Severity, file: String, line: Int?, path: String, message: String, hint: String,
        exitCode: ExitCode = .configuration
    ) {
        self.severity = severity
        self.file = file
        self.line = line
        self.path = ConfigurationProblem.presentable(path)
        self.message = ConfigurationProblem.presentable(message)
        self.hint = ConfigurationProblem.presentable(hint)
        self.exitCode = exitCode
    }

    /// Text that may be shown: no run of hexadecimal digits long enough to be a part of a key worth having, no control
    /// characters (the file may hold escape sequences for the reader's terminal), and no more than a screen of it.
    static func presentable(_ text: String) -> String {
        if isPlain(text) { return text }
        var result = String.UnicodeScalarView()
        var run = String.UnicodeScalarView()
        func flush() {
            result.append(contentsOf: run.count >= longestHexadecimalRun ? "…".unicodeScalars : run)
            run.removeAll(keepingCapacity: true)
        }
        for scalar in text.unicodeScalars {
            if scalar.properties.isASCIIHexDigit {
                run.append(scalar)
                continue
            }
            flush()
            guard result.count < longestText else { return String(result) + "…" }
            switch scalar.properties.generalCategory {
            case .control, .format, .privateUse, .lineSeparator, .paragraphSeparator: result.append("\u{fffd}")
            default: result.append(scalar)
            }
        }
        flush()
        return String(result)
    }

    /// Whether all of `text` may be shown as it is; most texts are ASCII and short.
    private static func isPlain(_ text: String) -> Bool {
        guard text.utf8.count <= longestText else { return false }
        var run = 0
        for octet in text.utf8 {
            switch octet {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
                UInt8(ascii: "A")...UInt8(ascii: "F"):
                run += 1
                if run >= longestHexadecimalRun { return false }
            case 0x20...0x7e: run = 0
            default: return false
            }
        }
        return true
    }

    /// 11 digits of a key are 44 bits of 128; no name, SPI or address has a longer run.
    private static let longestHexadecimalRun = 12
    private static let longestText = 600
}

extension ConfigurationProblem: CustomStringConvertible {
    /// The line to print; an error has no word of its severity in front, as with compilers that end in vain.
    public var description: String {
        var text = line.map { "\(file):\($0): " } ?? "\(file): "
        if severity != .error { text += "\(severity.rawValue): " }
        if !path.isEmpty { text += "\(path): " }
        text += message
        if !hint.isEmpty { text += "; hint: \(hint)" }
        return text
    }
}

/// A site file that can't be used, with everything that is wrong with it.
public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    /// Errors, and the warnings and notes found on the way, in the file's order.
    public let problems: [ConfigurationProblem]

    /// What the process ends with: 78 as soon as the text itself is wrong, otherwise 66 or 77 by the file that is
    /// missing.
    public var exitCode: ExitCode {
        let codes = problems.filter { $0.severity == .error }.map(\.exitCode)
        return codes.contains(.configuration) ? .configuration : codes.first ?? .configuration
    }

    /// One problem a line.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// Collects the problems of one reading. Not shared.
final class ProblemList {
    private let file: String
    private let lines: LineIndex
    private var contents = Contents()

    /// Problems, and how many there were.
    private struct Contents {
        var problems: [ConfigurationProblem] = []
        var omitted = 0
        var errorCount = 0
    }

    var errorCount: Int { contents.errorCount }

    /// More than anybody reads; a file of a million mistakes must not become a report of gigabytes.
    private static let limit = 500

    init(file: String, lines: LineIndex) {
        self.file = file
        self.lines = lines
    }

    /// What `read` makes of each share of `0..<count`, as `Shares.map` does, each with a list of its own; what these
    /// have at the end is put behind what is here, in order.
    func inShares<Result: Sendable>(
        of count: Int, smallest: Int = 512, most: Int = Shares.processors, _ read: (Range<Int>, ProblemList) -> Result
    ) -> [Result] {
        let shares = Shares.map(count, smallest: smallest, most: most) { share in
            let own = ProblemList(file: file, lines: lines)
            return (result: read(share, own), contents: own.contents)
        }
        for share in shares { add(share.contents) }
        return shares.map(\.result)
    }

    private func add(_ share: Contents) {
        let room = ProblemList.limit - contents.problems.count
        contents.problems += share.problems.prefix(room)
        contents.omitted += share.omitted + max(0, share.problems.count - room)
        contents.errorCount += share.errorCount
    }

    /// Texts are made only for a problem that is listed: there may be millions that are not.
    func error(
        _ path: @autoclosure () -> String, _ message: @autoclosure () -> String, hint: @autoclosure () -> String,
        exitCode: ExitCode = .configuration
    ) {
        contents.errorCount += 1
        add(.error, path, message, hint, exitCode)
    }

    func warning(
        _ path: @autoclosure () -> String, _ message: @autoclosure () -> String, hint: @autoclosure () -> String
    ) { add(.warning, path, message, hint, .ok) }

    func note(
        _ path: @autoclosure () -> String, _ message: @autoclosure () -> String, hint: @autoclosure () -> String
    ) { add(.note, path, message, hint, .ok) }

    /// The line that a problem at `path` is told with.
    func line(of path: String) -> Int? { lines.line(of: path) }

    private func add(
        _ severity: ConfigurationProblem.Severity, _ path: () -> String, _ message: () -> String, _ hint: () -> String,
        _ code: ExitCode
    ) {
        guard contents.problems.count < ProblemList.limit else {
            contents.omitted += 1
            return
        }
        let path = path()
        contents.problems.append(
            ConfigurationProblem(
                severity, file: file, line: lines.line(of: path), path: path, message: message(), hint: hint(),
                exitCode: code))
    }

    /// In the order of the file; what has no line comes last.
    var sorted: [ConfigurationProblem] {
        let problems = contents.problems
        let order = problems.indices.sorted { left, right in
            (problems[left].line ?? .max, left) < (problems[right].line ?? .max, right)
        }
        var result = order.map { problems[$0] }
        if contents.omitted > 0 {
            result.append(
                ConfigurationProblem(
                    errorCount > 0 ? .error : .note, file: file, line: nil, path: "",
                    message: "\(contents.omitted) further problems are not listed", hint: "mend these first"))
        }
        return result
    }
}
