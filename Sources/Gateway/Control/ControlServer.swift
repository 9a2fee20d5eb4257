import Glibc
import IPsec
import Logging

/// The control socket of a running gateway, and `/metrics` beside it.
public final class ControlServer: Sendable {
    private let server: HTTPServer
    private let metrics: HTTPServer?
    private let socket: ControlSocket
    /// Where metrics are served; nil when their address was taken or there was none.
    var metricsPort: Int? { metrics?.port }

    private init(server: HTTPServer, metrics: HTTPServer?, socket: ControlSocket) {
        self.server = server
        self.metrics = metrics
        self.socket = socket
    }

    /// Starts to serve.
    ///
    /// - Parameters:
    ///   - socketPath: of the Unix socket.
    ///   - metricsAddress: "127.0.0.1:9464"; when it can't be had, a warning is logged and the gateway does without.
    ///   - name: the gateway's.
    ///   - target: what is asked and changed.
    ///   - logger: is told when there are no metrics.
    /// - Throws: `ControlSocketError`.
    public static func start(
        socketPath: String, metricsAddress: String?, name: String, target: any ControlTarget, logger: Logger
    ) async throws -> ControlServer {
        try await start(
            socketPath: socketPath, metricsAddress: metricsAddress, name: name, target: target, logger: logger,
            limits: HTTPLimits())
    }

    static func start(
        socketPath: String, metricsAddress: String?, name: String, target: any ControlTarget, logger: Logger,
        limits: HTTPLimits
    ) async throws -> ControlServer {
        let socket = try ControlSocket(path: socketPath)
        let turnstile = Turnstile()
        let server: HTTPServer
        do {
            server = try await HTTPServer.start(
                socket: socket.descriptor, limits: limits,
                responder: ControlAPI(target: target, name: name, ownUser: geteuid(), turnstile: turnstile))
        } catch {
            socket.remove()
            throw error
        }
        var metrics: HTTPServer?
        if let metricsAddress {
            do {
                metrics = try await startMetrics(
                    metricsAddress, responder: MetricsAPI(target: target, name: name, turnstile: turnstile),
                    limits: limits)
            } catch {
                logger.warning("no metrics: \(metricsAddress) can't be listened on: \(error)")
            }
        }
        return ControlServer(server: server, metrics: metrics, socket: socket)
    }

    /// Nil for an address that is none; site files are checked for that.
    private static func startMetrics(
        _ address: String, responder: MetricsAPI, limits: HTTPLimits
    ) async throws -> HTTPServer? {
        guard let (host, port) = endpoint(address) else { return nil }
        return try await HTTPServer.start(
            host: host.description, port: Int(port), limits: limits, responder: responder)
    }

    /// The parts of "127.0.0.1:9464" or "[::1]:9464"; nil for anything else.
    static func endpoint(_ text: String) -> (host: IPAddress, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        let name = text[..<colon], isBracketed = name.hasPrefix("[") && name.hasSuffix("]")
        guard let host = IPAddress(isBracketed ? name.dropFirst().dropLast() : name),
            (host.family == .v6) == isBracketed
        else { return nil }
        return (host, port)
    }

    /// Closes every connection and takes the socket away, unless it is another's by now.
    public func stop() async {
        // First, so that nobody finds a socket that does not answer.
        socket.remove()
        await server.stop()
        await metrics?.stop()
    }
}
