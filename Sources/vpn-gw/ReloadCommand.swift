import ArgumentParser
import Gateway

struct ReloadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload", abstract: "Have a running gateway read its site file again.",
        discussion: """
            The whole file is judged first; one that is wrong changes nothing, and every problem is printed. The same \
            as SIGHUP, with an answer.
            """)

    @OptionGroup var gateway: GatewayOption

    func run() async throws { try await gateway.change { try $0.reload() } }
}
