import ArgumentParser
import Gateway

struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say everything that is wrong with a site, and what it resolves to.")

    @OptionGroup var site: SiteOption
    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        try await reportingFailures {
            var report: CheckReport
            var code = Gateway.ExitCode.ok
            do {
                let reading = try SiteReader.read(path: site.config, mode: .check)
                report = CheckReport(site: reading.site, problems: reading.problems)
                report.addState(of: reading.site, file: site.config)
            } catch let error as ConfigurationError {
                report = CheckReport(site: nil, problems: error.problems)
                code = error.exitCode
            }
            print(json ? report.json : report.text, terminator: "")
            if code != .ok { throw ArgumentParser.ExitCode(code.rawValue) }
        }
    }
}
