import Foundation
import NIOHTTP1

/// The control API, version 1: which path does what, and who may. docs/CONTROL.md tells it to its users; a test holds
/// that it names all of it.
struct ControlAPI: HTTPResponder {
    /// One path below `/v1`.
    enum Route: Hashable, Sendable, CaseIterable {
        /// `/v1` itself.
        case about
        case view(ControlSubject)
        case reload, addAssociations, activate, remove, setOffload, restartPort
        case observe, takeObserved, endObservation

        static var allCases: [Route] {
            [.about] + ControlSubject.allCases.map(Route.view) + [
                .reload, .addAssociations, .activate, .remove, .setOffload, .restartPort, .observe, .takeObserved,
                .endObservation,
            ]
        }

        /// "POST" for what changes the gateway, "GET" for the rest; offload has both.
        var method: HTTPMethod {
            switch self {
            case .about, .view: .GET
            case .reload, .addAssociations, .activate, .remove, .setOffload, .restartPort: .POST
            case .observe, .takeObserved, .endObservation: .POST
            }
        }

        var path: String {
            switch self {
            case .about: "/v1"
            case .view(let subject): "/v1/\(subject.rawValue)"
            case .reload: "/v1/reload"
            case .addAssociations: "/v1/sa/add"
            case .activate: "/v1/sa/activate"
            case .remove: "/v1/sa/remove"
            case .setOffload: "/v1/offload"
            case .restartPort: "/v1/ports/restart"
            case .observe: "/v1/observe/start"
            case .takeObserved: "/v1/observe/take"
            case .endObservation: "/v1/observe/stop"
            }
        }
    }

    /// Rows in one answer; more come behind `next_offset`. With the longest rows that is about 5 MiB.
    static let rowLimit = 4096

    let target: any ControlTarget
    /// The gateway's name.
    let name: String
    /// Who may change the gateway beside root: the user it runs as.
    let ownUser: UInt32
    /// For views; shared with the metrics.
    let turnstile: Turnstile
    let started = ContinuousClock.now

    func begin(_ request: HTTPRequest, body: borrowing [UInt8]) -> @Sendable () async -> ControlAnswer {
        let routes = Route.allCases.filter { $0.path == request.path }
        guard !routes.isEmpty else { return refusePath(request.path) }
        guard let route = routes.first(where: { $0.method == request.method }) else {
            return refuseMethod(routes.map(\.method.rawValue))
        }
        guard route.method == .GET else { return change(route, request, body) }
        guard body.isEmpty else { return { .refusal(.badRequest, "GET takes no body", exitCode: .usage) } }
        guard case .view(let subject) = route else { return { about() } }
        guard let offset = ControlAPI.offset(request.query) else {
            return {
                .refusal(
                    .badRequest, "the query is not offset=N", hint: "N counts rows from 0: next_offset says the next",
                    exitCode: .usage)
            }
        }
        return { await turnstile.enter { await view(subject, offset: offset) } }
    }

    // MARK: Reading

    private func about() -> ControlAnswer {
        struct Body: Encodable {
            var name: String, version: String, api: [String], uptimeSeconds: Int64
        }
        let uptime = (ContinuousClock.now - started).components.seconds
        return ControlAnswer(
            .ok, json: Body(name: name, version: SoftwareVersion.text, api: ["v1"], uptimeSeconds: uptime))
    }

    private func view(_ subject: ControlSubject, offset: Int) async -> ControlAnswer {
        do {
            return ControlAnswer(
                .ok, json: try await target.view(subject).page(from: offset, limit: ControlAPI.rowLimit))
        } catch {
            let failure = Failure(error)
            return .refusal(.internalServerError, failure.message, exitCode: failure.exitCode)
        }
    }

    private static func offset(_ query: String?) -> Int? {
        guard let query, !query.isEmpty else { return 0 }
        guard query.hasPrefix("offset="), let offset = Int(query.dropFirst("offset=".count)), offset >= 0 else {
            return nil
        }
        return offset
    }

    // MARK: Changing

