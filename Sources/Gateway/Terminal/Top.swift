import Foundation

/// `vpn-gw top`: a gateway's summary on the terminal, again and again.
public struct Top: Sendable {
    /// The terminal that is not there.
    public struct NoTerminal: Error, CustomStringConvertible {
        /// What to do instead.
        public var description: String {
            "top draws on a terminal, and this is none: `vpn-gw show summary` prints the same once, with --json as well"
        }
    }

    private let client: ControlClient
    private let hasColor: Bool

    /// Asks by a client. `NO_COLOR` in `environment` that is not empty means no colour.
    public init(_ client: ControlClient, environment: [String: String] = ProcessInfo.processInfo.environment) {
        self.client = client
        hasColor = environment["NO_COLOR", default: ""].isEmpty
    }

    /// Runs until `q`, Ctrl-C or a signal. Throws `ControlClientError` when no gateway answers from the beginning, and
    /// `NoTerminal`.
    public func run() throws {
        guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else { throw NoTerminal() }
        var summary = try client.summary(), answeredAt = ContinuousClock.now, silence: String?
        let interruption = Interruption()
        guard let terminal = Terminal() else { throw NoTerminal() }
        var painted = "", askedAt = ContinuousClock.now
        while !interruption.isRequested {
            let size = Terminal.size
            var lines: [TopScreen.Line] = []
            if let silence {
                let seconds = Int((ContinuousClock.now - answeredAt).components.seconds)
                lines = TopScreen.lines(silent: silence, since: seconds)
            }
            lines += TopScreen.lines(of: summary, columns: size.columns, rows: size.rows - lines.count)
            let frame = TopScreen.frame(lines, columns: size.columns, rows: size.rows, hasColor: hasColor)
            if frame != painted { Terminal.write(frame) }
            painted = frame
            if let key = Terminal.key(within: 200), [3, 4, UInt8(ascii: "q"), UInt8(ascii: "Q")].contains(key) {
                break
            }
            guard ContinuousClock.now - askedAt >= .seconds(1) else { continue }
            askedAt = .now
            do throws(ControlClientError) {
                summary = try client.summary()
                (answeredAt, silence) = (.now, nil)
            } catch { silence = error.description }
        }
        _ = consume terminal
    }
}
