import ArgumentParser
import Foundation
import Gateway

struct TraceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Follow the next packets of a running gateway, step by step.",
        discussion: """
            Of what is named, all must hold for a packet. Up to 20000 packets a second and worker are followed one by \
            one, which costs the worker some of its speed; the others go their way in bursts. Ctrl-C ends it.
            """)

    @Option(help: ArgumentHelp("Packets that come or leave under this SPI.", valueName: "0x…"))
    var spi: String?
    @Option(help: ArgumentHelp("Packets with this address, outside or inside.", valueName: "address"))
    var address: String?
    @Option(help: ArgumentHelp("Packets that are dropped for this reason.", valueName: "reason"))
    var drop: String?
    @Option(help: ArgumentHelp("Packets to follow, up to \(ObserveRequest.countLimit).", valueName: "N"))
    var count = 10
    @Flag(help: "Print JSON, one object a line.")
    var json = false
    @OptionGroup var gateway: GatewayOption

    func run() async throws {
        try await reportingFailures {
            let summary = try ObservationClient(try gateway.client).trace(
                spi: spi, address: address, reason: drop, count: count, json: json
            ) { FileHandle.standardOutput.write(Data("\($0)\n".utf8)) }
            for line in summary.lines { StandardError.write("vpn-gw: \(line)\n") }
        }
    }
}
