import Foundation

/// One exchange with a gateway over its socket, by blocking calls, bounded in time and size.
struct ControlConnection: ~Copyable {
    /// An answer as it came.
    struct Reply {
        var status: Int
        var body: [UInt8]
    }

    /// The longest answer, head included.
    static let longestReply = 16 << 20

    private let path: String
    private let seconds: Int
    private let descriptor: CInt
    private let end: ContinuousClock.Instant

    /// Connects to the socket at `path`; everything up to the answer's end has `seconds`.
    init(path: String, seconds: Int) throws(ControlClientError) {
        self.path = path
        self.seconds = seconds
        end = .now + .seconds(seconds)
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .noGateway(path: path, code: errno) }
        // Connecting and sending wait for room; receiving waits in poll.
        var wait = timeval(tv_sec: seconds, tv_usec: 0)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
        let result = unsafe UnixSocketAddress.with(path) { [descriptor] in unsafe connect(descriptor, $0, $1) }
        guard result == 0 else {
            let code = result == nil ? ENAMETOOLONG : errno
            close(descriptor)
            throw code == EAGAIN ? .noAnswer(path: path, seconds: seconds) : .noGateway(path: path, code: code)
        }
    }

    deinit { close(descriptor) }

    /// Throws unless the process that listens is root's or this user's; for root also that of a service that root made
    /// a place for.
    func requireTrust() throws(ControlClientError) {
        guard let peer = UnixSocketAddress.peer(of: descriptor) else {
            throw .notUnderstood(path: path, what: "the kernel does not know who listens")
        }
        guard peer.uid == 0 || peer.uid == geteuid() || geteuid() == 0 && ControlConnection.isPlace(path, of: peer.uid)
        else { throw .untrusted(path: path, uid: peer.uid) }
    }

    /// Whether a socket is in a directory of this user's in which nobody else may write, directly below /run, in which
    /// only root may: a service manager made it so. A home directory, which is its user's own in one of root's, is
    /// none.
    static func isPlace(_ path: String, of uid: UInt32, below run: String = "/run", root: UInt32 = 0) -> Bool {
        let directory = URL(filePath: path).deletingLastPathComponent()
        let parent = directory.deletingLastPathComponent()
        guard parent.standardizedFileURL == URL(filePath: run, directoryHint: .isDirectory).standardizedFileURL else {
            return false
        }
        func belongs(_ url: URL, to owner: UInt32) -> Bool {
            var status = stat()
            // Without the slash behind it, so that a link is not followed.
            let name = url.path(percentEncoded: false)
            guard unsafe lstat(name.hasSuffix("/") ? String(name.dropLast()) : name, &status) == 0 else {
                return false
            }
            return status.st_mode & S_IFMT == S_IFDIR && status.st_uid == owner && status.st_mode & 0o022 == 0
        }
        return belongs(directory, to: uid) && belongs(parent, to: root)
    }

    /// Sends all of `octets`. A gateway that refuses early stops reading; its answer says why, so that's no error here.
    func send(_ octets: borrowing [UInt8]) throws(ControlClientError) {
        var start = 0
        while start < octets.count {
            let count = unsafe octets.withUnsafeBytes { memory in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: memory[start...])
                return unsafe Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0 && errno == EINTR { continue }
            if count < 0 && (errno == EPIPE || errno == ECONNRESET) { return }
            guard count > 0 else { throw .noAnswer(path: path, seconds: seconds) }
            start += count
        }
    }

    /// Everything until the gateway closes, taken apart.
    func receive() throws(ControlClientError) -> Reply {
        var octets: [UInt8] = [], memory = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let left = (end - .now).components
            let milliseconds = left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = milliseconds > 0 ? unsafe poll(&wanted, 1, Int32(clamping: milliseconds)) : 0
            if ready < 0 && errno == EINTR { continue }
            guard ready > 0 else { throw .noAnswer(path: path, seconds: seconds) }
            let count = unsafe memory.withUnsafeMutableBytes { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { break }
            octets += memory.prefix(count)
            guard octets.count <= ControlConnection.longestReply else {
                throw .notUnderstood(
                    path: path, what: "an answer of more than \(ControlConnection.longestReply) octets")
            }
        }
        guard let reply = ControlConnection.parse(octets) else {
            throw .notUnderstood(path: path, what: octets.isEmpty ? "closed without an answer" : "not a whole answer")
        }
        return reply
    }

    /// Nil unless `octets` are a status line, header fields, and a body of the length that they say.
    static func parse(_ octets: [UInt8]) -> Reply? {
        let separator = Array("\r\n\r\n".utf8)
        guard let end = octets.firstRange(of: separator) else { return nil }
        let lines = String(decoding: octets[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
        let words = (lines.first ?? "").split(separator: " ")
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else { return nil }
        let lengths = lines.dropFirst().compactMap { line -> Int? in
            let field = line.split(separator: ":", maxSplits: 1)
            guard field.count == 2, field[0].lowercased() == "content-length" else { return nil }
            return Int(field[1].drop { $0 == " " })
        }
        let body = Array(octets[end.upperBound...])
        guard lengths == [body.count] else { return nil }
        return Reply(status: status, body: body)
    }
}
