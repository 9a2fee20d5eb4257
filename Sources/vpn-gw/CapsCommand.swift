import ArgumentParser
import Gateway

struct CapsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "caps", abstract: "Say what the ports' drivers offer for IPsec, and what of it can be used.",
        discussion: """
            Asks the running gateway. Where none runs and --config names a site, the site's devices are asked, as a \
            start would find them; nothing is sent.
            """)

    @Option(help: ArgumentHelp("One port only.", valueName: "name"))
    var port: String?
    @Flag(help: "Print JSON.")
    var json = false
    @OptionGroup var table: TableOption
    @OptionGroup var gateway: GatewayOption

    func run() async throws {
        try await reportingFailures { print(try await text(), terminator: "") }
    }

    private func text() async throws -> String {
        do {
            return try gateway.client.capabilities(port: port, json: json, columns: table.columns)
        } catch ControlClientError.noGateway(let path, let code) {
            guard let config = gateway.config else { throw ControlClientError.noGateway(path: path, code: code) }
            let site = try SiteReader.read(path: config, mode: .check).site
            return try await CapabilityProbe.text(site, port: port, json: json, columns: table.columns)
        }
    }
}
