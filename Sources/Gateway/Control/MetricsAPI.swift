import NIOHTTP1

/// What is served over TCP: `/metrics` and `/healthz`. Nothing can be changed here, whoever asks.
struct MetricsAPI: HTTPResponder {
    let target: any ControlTarget
    /// The gateway's name.
    let name: String
    /// For views; shared with the control socket.
    let turnstile: Turnstile

    func begin(_ request: HTTPRequest, body: borrowing [UInt8]) -> @Sendable () async -> ControlAnswer {
        guard ["/metrics", "/healthz"].contains(request.path) else {
            return {
                .refusal(.notFound, "no such path", hint: "there are /metrics, /healthz", exitCode: .unavailable)
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
        // Health is asked for even while a long view is made.
        return { request.path == "/healthz" ? await health() : await turnstile.enter { await metrics() } }
    }

    private func health() async -> ControlAnswer {
        await target.isHealthy()
            ? ControlAnswer(.ok, text: "ok\n", contentType: "text/plain; charset=utf-8")
            : ControlAnswer(
                .serviceUnavailable, text: "a worker does not advance\n", contentType: "text/plain; charset=utf-8")
    }

    private func metrics() async -> ControlAnswer {
        do {
            guard case .report(let report) = try await target.view(.report),
                case .sa(let associations) = try await target.view(.sa)
            else { return .refusal(.internalServerError, "a view of another subject", exitCode: .software) }
            let text = MetricsText(
                report: report, associations: associations, counters: await target.counters(), name: name)
            return ControlAnswer(.ok, text: text.text, contentType: MetricsText.contentType)
        } catch {
            let failure = Failure(error)
            return .refusal(.internalServerError, failure.message, exitCode: failure.exitCode)
        }
    }
}
