import ArgumentParser
import Gateway

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the gateway in the foreground; logs go to stderr.",
        discussion: "SIGTERM and SIGINT stop it: packets in flight are finished, and the final counters are logged.")

    @OptionGroup var site: SiteOption
    @Option(help: ArgumentHelp("Write the final report there.", valueName: "file.json"))
    var report: String?
    @Option(help: "How log lines look.")
    var logFormat = Log.Format.text

    func run() async throws {
        try await reportingFailures {
            let reading = try SiteReader.read(path: site.config, mode: .run)
            let logger = Log.makeLogger(logFormat)
            for problem in reading.problems { logger.warning("\(problem)") }
            try await LiveGateway.run(reading.site, sitePath: site.config, reportPath: report, logger: logger)
        }
    }
}

extension Log.Format: ExpressibleByArgument {}
