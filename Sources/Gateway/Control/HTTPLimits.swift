import NIOCore

/// What one client can hold of us, whatever it sends or leaves unread.
struct HTTPLimits: Sendable {
    /// At once; one more is told so and closed.
    var connections = 32
    /// Request line and header fields.
    var headOctets = 8 << 10
    /// A request's body.
    var bodyOctets = 64 << 10
    /// Without a request.
    var idleTime = TimeAmount.seconds(30)
    /// From a request's first octet to its last.
    var requestTime = TimeAmount.seconds(10)
    /// For a client to take an answer.
    var answerTime = TimeAmount.seconds(10)
}
