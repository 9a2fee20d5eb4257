import ArgumentParser
import Gateway

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure cycles a packet through the production worker, every check on.",
        discussion: "Needs no device, no hugepages, no root. Compare figures of one run only.")

    @Option(help: "Inner IP lengths in octets, or imix, separated by commas.")
    var sizes = "64,128,256,512,1024,1420,8900,imix"
    @Option(help: "encap, decap or both, separated by commas.")
    var direction = "encap,decap,both"
    @Option(help: "Numbers of SAs that each worker's packets take turns on in random order, separated by commas.")
    var associations = "1"
    @Option(
        help: """
            software, inline (a NIC encrypts, whose part and whose driver's is left out), lookaside (DPDK's \
            crypto_aesni_mb beside the packets' way) or null (nobody does), separated by commas; measured in turn.
            """)
    var path = "software"
    @Option(
        help: """
            Numbers of workers, separated by commas, measured in turn; with more than one, each has a core, SAs and a \
            feed of its own.
            """)
    var workers = "1"
    @Option(help: "Samples of each row; fewer take less time and say less.")
    var samples = 400
    @Option(help: "table, json or csv.")
    var format = BenchOptions.Format.table
    @Flag(
        help: """
            Also every row with numbers reserved on disk as a running gateway does, in turn with those without; and \
            what that writes.
            """)
    var reservations = false
    @Option(help: ArgumentHelp("Where --reservations writes; a temporary directory is made below.", valueName: "path"))
    var directory = "/var/tmp"
    @Flag(help: "Also where ESP's cycles go: header passes and crypto apart.")
    var stages = false
    @Flag(
        help: """
            What time packets take in place of cycles: percentiles at 10, 50 and 90 % of the rate that is kept up \
            with, from when each was due to when it was sent.
            """)
    var latency = false
    @Option(
        help: ArgumentHelp(
            "Also draw throughput and cycles an octet against the packet's size, as SVG.", valueName: "file.svg"))
    var plot: String?

    func run() async throws {
        let options = try options()
        try await reportingFailures {
            let progress = Progress()
            defer { progress.end() }
            let result = try BenchReport.run(options, reservingBelow: reservations ? directory : nil) {
                progress.show($0)
            }
            progress.end()
            print(try result.render(as: format))
            // Last: what was measured is not lost when there is no such directory.
            if let plot { try result.plot(to: plot) }
        }
    }

    private func options() throws -> BenchOptions {
        var options = BenchOptions()
        options.sizes = try list(sizes, "--sizes", "imix or a number from 20 to 9000") { BenchOptions.Size($0) }
        options.directions = try list(direction, "--direction", "encap, decap or both") {
            BenchOptions.Direction(rawValue: $0)
        }
        options.paths = try list(path, "--path", "software, inline, lookaside or null") {
            BenchOptions.Path(rawValue: $0)
        }
        guard Set(options.paths).count == options.paths.count else {
            throw ValidationError("--path \(path): each path once")
        }
        options.workers = try list(workers, "--workers", "a number from 1 to \(BenchOptions.workerLimits.upperBound)") {
            Int($0).flatMap { BenchOptions.workerLimits.contains($0) ? $0 : nil }
        }
        guard Set(options.workers).count == options.workers.count else {
            throw ValidationError("--workers \(workers): each number once")
        }
        guard !reservations || options.paths == [.software] && options.workers == [1] else {
            throw ValidationError("--reservations is for --path software and one worker")
        }
        options.associations = try list(associations, "--associations", "a number from 1 to 65536") {
            Int($0).flatMap { BenchOptions.associationLimits.contains($0) ? $0 : nil }
        }
        let most = (options.associations.max() ?? 1) * (options.workers.max() ?? 1)
        guard BenchOptions.associationLimits.contains(most) else {
            throw ValidationError("--associations of all workers together are 65536 at most; these are \(most)")
        }
        guard BenchOptions.sampleLimits.contains(samples) else {
            throw ValidationError(
                "--samples \(samples): give a number from 1 to \(BenchOptions.sampleLimits.upperBound)")
        }
        options.samples = samples
        options.stages = stages
        options.latency = latency
        try checkCombinations(options)
        return options
    }

    private func checkCombinations(_ options: BenchOptions) throws {
        if latency {
            guard options.directions != [.both] else {
                throw ValidationError(
                    "--latency is measured one way at a time: --direction encap, decap or both of them")
            }
            guard !reservations && !stages && plot == nil else {
                throw ValidationError("--latency goes without --reservations, --stages and --plot")
            }
        }
        if plot != nil && options.sizes.filter({ $0.lengths.count == 1 }).count < 2 {
            throw ValidationError("--plot takes two --sizes or more besides imix: lines are drawn between them")
        }
    }

    private func list<Element>(
        _ text: String, _ option: String, _ allowed: String, _ read: (String) -> Element?
    ) throws -> [Element] {
        let parts = text.split(separator: ",").map(String.init)
        guard !parts.isEmpty else { throw ValidationError("\(option) is empty: give \(allowed)") }
        return try parts.map { part in
            guard let element = read(part) else { throw ValidationError("\(option) \(part): give \(allowed)") }
            return element
        }
    }
}

extension BenchOptions.Format: ExpressibleByArgument {}
