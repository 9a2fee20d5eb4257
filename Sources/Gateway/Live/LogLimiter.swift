import Logging

/// Lets one message of a kind through in a while and says how many it kept back.
struct LogLimiter {
    private let interval: Duration
    private var last: [String: (at: ContinuousClock.Instant, suppressed: Int)] = [:]

    init(interval: Duration) { self.interval = interval }

    /// Logs `message` unless one of the same kind was logged less than an interval ago. Says whether it did.
    @discardableResult
    mutating func log(_ level: Logger.Level, _ kind: String, _ message: String, to logger: Logger) -> Bool {
        let now = ContinuousClock.now
        guard let previous = last[kind] else {
            last[kind] = (now, 0)
            logger.log(level: level, "\(message)")
            return true
        }
        guard now - previous.at >= interval else {
            last[kind]?.suppressed += 1
            return false
        }
        let more = previous.suppressed == 0 ? "" : " (and \(previous.suppressed) times more)"
        logger.log(level: level, "\(message)\(more)")
        last[kind] = (now, 0)
        return true
    }
}
