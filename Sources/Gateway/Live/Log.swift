import Foundation
import Logging

/// Where the gateway's own words go.
public enum Log {
    /// How they look.
    public enum Format: String, Sendable, CaseIterable {
        /// A line for people.
        case text
        /// An object a line: `time`, `level`, `message`.
        case json
    }

    /// A logger to stderr, one line a message. Where stderr is the journal, each line begins with its priority as
    /// sd-daemon(3) has it, and the journal knows the time and the program.
    public static func makeLogger(_ format: Format = .text) -> Logger {
        let handler = LineLogHandler(format: format, isJournal: isJournal) { StandardError.write($0) }
        var logger = Logger(label: "vpn-gw") { _ in handler }
        logger.logLevel = .info
        return logger
    }

    /// Whether stderr is the stream that JOURNAL_STREAM names by device and inode: an environment is handed on to
    /// programs whose stderr is another.
    private static var isJournal: Bool {
        var status = stat()
        guard unsafe fstat(STDERR_FILENO, &status) == 0 else { return false }
        return isJournal(ProcessInfo.processInfo.environment["JOURNAL_STREAM"], status.st_dev, status.st_ino)
    }

    static func isJournal(_ stream: String?, _ device: UInt, _ inode: UInt) -> Bool { stream == "\(device):\(inode)" }
}

/// Writes messages as lines.
struct LineLogHandler: LogHandler {
    let format: Log.Format
    let isJournal: Bool
    let write: @Sendable (String) -> Void
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(format: Log.Format, isJournal: Bool, write: @escaping @Sendable (String) -> Void) {
        self.format = format
        self.isJournal = isJournal
        self.write = write
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { log(event.level, "\(event.message)", at: Date()) }

    func log(_ level: Logger.Level, _ message: String, at time: Date) {
        let prefix = isJournal ? "<\(LineLogHandler.priority(level))>" : ""
        switch format {
        case .text:
            // Each line of a longer message is an entry of the journal, with its own priority.
            let head = isJournal ? "" : "\(time.formatted(.iso8601)) \(level) vpn-gw: "
            let lines = message.split(separator: "\n", omittingEmptySubsequences: true)
            write(lines.map { "\(prefix)\(head)\($0)\n" }.joined())
        case .json:
            let fields = ["time": time.formatted(.iso8601), "level": level.rawValue, "message": message]
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            guard let data = try? encoder.encode(fields) else { return }
            write("\(prefix)\(String(decoding: data, as: UTF8.self))\n")
        }
    }

    /// syslog's number.
    private static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
