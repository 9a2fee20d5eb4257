import NIOHTTP1

/// A request that has come in whole.
struct HTTPRequest: Sendable {
    var method: HTTPMethod
    /// Without the query.
    var path: String
    /// Behind the "?", as it came; nil when there is none.
    var query: String?
    /// The media types that the client takes, as it says; empty when it does not.
    var accept = ""
    /// Nil over TCP.
    var peer: ControlPeer?
}

/// What answers requests.
protocol HTTPResponder: Sendable {
    /// Takes a request apart and returns the work that answers it. Runs on the event loop, so it does not wait. The
    /// body's octets, which may hold keys, are wiped when it returns.
    func begin(_ request: HTTPRequest, body: borrowing [UInt8]) -> @Sendable () async -> ControlAnswer
}
