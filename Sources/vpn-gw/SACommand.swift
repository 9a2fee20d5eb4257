import ArgumentParser
import Gateway

struct SACommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sa", abstract: "Add, activate and remove the SAs of a running gateway.",
        discussion: """
            For new keys without a lost packet: add the pair on both ends, activate the outbound SA on both, and \
            remove the old pair once nothing comes by it (vpn-gw show sa).
            """,
        subcommands: [Add.self, Activate.self, Remove.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add an SA pair to a tunnel: it receives at once, and sends when activated or at its time.",
            discussion: """
                Keys are read from files that only their owner may read (- is standard input), and never from the \
                command line.
                """)

        @Option(help: ArgumentHelp("The tunnel's name.", valueName: "name"))
        var tunnel: String
        @Option(name: .customLong("outbound-spi"), help: ArgumentHelp("For what is sent.", valueName: "0x…"))
        var outboundSPI: String
        @Option(help: ArgumentHelp("Holds the outbound key.", valueName: "file"))
        var outboundKeyFile: String
        @Option(name: .customLong("inbound-spi"), help: ArgumentHelp("For what is received.", valueName: "0x…"))
        var inboundSPI: String
        @Option(help: ArgumentHelp("Holds the inbound key.", valueName: "file"))
        var inboundKeyFile: String
        @Option(help: "A power of two from 64 to 8192; 1024 when absent.")
        var replayWindowPackets: Int?
        @Option(help: ArgumentHelp("When it takes over by itself.", valueName: "2027-01-01T00:00:00Z"))
        var notBefore: String?
        @OptionGroup var gateway: GatewayOption

        func validate() throws {
            guard outboundKeyFile != "-" || inboundKeyFile != "-" else {
                throw ValidationError("only one of the two keys can come from standard input")
            }
        }

        func run() async throws {
            let addition = ControlClient.Addition(
                tunnel: tunnel, outboundSPI: outboundSPI, outboundKeyFile: outboundKeyFile, inboundSPI: inboundSPI,
                inboundKeyFile: inboundKeyFile, replayWindowPackets: replayWindowPackets, notBefore: notBefore)
            try await gateway.change { try $0.add(addition) }
        }
    }

    struct Activate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Send a tunnel's traffic with this SA from now on.")

        @OptionGroup var association: AssociationOption
        @OptionGroup var gateway: GatewayOption

        func run() async throws {
            try await gateway.change { try $0.activate(tunnel: association.tunnel, spi: association.spi) }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take an SA away, with its key.")

        @OptionGroup var association: AssociationOption
        @OptionGroup var gateway: GatewayOption

        func run() async throws {
            try await gateway.change { try $0.remove(tunnel: association.tunnel, spi: association.spi) }
        }
    }
}

/// One SA of a tunnel.
struct AssociationOption: ParsableArguments {
    @Option(help: ArgumentHelp("The tunnel's name.", valueName: "name"))
    var tunnel: String
    @Option(help: ArgumentHelp("The SA's SPI.", valueName: "0x…"))
    var spi: String
}
