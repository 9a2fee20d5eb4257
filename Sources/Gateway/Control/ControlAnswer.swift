import Foundation
import NIOHTTP1

/// A whole answer, in memory.
struct ControlAnswer: Sendable {
    var status: HTTPResponseStatus
    var contentType = "application/json"
    var body: [UInt8]
    /// For a method that the path does not take: those it takes.
    var allow: String?
    /// Further header fields, names in lower case.
    var fields: [(name: String, value: String)] = []

    init(_ status: HTTPResponseStatus, text: String, contentType: String) {
        self.status = status
        self.contentType = contentType
        body = Array(text.utf8)
    }

    /// JSON with sorted keys in snake case.
    init(_ status: HTTPResponseStatus, json: some Encodable) {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            body = try Array(encoder.encode(json)) + [UInt8(ascii: "\n")]
            self.status = status
        } catch {
            // A number that JSON has no way to write: a bug, told without the values.
            body = Array("{\"error\":{\"exit_code\":70,\"hint\":\"\",\"message\":\"can't be encoded\"}}\n".utf8)
            self.status = .internalServerError
        }
    }

    /// A refusal in the words of the API.
    static func refusal(
        _ status: HTTPResponseStatus, _ message: String, hint: String = "", exitCode: ExitCode
    ) -> ControlAnswer {
        struct Body: Encodable {
            struct Words: Encodable { var message: String, hint: String, exitCode: Int32 }
            var error: Words
        }
        return ControlAnswer(
            status, json: Body(error: .init(message: message, hint: hint, exitCode: exitCode.rawValue)))
    }

    /// How a change ended.
    init(_ outcome: ControlOutcome) {
        struct Body: Encodable { var exitCode: Int32, messages: [String] }
        self.init(
            ControlAnswer.status(outcome.exitCode),
            json: Body(exitCode: outcome.exitCode.rawValue, messages: outcome.messages))
    }

    private static func status(_ code: ExitCode) -> HTTPResponseStatus {
        switch code {
        case .ok: .ok
        case .usage, .dataFormat: .badRequest
        case .noPermission: .forbidden
        case .noInput, .configuration: .unprocessableEntity
        case .unavailable: .serviceUnavailable
        case .software, .cannotCreate, .io: .internalServerError
        }
    }
}
