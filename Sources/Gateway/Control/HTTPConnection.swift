// One client of the control socket or of /metrics. In the order of a connection: who it is, a request within its time
// and size, one answer, then the next request. Nothing is read while an answer is made or written, so what a client can
// hold is one request and one answer.

import NIOCore
import NIOHTTP1

final class HTTPConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        /// Waits for a request, or for the rest of its head.
        case idle
        case receiving(HTTPRequestHead, [ByteBuffer], octets: Int)
        case answering
        case closed
    }

    private let limits: HTTPLimits
    private let responder: any HTTPResponder
    private let octets: RequestOctets
    private let peer: ControlPeer?
    private var state = State.idle
    private var deadline: Scheduled<Void>?
    /// After the answer: the client asked for it, or sent what can't be told apart from a next request.
    private var closesAfterAnswer = false

    init(limits: HTTPLimits, responder: any HTTPResponder, octets: RequestOctets, peer: ControlPeer?) {
        self.limits = limits
        self.responder = responder
        self.octets = octets
        self.peer = peer
    }

    // MARK: Reading

    func channelActive(context: ChannelHandlerContext) {
        context.fireChannelActive()
        waitForRequest(context)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        switch state {
        case .idle, .receiving: context.read()
        case .answering, .closed: break
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), state) {
        case (.head(let head), .idle): receive(head, context)
        case (.head, .answering):
            // Came with the request before it: the client may send it again on a connection of its own.
            closesAfterAnswer = true
        case (.body(let part), .receiving(let head, var parts, let octets)):
            let octets = octets + part.readableBytes
            parts.append(part)
            state = .receiving(head, parts, octets: octets)
            if octets > limits.bodyOctets { refuseBody(context) }
        case (.end, .receiving(let head, let parts, let octets)):
            answer(head, parts, octets, context)
        default: break
        }
    }

    private func receive(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let octets = head.headers.reduce(head.uri.utf8.count) { $0 + $1.name.utf8.count + $1.value.utf8.count + 4 }
        guard octets <= limits.headOctets else { return refuseHead(context) }
        state = .receiving(head, [], octets: 0)
        closesAfterAnswer = !head.isKeepAlive
        if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }), length > limits.bodyOctets {
            return refuseBody(context)
        }
        if head.headers.first(name: "expect")?.lowercased() == "100-continue" {
            let interim = HTTPResponseHead(version: .http1_1, status: .continue)
            context.writeAndFlush(wrapOutboundOut(.head(interim)), promise: nil)
        }
    }

    private func refuseHead(_ context: ChannelHandlerContext) {
        closesAfterAnswer = true
        write(
            .refusal(
                .requestHeaderFieldsTooLarge, "request line and header fields are longer than any this API takes",
                hint: "at most \(limits.headOctets) octets", exitCode: .usage), context)
    }

    private func refuseBody(_ context: ChannelHandlerContext) {
        closesAfterAnswer = true
        write(
            .refusal(
                .payloadTooLarge, "the body is longer than any this API takes",
                hint: "at most \(limits.bodyOctets) octets", exitCode: .usage), context)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch (event as? RequestOctets.Event, state) {
        case (.began, .idle): setDeadline(limits.requestTime, context)
        case (.tooMany, .idle): refuseHead(context)
        case (.tooMany, .receiving): refuseBody(context)
        default: break
        }
        if event as? ChannelEvent == .inputClosed {
            closesAfterAnswer = true
            switch state {
            case .idle, .receiving: close(context)
            case .answering, .closed: break
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The decoder stops for good after an error.
        closesAfterAnswer = true
        switch state {
        case .idle, .receiving:
            guard let error = error as? HTTPParserError else { return close(context) }
            if error == .headerOverflow { return refuseHead(context) }
            write(.refusal(.badRequest, "not HTTP/1.1", exitCode: .usage), context)
        case .answering:
            if !(error is HTTPParserError) { close(context) }
        case .closed: break
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        state = .closed
        context.fireChannelInactive()
    }

    // MARK: Answering

    private func answer(_ head: HTTPRequestHead, _ parts: [ByteBuffer], _ count: Int, _ context: ChannelHandlerContext)
    {
        state = .answering
        deadline?.cancel()
        let uri = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let request = HTTPRequest(
            method: head.method, path: uri.first.map(String.init) ?? "",
            query: uri.count == 2 ? String(uri[1]) : nil,
            accept: head.headers["accept"].joined(separator: ","), peer: peer)
        // Room for all of it, so that growing leaves no copies.
        var body: [UInt8] = []
        body.reserveCapacity(count)
        for part in parts {
            body.append(contentsOf: part.readableBytesView)
            SecretOctets.wipeShared(part)
        }
        let work = responder.begin(request, body: body)
        SecretOctets.wipe(&body)
        octets.finish()

        context.eventLoop.makeFutureWithTask { await work() }.assumeIsolated().whenSuccess { answer in
            self.write(answer, context, isHead: request.method == .HEAD)
        }
    }

    private func write(_ answer: ControlAnswer, _ context: ChannelHandlerContext, isHead: Bool = false) {
        if case .closed = state { return }
        state = .answering
        octets.finish()
        var headers = HTTPHeaders([
            ("content-type", answer.contentType), ("content-length", String(answer.body.count)),
            ("cache-control", "no-store"),
        ])
        if let allow = answer.allow { headers.add(name: "allow", value: allow) }
        for field in answer.fields { headers.add(name: field.name, value: field.value) }
        if closesAfterAnswer { headers.add(name: "connection", value: "close") }
        setDeadline(limits.answerTime, context)
        let head = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !isHead { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil) }
        let written = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: written)
        written.futureResult.assumeIsolated().whenComplete { result in
            if case .closed = self.state { return }
            guard case .success = result, !self.closesAfterAnswer else { return self.close(context) }
            self.waitForRequest(context)
        }
    }

    private func waitForRequest(_ context: ChannelHandlerContext) {
        state = .idle
        setDeadline(limits.idleTime, context)
        context.read()
    }

    // MARK: Time

    /// The one clock of the connection: whatever it waits for now must come within `time`.
    private func setDeadline(_ time: TimeAmount, _ context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: time) { self.expire(context) }
    }

    private func expire(_ context: ChannelHandlerContext) {
        guard case .receiving = state else { return close(context) }
        closesAfterAnswer = true
        write(.refusal(.requestTimeout, "the request did not come within its time", exitCode: .usage), context)
    }

    private func close(_ context: ChannelHandlerContext) {
        deadline?.cancel()
        state = .closed
        context.close(promise: nil)
    }
}
