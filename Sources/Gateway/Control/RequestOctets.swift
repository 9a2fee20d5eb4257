import NIOCore

/// The first handler of a connection: counts the octets of a request before anything parses them, says when one begins,
/// and wipes them when they have been used, since they may hold keys.
///
/// What it forwards is parsed in place, so the decoder's body parts lie in the same memory; those that don't (a decoder
/// that had to put pieces together) are wiped by whoever gets them.
final class RequestOctets: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    /// Told to the handlers behind.
    enum Event: Sendable {
        /// The first octets of a request have come.
        case began
        /// More have come than any request may have; these were not forwarded.
        case tooMany
    }

    private let limit: Int
    private var buffers: [ByteBuffer] = []
    private var count = 0
    private var isFinished = false
    private var isParsing = false

    /// - Parameter limit: octets of a request, head and body.
    init(limit: Int) { self.limit = limit }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        let isFirst = count == 0
        count += buffer.readableBytes
        buffers.append(buffer)
        if isFirst { context.fireUserInboundEventTriggered(Event.began) }
        guard count <= limit else {
            context.fireUserInboundEventTriggered(Event.tooMany)
            return wipe()
        }
        isParsing = true
        context.fireChannelRead(data)
        isParsing = false
        if isFinished { wipe() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        wipe()
        context.fireChannelInactive()
    }

    /// The request has been used: its octets go, as soon as the parser lets go of them, and the next one begins.
    func finish() {
        isFinished = true
        if !isParsing { wipe() }
    }

    private func wipe() {
        for buffer in buffers { SecretOctets.wipeShared(buffer) }
        buffers.removeAll()
        count = 0
        isFinished = false
    }
}
