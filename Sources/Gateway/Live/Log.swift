import Logging

/// Where the gateway's own words go.
public enum Log {
    /// A logger to stderr, one line a message.
    public static func makeLogger() -> Logger {
        var logger = Logger(label: "vpn-gw") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .info
        return logger
    }
}