    private func change(
        _ route: Route, _ request: HTTPRequest, _ body: borrowing [UInt8]
    ) -> @Sendable () async -> ControlAnswer {
        guard let peer = request.peer, peer.uid == 0 || peer.uid == ownUser else {
            let own = ownUser == 0 ? "root" : "root or uid \(ownUser), as which the gateway runs,"
            let who = request.peer.map { "\($0)" } ?? "a client without credentials"
            return {
                .refusal(
                    .forbidden, "\(who) may look and not change: only \(own) may", hint: "use sudo",
                    exitCode: .noPermission)
            }
        }
        do throws(ControlRequestError) {
            switch route {
            case .reload:
                guard body.isEmpty else { throw ControlRequestError("reload takes no body") }
                return { [target] in ControlAnswer(await target.reload(by: peer)) }
            case .addAssociations:
                let request = try AddAssociations(body: body)
                return { [target] in ControlAnswer(await target.addAssociations(request, by: peer)) }
            case .activate:
                let named = try NamedAssociation(body: body)
                return { [target] in
                    ControlAnswer(await target.activate(tunnel: named.tunnel, spi: named.spi, by: peer))
                }
            case .remove:
                let named = try NamedAssociation(body: body)
                return { [target] in
                    ControlAnswer(await target.remove(tunnel: named.tunnel, spi: named.spi, by: peer))
                }
            case .setOffload:
                let request = try OffloadRequest(body: body)
                return { [target] in ControlAnswer(await target.setOffload(request, by: peer)) }
            case .restartPort:
                let body = try ControlBody(body)
                try body.allow("port")
                let port = try body.port()
                return { [target] in ControlAnswer(await target.restartPort(port, by: peer)) }
            case .observe:
                let request = try ObserveRequest(body: body)
                return { [target] in ControlAnswer(await target.observe(request, by: peer)) }
            case .takeObserved:
                let named = try NamedObservation(body: body)
                return { [target] in ControlAnswer(await target.takeObserved(named.number)) }
            case .endObservation:
                let named = try NamedObservation(body: body)
                return { [target] in ControlAnswer(await target.endObservation(named.number)) }
            case .about, .view: preconditionFailure("a route that changes nothing")
            }
        } catch {
            return { .refusal(.badRequest, error.message, hint: error.hint, exitCode: .usage) }
        }
    }

    // MARK: Refusing

    private func refusePath(_ path: String) -> @Sendable () async -> ControlAnswer {
        let first = path.split(separator: "/").first ?? ""
        let isVersion = first.first == "v" && !first.dropFirst().isEmpty && first.dropFirst().allSatisfy(\.isNumber)
        let (message, hint) =
            isVersion && first != "v1"
            ? ("this gateway has no version of the API but v1", "ask below /v1")
            : ("no such path", "there are " + ControlAPI.paths.joined(separator: ", "))
        return { .refusal(.notFound, message, hint: hint, exitCode: .unavailable) }
    }

    private static var paths: [String] {
        Route.allCases.map(\.path).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    private func refuseMethod(_ methods: [String]) -> @Sendable () async -> ControlAnswer {
        let allow = methods.joined(separator: ", ")
        return {
            var answer = ControlAnswer.refusal(
                .methodNotAllowed, "this path does not take that method", hint: "it takes \(allow)",
                exitCode: .usage)
            answer.allow = allow
            return answer
        }
    }
}

extension ControlView {
    /// A part of the rows with, when there are more, the offset of the next; encodes as the view itself.
    struct Page: Encodable {
        var view: ControlView
        var nextOffset: Int?

        private enum CodingKeys: String, CodingKey { case nextOffset }

        func encode(to encoder: any Encoder) throws {
            try view.encode(to: encoder)
            guard let nextOffset else { return }
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(nextOffset, forKey: .nextOffset)
        }
    }

    /// At most `limit` rows from `offset` on. What is bounded by the site (ports, workers, drops) comes whole.
    func page(from offset: Int, limit: Int) -> Page {
        func cut<Row>(_ rows: [Row], _ make: ([Row]) -> ControlView) -> Page {
            let part = rows.dropFirst(offset).prefix(limit)
            let end = min(offset, rows.count) + part.count
            return Page(view: make(Array(part)), nextOffset: end < rows.count ? end : nil)
        }
        switch self {
        case .sa(let rows): return cut(rows, ControlView.sa)
        case .spd(let rows): return cut(rows, ControlView.spd)
        case .offload(let rows): return cut(rows, ControlView.offload)
        case .neighbors(let rows): return cut(rows, ControlView.neighbors)
        case .routes(let rows): return cut(rows, ControlView.routes)
        case .ports, .workers, .caps, .drops, .report, .summary: return Page(view: self)
        }
    }
}
