import ESP
import Foundation
import IPsec

/// The JSON object of a request, keys taken out before it is parsed. Its fields are asked for by name; what nobody
/// asked for is an error, so that a misspelled field is not taken for an absent one.
struct ControlBody {
    private let masked: MaskedText
    private let fields: [String: Any]
    /// "outbound." within that object.
    private let prefix: String

    /// Parses a body; the caller wipes `octets`.
    init(_ octets: borrowing [UInt8]) throws(ControlRequestError) {
        masked = MaskedText(copy octets)
        let object = try? JSONSerialization.jsonObject(with: Data(masked.text))
        guard let fields = object as? [String: Any] else {
            throw ControlRequestError(
                "the body is not a JSON object", hint: "docs/CONTROL.md shows what each path takes")
        }
        self.fields = fields
        prefix = ""
    }

    private init(_ fields: [String: Any], of parent: ControlBody, prefix: String) {
        masked = parent.masked
        self.fields = fields
        self.prefix = prefix
    }

    /// Throws when there is a field of another name.
    func allow(_ names: String...) throws(ControlRequestError) {
        let unknown = fields.keys.filter { !names.contains($0) }.count
        guard unknown == 0 else {
            throw ControlRequestError(
                "\(prefix.isEmpty ? "the body" : String(prefix.dropLast())) has \(unknown) unknown field(s)",
                hint: "it takes " + names.joined(separator: ", "))
        }
    }

    func object(_ name: String) throws(ControlRequestError) -> ControlBody {
        guard let value = fields[name] as? [String: Any] else { throw wrong(name, "an object") }
        return ControlBody(value, of: self, prefix: "\(prefix)\(name).")
    }

    func string(_ name: String, _ what: String) throws(ControlRequestError) -> String {
        guard let value = fields[name] as? String, !value.isEmpty else { throw wrong(name, what) }
        return value
    }

    /// A tunnel's name, of a length that any has.
    func tunnel() throws(ControlRequestError) -> String {
        let name = try string("tunnel", "a tunnel's name")
        guard name.utf8.count <= 255 else { throw wrong("tunnel", "a tunnel's name") }
        return name
    }

    func port() throws(ControlRequestError) -> String {
        let name = try string("port", "a port's name")
        guard name.utf8.count <= 255 else { throw wrong("port", "a port's name") }
        return name
    }

    func spi() throws(ControlRequestError) -> SPI {
        let what = "an SPI as text, \"0x1001\", from 0x100 to 0xffffffff"
        guard let spi = SPI(controlText: try string("spi", what)), !spi.isReserved else { throw wrong("spi", what) }
        return spi
    }

    func key() throws(ControlRequestError) -> ControlKey {
        guard let text = fields["key"] as? String, let octets = masked.keyOctets(text),
            let key = ControlKey(octets: octets, { masked.key(text, for: $0) })
        else {
            let digits = MaskedText.keySizes.sorted().map { String(2 * $0) }
            throw wrong(
                "key",
                "\"0x\" and as many hexadecimal digits as the tunnel's algorithm takes: "
                    + digits.joined(separator: ", "))
        }
        return key
    }

    func has(_ name: String) -> Bool { fields[name] != nil && !(fields[name] is NSNull) }

    func integer(_ name: String, _ what: String) throws(ControlRequestError) -> Int {
        guard let value = fields[name] as? Int else { throw wrong(name, what) }
        return value
    }

    /// Seconds since 1970 or RFC 3339.
    func time(_ name: String) throws(ControlRequestError) -> Int64 {
        if let seconds = fields[name] as? Int, let time = ControlTime(secondsSince1970: Int64(seconds)) {
            return time.secondsSince1970
        }
        guard let text = fields[name] as? String, let time = ControlTime(text) else {
            throw wrong(name, "a time, \"2027-01-01T00:00:00Z\", or seconds since 1970")
        }
        return time.secondsSince1970
    }

    func wrong(_ name: String, _ what: String) -> ControlRequestError {
        ControlRequestError("\(prefix)\(name) is \(has(name) ? "not" : "absent; it is") \(what)")
    }
}

extension SPI {
    /// Reads "0x1001" or "4097". Nil for anything else.
    init?(controlText text: some StringProtocol) {
        let isHexadecimal = text.hasPrefix("0x")
        let digits = isHexadecimal ? text.dropFirst(2) : text[...]
        guard digits.first?.isHexDigit == true, digits.utf8.count <= 10,
            let value = UInt32(digits, radix: isHexadecimal ? 16 : 10)
        else { return nil }
        self.init(rawValue: value)
    }
}

extension AddAssociations {
    /// Reads the body of `POST /v1/sa/add`.
    init(body octets: borrowing [UInt8]) throws(ControlRequestError) {
        let body = try ControlBody(octets)
        try body.allow("tunnel", "outbound", "inbound", "not_before")
        let outbound = try body.object("outbound"), inbound = try body.object("inbound")
        try outbound.allow("spi", "key")
        try inbound.allow("spi", "key", "replay_window_packets")
        self.init(
            tunnel: try body.tunnel(), outboundSPI: try outbound.spi(), outboundKey: try outbound.key(),
            inboundSPI: try inbound.spi(), inboundKey: try inbound.key(), replayWindowPackets: 1024)
        if inbound.has("replay_window_packets") {
            let what = "a power of two from 64 to 8192"
            replayWindowPackets = try inbound.integer("replay_window_packets", what)
            guard (64...8192).contains(replayWindowPackets), replayWindowPackets.nonzeroBitCount == 1 else {
                throw inbound.wrong("replay_window_packets", what)
            }
        }
        if body.has("not_before") { notBefore = try body.time("not_before") }
        guard outboundKey.fingerprint != inboundKey.fingerprint else {
            throw ControlRequestError(
                "outbound.key and inbound.key are the same key",
                hint: "each SA needs a key of its own, a different salt is not enough: vpn-gw keygen")
        }
    }
}

/// The body of `POST /v1/sa/activate` and `/v1/sa/remove`.
struct NamedAssociation: Sendable {
    let tunnel: String
    let spi: SPI

    init(body octets: borrowing [UInt8]) throws(ControlRequestError) {
        let body = try ControlBody(octets)
        try body.allow("tunnel", "spi")
        tunnel = try body.tunnel()
        spi = try body.spi()
    }
}

extension OffloadRequest {
    /// Reads the body of `POST /v1/offload`.
    init(body octets: borrowing [UInt8]) throws(ControlRequestError) {
        let body = try ControlBody(octets)
        try body.allow("tunnel", "port", "direction", "wanted")
        let what = "\"off\", \"auto\", \"required\" or \"lookaside\""
        guard let wanted = OffloadChoice(rawValue: try body.string("wanted", what)) else {
            throw body.wrong("wanted", what)
        }
        guard body.has("tunnel") != body.has("port") else {
            throw ControlRequestError("the body names a tunnel or a port, one of them")
        }
        let subject: Subject = body.has("port") ? .port(try body.port()) : .tunnel(try body.tunnel())
        self.init(subject: subject, direction: nil, wanted: wanted)
        if body.has("direction") {
            let what = "\"outbound\" or \"inbound\""
            direction = Direction(rawValue: try body.string("direction", what))
            guard direction != nil else { throw body.wrong("direction", what) }
        }
    }
}
