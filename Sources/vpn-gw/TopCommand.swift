import ArgumentParser
import Gateway

struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Watch a running gateway on the terminal: rates, tunnels, drops, workers.",
        discussion: "q or Ctrl-C ends it. NO_COLOR in the environment does without colour.")

    @OptionGroup var gateway: GatewayOption

    func run() async throws {
        try await reportingFailures { try Top(try gateway.client).run() }
    }
}
