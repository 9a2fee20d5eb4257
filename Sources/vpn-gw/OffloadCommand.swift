import ArgumentParser
import Gateway

struct OffloadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "offload", abstract: "Move a tunnel's SAs between software and NIC.")

    @Option(help: ArgumentHelp("The tunnel's name.", valueName: "name"))
    var tunnel: String
    @Option(help: "outbound or inbound; both when absent.")
    var direction: String?
    @Argument(help: "off, auto or required.")
    var wanted: String
    @OptionGroup var gateway: GatewayOption

    func run() async throws {
        try await gateway.change { try $0.setOffload(tunnel: tunnel, direction: direction, wanted: wanted) }
    }
}
