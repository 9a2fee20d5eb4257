import ArgumentParser
import Gateway

@main
struct VPNGateway: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vpn-gw",
        abstract: "A userspace IPsec gateway over DPDK.", version: SoftwareVersion.text,
        subcommands: [
            Run.self, Check.self, ShowCommand.self, TopCommand.self, TraceCommand.self, CaptureCommand.self,
            SACommand.self, ReloadCommand.self, CapsCommand.self, OffloadCommand.self, RestartPortCommand.self,
            Pcap.self,
            BenchCommand.self, Keygen.self, StateCommand.self, DoctorCommand.self, ExportCommand.self,
            ManualCommand.self,
        ],
        defaultSubcommand: Run.self)

    static func main() async {
        if let refusal = ProcessorFeatures.refusal {
            StandardError.write("vpn-gw: \(refusal)\n")
            exit(withError: ArgumentParser.ExitCode(Gateway.ExitCode.unavailable.rawValue))
        }
        CrashReports.disable()
        LargeHeap.expect()
        if let problem = VerbCheck.problem(CommandLine.arguments.dropFirst()) {
            exit(withError: ValidationError(problem))
        }
        await main(nil)
    }
}

/// The site file, which most commands want.
struct SiteOption: ParsableArguments {
    @Option(help: ArgumentHelp("The site to work on.", valueName: "site.toml"))
    var config: String
}
