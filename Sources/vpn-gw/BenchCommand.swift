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
    @Option(help: "Numbers of SAs, separated by commas.")
    var associations = "1"
    @Option(
        help: """
            software, inline (a NIC encrypts, whose part and whose driver's is left out), lookaside (DPDK's \
            crypto_aesni_mb beside the packets' way) or null (nobody does), separated by commas; measured in turn.
            """)
    var path = "software"
    @Option(help: "Workers; this version measures 1.")
    var workers = 1
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
        }
    }

    private func options() throws -> BenchOptions {
        guard workers == 1 else { throw ValidationError("--workers \(workers): this version measures 1 worker only") }
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
        guard !reservations || options.paths == [.software] else {
            throw ValidationError("--reservations is for --path software")
        }
        options.associations = try list(associations, "--associations", "a number from 1 to 65536") {
            Int($0).flatMap { BenchOptions.associationLimits.contains($0) ? $0 : nil }
        }
        options.stages = stages
        return options
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
