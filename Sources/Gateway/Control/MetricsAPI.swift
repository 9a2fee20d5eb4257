import NIOHTTP1

/// What is served over TCP: `/metrics`, `/healthz`, and a page for people. Nothing can be changed here, whoever asks.
struct MetricsAPI: HTTPResponder {
    let target: any ControlTarget
    /// The gateway's name.
    let name: String
    /// For views; shared with the control socket.
    let turnstile: Turnstile

    func begin(_ request: HTTPRequest, body: borrowing [UInt8]) -> @Sendable () async -> ControlAnswer {
        let paths = ["/", StatusPage.dataPath, "/metrics", "/healthz"]
        guard paths.contains(request.path) else {
            return {
                .refusal(
                    .notFound, "no such path", hint: "there are \(paths.joined(separator: ", "))",
                    exitCode: .unavailable)
            }
        }
        guard request.method == .GET else {
            return {
                var answer = ControlAnswer.refusal(
                    .methodNotAllowed, "this path does not take that method", hint: "it takes GET", exitCode: .usage)
                answer.allow = "GET"
                return answer
            }
        }
        switch request.path {
        case "/": return { StatusPage.answer() }
        // Health and rates are asked for even while a long view is made.
        case "/healthz": return { await health() }
        case StatusPage.dataPath: return { await status() }
        default:
            let format = MetricsText.Format(accept: request.accept)
            return { await turnstile.enter { await metrics(format) } }
        }
    }

    private func health() async -> ControlAnswer {
        await target.isHealthy()
            ? ControlAnswer(.ok, text: "ok\n", contentType: "text/plain; charset=utf-8")
            : ControlAnswer(
                .serviceUnavailable, text: "a worker does not advance\n", contentType: "text/plain; charset=utf-8")
    }

    private func status() async -> ControlAnswer {
        do { return ControlAnswer(.ok, json: try await target.view(.summary)) } catch {
            let failure = Failure(error)
            return .refusal(.internalServerError, failure.message, exitCode: failure.exitCode)
        }
    }

    private func metrics(_ format: MetricsText.Format) async -> ControlAnswer {
        do {
            guard case .report(let report) = try await target.view(.report),
                case .sa(let associations) = try await target.view(.sa)
            else { return .refusal(.internalServerError, "a view of another subject", exitCode: .software) }
            let text = MetricsText(
                report: report, associations: associations, counters: await target.counters(), name: name,
                format: format)
            return ControlAnswer(.ok, text: text.text, contentType: format.contentType)
        } catch {
            let failure = Failure(error)
            return .refusal(.internalServerError, failure.message, exitCode: failure.exitCode)
        }
    }
}
