import ArgumentParser
import Gateway

struct Pcap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run capture files through the same pipeline; needs no device, no hugepages, no root.",
        discussion: """
            Inputs are merged by time stamp. The same input and site give the same output, byte for byte: SAs start at \
            sequence number 1 and IV 1 in every run, so what is written must never be sent.
            """)

    @OptionGroup var site: SiteOption
    @Option(name: .customLong("in"), help: ArgumentHelp("What comes in by a port.", valueName: "port=file"))
    var inputs: [String] = []
    @Option(name: .customLong("out"), help: ArgumentHelp("What leaves by a port.", valueName: "port=file"))
    var outputs: [String] = []
    @Option(help: ArgumentHelp("Write the counters there.", valueName: "file.json"))
    var report: String?
    @Option(help: ArgumentHelp("Write dropped packets there, as they came.", valueName: "file.pcap"))
    var drops: String?
    @Flag(help: "Ask for next hops by ARP and wait for answers in the input.")
    var resolve = false
    @Flag(help: "Replay keys that this state directory has used on the wire.")
    var reuseKeys = false

    func run() async throws {
        let files = try inputs.map(portFile), destinations = try outputs.map(portFile)
        guard !files.isEmpty else { throw ValidationError("name at least one input: --in PORT=FILE") }
        try await reportingFailures {
            let reading = try SiteReader.read(path: site.config, mode: .pcap)
            for problem in reading.problems { StandardError.write("\(problem)\n") }
            try refuseUsedKeys(reading.site)
            StandardError.write("vpn-gw: replay repeats its nonces from run to run: never send what it writes\n")
            let options = ReplayOptions(
                inputs: files, outputs: destinations, reportPath: report, dropsPath: drops, resolve: resolve)
            let progress = Progress()
            defer { progress.end() }
            let result = try Replay.run(reading.site, options) { progress.show(records: $0) }
            progress.end()
            for line in result.lines { StandardError.write("\(line)\n") }
        }
    }

    private func portFile(_ argument: String) throws -> ReplayOptions.PortFile {
        guard let file = ReplayOptions.PortFile(argument) else {
            throw ValidationError("\"\(argument)\" is not PORT=FILE")
        }
        return file
    }

    private func refuseUsedKeys(_ site: Site) throws {
        guard !reuseKeys else { return }
        let used = try Replay.usedTunnels(site)
        if !used.isEmpty { throw UsedKeys(tunnels: used) }
    }
}
