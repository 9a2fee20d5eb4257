import ArgumentParser
import Gateway

struct ExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Print what the other end of a tunnel is to be told.",
        discussion: """
            linux prints `ip xfrm` and `ip route` lines, vpp lines for vppctl. Without --with-keys, placeholders stand \
            where the keys go. With it: umask 077, into a file, over a channel you trust, and delete it after.
            """)

    @Argument(help: "Whose commands.")
    var kind: PeerExport.Kind
    @Option(help: ArgumentHelp("The tunnel's name in the site.", valueName: "name"))
    var tunnel: String
    @OptionGroup var site: SiteOption
    @Flag(help: "Print the keys too.")
    var withKeys = false

    func run() async throws {
        try await reportingFailures {
            let reading = try SiteReader.read(path: site.config, mode: .check)
            let export = try PeerExport(reading.site, tunnel: tunnel, now: PeerExport.now, withKeys: withKeys)
            print(try export.text(for: kind), terminator: "")
        }
    }
}

extension PeerExport.Kind: ExpressibleByArgument {}
