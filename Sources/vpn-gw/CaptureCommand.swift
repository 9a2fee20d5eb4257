import ArgumentParser
import Gateway

struct CaptureCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capture", abstract: "Write packets of a running gateway to a pcapng file.",
        discussion: """
            Frames of a port as they are on the wire, and beside them, on an interface of their own, the packets \
            inside its ESP and AH in clear: the file has mode 0600. Ctrl-C ends it.
            """)

    @Option(help: ArgumentHelp("The port.", valueName: "name"))
    var port: String
    @Option(help: ArgumentHelp("Where to write; what is there is replaced.", valueName: "file.pcapng"))
    var write: String
    @Flag(help: "Only what came in by the port and was dropped, each with the reason as its comment.")
    var dropped = false
    @Option(help: ArgumentHelp("Packets after which it ends, up to \(ObserveRequest.countLimit).", valueName: "N"))
    var count = 100_000
    @Option(help: ArgumentHelp("Octets of each packet that are kept, 64 to 65535.", valueName: "N"))
    var snapOctets = 65535
    @Option(help: ArgumentHelp("MiB of the file after which it ends.", valueName: "N"))
    var fileMib = 256
    @OptionGroup var gateway: GatewayOption

    func validate() throws {
        guard (1...1_048_576).contains(fileMib) else { throw ValidationError("--file-mib is 1 to 1048576") }
    }

    func run() async throws {
        try await reportingFailures {
            let summary = try ObservationClient(try gateway.client).capture(
                port: port, dropped: dropped, path: write, count: count, snapOctets: snapOctets, fileMiB: fileMib
            ) { StandardError.write("vpn-gw: note: \($0)\n") }
            for line in summary.lines { StandardError.write("vpn-gw: \(line)\n") }
        }
    }
}
