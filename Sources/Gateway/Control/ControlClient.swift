import Foundation
import IPsec

/// Asks a running gateway by its control socket. Every call blocks, for 10 seconds at most; `reload` for two minutes.
public struct ControlClient: Sendable {
    /// The socket that is asked.
    public let socketPath: String
    /// Seconds from the connection to the answer's end.
    var patience = 10

    /// - Parameters:
    ///   - socket: the socket's path, when it is known.
    ///   - config: otherwise the site file that names it; nil: the default path.
    public init(socket: String?, config: String?) throws(ConfigurationError) {
        if let socket {
            socketPath = socket
        } else if let config {
            socketPath = try SiteReader.controlSocket(path: config)
        } else {
            socketPath = SiteReader.defaultControlSocket
        }
    }

    // MARK: Looking

    /// A subject as the gateway has it now: as JSON with sorted keys, or as a table in so many columns of a terminal;
    /// without a number with all there is. Ends in a newline.
    public func show(_ subject: ControlSubject, json: Bool, columns: Int? = nil) throws(ControlClientError) -> String {
        let object = try view(subject)
        guard json else { return ControlTable.text(subject, object, columns: columns) }
        let options: JSONSerialization.WritingOptions = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? JSONSerialization.data(withJSONObject: object, options: options) else {
            throw .notUnderstood(path: socketPath, what: "an answer that is no JSON object")
        }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// What the drivers of its ports offer, or of one port. Throws `PortUnknown` besides.
    public func capabilities(port: String?, json: Bool, columns: Int? = nil) throws -> String {
        try ControlTable.text(.caps, try view(.caps), port: port, json: json, columns: columns)
    }

    /// All pages of a subject in one object.
    private func view(_ subject: ControlSubject) throws(ControlClientError) -> [String: Any] {
        var whole: [String: Any] = [:], rows: [String: [Any]] = [:], offset = 0
        while true {
            let query = offset == 0 ? "" : "?offset=\(offset)"
            var page = try ask("GET", "/v1/\(subject.rawValue)\(query)", [])
            let next = page.removeValue(forKey: "next_offset") as? Int
            if offset == 0 { whole = page }
            if offset == 0 && next == nil { return whole }
            for (name, value) in page {
                if let value = value as? [Any] { rows[name, default: []] += value }
            }
            guard let next else { return whole.merging(rows) { $1 } }
            guard next > offset else { throw .notUnderstood(path: socketPath, what: "pages that do not advance") }
            offset = next
        }
    }

    /// Everything at a glance, as the gateway has it now.
    func summary() throws(ControlClientError) -> [String: Any] { try view(.summary) }

    /// One step of looking at packets: "start", "take" or "stop". Throws the gateway's words when it refuses.
    func observe(_ step: String, _ fields: [String: Any]) throws(ControlClientError) -> [String: Any] {
        let body = (try? JSONSerialization.data(withJSONObject: fields)) ?? Data()
        let answer = try ask("POST", "/v1/observe/\(step)", Array(body))
        guard let code = (answer["exit_code"] as? Int).flatMap({ ExitCode(rawValue: Int32(clamping: $0)) }) else {
            throw .notUnderstood(path: socketPath, what: "an answer without exit_code")
        }
        guard code == .ok else {
            let messages = answer["messages"] as? [String] ?? []
            throw .refused(message: messages.joined(separator: "\n"), hint: "", exitCode: code)
        }
        return answer
    }

    // MARK: Changing

    /// Has the gateway read its site file again. One of many thousand SAs takes seconds, and more on a busy machine.
    public func reload() throws(ControlClientError) -> ControlOutcome {
        var client = self
        client.patience = 120
        return try client.change("/v1/reload", [])
    }

    /// Sends a tunnel's traffic with this outbound SA from now on. `spi` as text: "0x1001".
    public func activate(tunnel: String, spi: String) throws(ControlClientError) -> ControlOutcome {
        try change("/v1/sa/activate", json(["tunnel": tunnel, "spi": spi]))
    }

    /// Takes an SA away. `spi` as text: "0x1001".
    public func remove(tunnel: String, spi: String) throws(ControlClientError) -> ControlOutcome {
        try change("/v1/sa/remove", json(["tunnel": tunnel, "spi": spi]))
    }

    /// Has a port stopped and started.
    public func restartPort(_ name: String) throws(ControlClientError) -> ControlOutcome {
        try change("/v1/ports/restart", json(["port": name]))
    }

    /// Asks for another place to work on the SAs of a tunnel or a port, one of which is named. `direction`: nil for
    /// both.
    public func setOffload(
        tunnel: String?, port: String?, direction: String?, wanted: String
    ) throws(ControlClientError) -> ControlOutcome {
        var fields = ["wanted": wanted]
        if let tunnel { fields["tunnel"] = tunnel }
        if let port { fields["port"] = port }
        if let direction { fields["direction"] = direction }
        return try change("/v1/offload", json(fields))
    }

    /// What `vpn-gw sa add` was told. SPIs and the time as text; the gateway judges them.
    public struct Addition: Sendable {
        let tunnel: String
        let outboundSPI: String
        let outboundKeyFile: String
        let inboundSPI: String
        let inboundKeyFile: String
        let replayWindowPackets: Int?
        let notBefore: String?

        /// Key files hold one key in a line; "-" reads standard input, for one of the two.
        public init(
            tunnel: String, outboundSPI: String, outboundKeyFile: String, inboundSPI: String, inboundKeyFile: String,
            replayWindowPackets: Int?, notBefore: String?
        ) {
            self.tunnel = tunnel
            self.outboundSPI = outboundSPI
            self.outboundKeyFile = outboundKeyFile
            self.inboundSPI = inboundSPI
            self.inboundKeyFile = inboundKeyFile
            self.replayWindowPackets = replayWindowPackets
            self.notBefore = notBefore
        }
    }

    /// Adds an SA pair. The keys go from their files to the socket and are wiped; a process that is neither root's nor
    /// this user's gets none.
    public func add(_ addition: Addition) throws(ControlClientError) -> ControlOutcome {
        // Room for all there can be, so that growing leaves no copies of keys.
        var body: [UInt8] = []
        body.reserveCapacity(64 << 10)
        defer { SecretOctets.wipe(&body) }
        body += Array(
            "{\"tunnel\":\(quoted(addition.tunnel)),\"outbound\":{\"spi\":\(quoted(addition.outboundSPI)),".utf8)
        try ControlClient.appendKey(inFile: addition.outboundKeyFile, to: &body)
        body += Array("},\"inbound\":{\"spi\":\(quoted(addition.inboundSPI)),".utf8)
        try ControlClient.appendKey(inFile: addition.inboundKeyFile, to: &body)
        if let packets = addition.replayWindowPackets { body += Array(",\"replay_window_packets\":\(packets)".utf8) }
        body.append(UInt8(ascii: "}"))
        if let time = addition.notBefore { body += Array(",\"not_before\":\(quoted(time))".utf8) }
        body.append(UInt8(ascii: "}"))
        return try change("/v1/sa/add", body, holdsKeys: true)
    }

    /// Appends `"key":"0x…"` with the key of a file.
    private static func appendKey(inFile name: String, to body: inout [UInt8]) throws(ControlClientError) {
        let isStandardInput = name == "-"
        let shown = isStandardInput ? "standard input" : name
        switch FileReader.system.read(isStandardInput ? "/dev/stdin" : name, 4096) {
        case .failure(let failure):
            throw .keyFile(path: shown, what: failure.message, exitCode: failure.exitCode)
        case .success(var contents):
            defer { contents.wipe() }
            guard isStandardInput || !contents.isReadableByOthers else {
                throw .keyFile(
                    path: shown,
                    what: "may be read by group or others (mode \(SiteBuilder.octal(contents.permissions))): "
                        + "chmod 600 it, and replace the key if somebody may have read it", exitCode: .noPermission)
            }
            guard MaskedText.holdsKey(contents.octets) else {
                throw .keyFile(
                    path: shown,
                    what: "does not hold a key in one line: \"0x\" and hexadecimal digits, 40 for "
                        + "\(Algorithm.aes128GCM16)",
                    exitCode: .usage)
            }
            body += Array("\"key\":\"".utf8)
            body += contents.octets.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
            body.append(UInt8(ascii: "\""))
        }
    }

    private func quoted(_ text: String) -> String {
        // A string always encodes.
        String(decoding: (try? JSONEncoder().encode(text)) ?? Data("\"\"".utf8), as: UTF8.self)
    }

    private func json(_ fields: [String: String]) -> [UInt8] {
        Array("{\(fields.map { "\(quoted($0.key)):\(quoted($0.value))" }.joined(separator: ","))}".utf8)
    }

    // MARK: The exchange

    private func change(
        _ path: String, _ body: borrowing [UInt8], holdsKeys: Bool = false
    ) throws(ControlClientError) -> ControlOutcome {
        let answer = try ask("POST", path, body, holdsKeys: holdsKeys)
        guard let code = (answer["exit_code"] as? Int).flatMap({ ExitCode(rawValue: Int32(clamping: $0)) }),
            let messages = answer["messages"] as? [String]
        else { throw .notUnderstood(path: socketPath, what: "an answer without exit_code and messages") }
        return ControlOutcome(code, messages)
    }

    /// The JSON object that answers; throws `refused` when it is an error of the API.
    private func ask(
        _ method: String, _ path: String, _ body: borrowing [UInt8], holdsKeys: Bool = false
    ) throws(ControlClientError) -> [String: Any] {
        let connection = try ControlConnection(path: socketPath, seconds: patience)
        if holdsKeys { try connection.requireTrust() }
        let head = """
            \(method) \(path) HTTP/1.1\r
            host: vpn-gw\r
            connection: close\r
            content-length: \(body.count)\r
            \r

            """
        try connection.send(Array(head.utf8))
        try connection.send(body)
        let reply = try connection.receive()
        let object = try? JSONSerialization.jsonObject(with: Data(reply.body))
        guard let fields = object as? [String: Any] else {
            throw .notUnderstood(path: socketPath, what: "an answer that is no JSON object")
        }
        if let error = fields["error"] as? [String: Any] {
            throw .refused(
                message: error["message"] as? String ?? "refused with status \(reply.status)",
                hint: error["hint"] as? String ?? "",
                exitCode: (error["exit_code"] as? Int).flatMap { ExitCode(rawValue: Int32(clamping: $0)) }
                    ?? .unavailable)
        }
        return fields
    }
}
