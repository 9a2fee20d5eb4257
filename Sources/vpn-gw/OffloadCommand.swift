import ArgumentParser
import Gateway

struct OffloadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "offload", abstract: "Move the SAs of a tunnel or a port between software and devices.",
        discussion: """
            For a port, off is the kill switch of its NIC's IPsec engine, and auto ends it. Nothing is lost on the \
            way: packets go by software from one to the next. It holds until the gateway ends; of a tunnel, until its \
            site is read again.
            """)

    @Argument(help: "off, auto, required or lookaside.")
    var wanted: String
    @Option(help: ArgumentHelp("A tunnel's name.", valueName: "name"))
    var tunnel: String?
    @Option(help: ArgumentHelp("A port's name.", valueName: "name"))
    var port: String?
    @Option(help: "outbound or inbound; both when absent.")
    var direction: String?
    @OptionGroup var gateway: GatewayOption

    func validate() throws {
        guard (tunnel == nil) != (port == nil) else {
            throw ValidationError("Name a tunnel or a port: --tunnel site-b, or --port wan.")
        }
    }

    func run() async throws {
        try await gateway.change {
            try $0.setOffload(tunnel: tunnel, port: port, direction: direction, wanted: wanted)
        }
    }
}

struct RestartPortCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart-port", abstract: "Stop a port of a running gateway, and start it.",
        discussion: """
            For a NIC that has lost its way. What its queues held is lost; its IPsec engine gets its SAs again, and \
            until then software does their work.
            """)

    @Argument(help: "The port's name.")
    var port: String
    @OptionGroup var gateway: GatewayOption

    func run() async throws { try await gateway.change { try $0.restartPort(port) } }
}
