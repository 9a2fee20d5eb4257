import ArgumentParser
import Gateway

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Say what this machine lacks, and the command that mends it.",
        discussion: """
            With --config for that site, otherwise for any. Changes nothing. Ends with 0 when nothing fails, with 69 \
            when something does; warnings alone are 0.
            """)

    @Option(help: ArgumentHelp("The site to judge the machine for.", valueName: "site.toml"))
    var config: String?
    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        try await reportingFailures {
            let site = try config.map { try SiteReader.read(path: $0, mode: .check).site }
            let report = Doctor.examine(site: site)
            print(json ? report.json : report.text, terminator: "")
            if report.exitCode != .ok { throw ArgumentParser.ExitCode(report.exitCode.rawValue) }
        }
    }
}
