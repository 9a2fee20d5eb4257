import ArgumentParser
import Gateway

/// Which running gateway a verb asks.
struct GatewayOption: ParsableArguments {
    @Option(help: ArgumentHelp("The gateway's control socket.", valueName: "path"))
    var socket: String?
    @Option(
        help: ArgumentHelp(
            "The site whose gateway is asked; without both, /run/vpn-gw/control.sock.", valueName: "site.toml"))
    var config: String?

    var client: ControlClient { get throws { try ControlClient(socket: socket, config: config) } }

    /// Carries out a change and says how it ended: on stdout what was done, on stderr why it was not.
    func change(_ body: (ControlClient) throws -> ControlOutcome) async throws {
        try await reportingFailures {
            let outcome = try body(client)
            guard outcome.exitCode == .ok else {
                for message in outcome.messages { StandardError.write("\(message)\n") }
                throw ArgumentParser.ExitCode(outcome.exitCode.rawValue)
            }
            for message in outcome.messages { print(message) }
        }
    }
}
