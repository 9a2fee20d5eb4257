import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// HTTP/1.1 for a few clients, bounded by `HTTPLimits`. All connections of all servers share one thread, which never
/// waits for any of them, and stays for the process's life: work for a client may end after its server was stopped.
final class HTTPServer: Sendable {
    private typealias Clients = NIOLoopBoundBox<[ObjectIdentifier: any Channel]>

    private static let threads = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private let listener: any Channel
    private let clients: Clients

    private init(listener: any Channel, clients: Clients) {
        self.listener = listener
        self.clients = clients
    }

    /// The TCP port it listens on; nil for a Unix socket.
    var port: Int? { listener.localAddress?.port }

    /// Serves connections of `socket`, a Unix socket that is bound and does not listen yet, with each peer's
    /// credentials. Takes the descriptor over, also when it throws.
    static func start(
        socket: CInt, limits: HTTPLimits, responder: any HTTPResponder
    ) async throws -> HTTPServer {
        let clients = Clients.makeBoxSendingValue([:], eventLoop: threads.next())
        let bootstrap = bootstrap(knowsPeers: true, limits: limits, responder: responder, clients)
        return HTTPServer(listener: try await bootstrap.withBoundSocket(socket).get(), clients: clients)
    }

    /// Serves TCP connections to `host` (an address) and `port` (0: any that is free).
    static func start(
        host: String, port: Int, limits: HTTPLimits, responder: any HTTPResponder
    ) async throws -> HTTPServer {
        let clients = Clients.makeBoxSendingValue([:], eventLoop: threads.next())
        let bootstrap = bootstrap(knowsPeers: false, limits: limits, responder: responder, clients)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        return HTTPServer(listener: try await bootstrap.bind(host: host, port: port).get(), clients: clients)
    }

    private static func bootstrap(
        knowsPeers: Bool, limits: HTTPLimits, responder: any HTTPResponder, _ clients: Clients
    ) -> ServerBootstrap {
        ServerBootstrap(group: clients.eventLoop)
            .serverChannelOption(.backlog, value: Int32(limits.connections))
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                guard clients.value.count < limits.connections else { return refuse(channel) }
                clients.value[ObjectIdentifier(channel)] = channel
                channel.closeFuture.whenComplete { _ in clients.value[ObjectIdentifier(channel)] = nil }
                return peer(of: channel, isKnown: knowsPeers).flatMapThrowing { peer in
                    try install(on: channel, limits: limits, responder: responder, peer: peer)
                }
            }
    }

    /// Takes no more clients and closes those that are there.
    func stop() async {
        try? await listener.close()
        let closed = clients.eventLoop.submit { [clients] in
            for client in clients.value.values { client.close(promise: nil) }
        }
        try? await closed.get()
    }

    private static func install(
        on channel: any Channel, limits: HTTPLimits, responder: any HTTPResponder, peer: ControlPeer?
    ) throws {
        let octets = RequestOctets(limit: limits.headOctets + limits.bodyOctets)
        var decoder = NIOHTTPDecoderLimitConfiguration()
        decoder.maxHeaderFieldSize = limits.headOctets
        decoder.maxHeaderListSize = limits.headOctets
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(octets)
        try pipeline.addHandler(HTTPResponseEncoder())
        try pipeline.addHandler(ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: decoder)))
        try pipeline.addHandler(
            HTTPConnection(limits: limits, responder: responder, octets: octets, peer: peer))
    }

    /// The credentials that the kernel keeps of whoever connected.
    private static func peer(of channel: any Channel, isKnown: Bool) -> EventLoopFuture<ControlPeer?> {
        guard isKnown else { return channel.eventLoop.makeSucceededFuture(nil) }
        guard let provider = channel as? any SocketOptionProvider else {
            return channel.eventLoop.makeFailedFuture(ChannelError.operationUnsupported)
        }
        let credentials: EventLoopFuture<UnixSocketAddress.Credentials> = provider.unsafeGetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
        return credentials.map { ControlPeer($0) }
    }

    /// One client too many: it is told in what its socket takes at once, and goes.
    private static func refuse(_ channel: any Channel) -> EventLoopFuture<Void> {
        let answer = ControlAnswer.refusal(
            .serviceUnavailable, "too many clients at once", hint: "try again", exitCode: .unavailable)
        let head = """
            HTTP/1.1 503 Service Unavailable\r
            content-type: application/json\r
            content-length: \(answer.body.count)\r
            connection: close\r
            \r

            """
        return channel.eventLoop.makeCompletedFuture {
            let handler = Farewell(ByteBuffer(bytes: Array(head.utf8) + answer.body))
            try channel.pipeline.syncOperations.addHandler(handler)
        }
    }
}

/// Says one thing and closes.
private final class Farewell: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let words: ByteBuffer

    init(_ words: ByteBuffer) { self.words = words }

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(words), promise: nil)
        context.close(promise: nil)
    }
}
