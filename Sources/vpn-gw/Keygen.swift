import ArgumentParser
import Gateway

struct Keygen: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make keys: one on stdout, or a tunnel's files for both ends.",
        discussion: """
            With --near and --far, writes DIRECTORY/NEAR/FAR-out.key, NEAR/FAR-in.key and the same for the far \
            end, each readable by its owner alone; copy each end's directory there over a channel you trust, and \
            delete it here. The keys of a tunnel's further children get a suffix: --suffix 2 writes FAR-out-2.key.
            """)

    @Option(
        help: ArgumentHelp(
            "What the keys are for: \(KeyFiles.algorithmNames.joined(separator: ", ")).", valueName: "name"))
    var algorithm = KeyFiles.usualAlgorithm
    @Option(help: ArgumentHelp("This end's name.", valueName: "name"))
    var near: String?
    @Option(help: ArgumentHelp("The other end's name.", valueName: "name"))
    var far: String?
    @Option(help: ArgumentHelp("What tells these keys from the tunnel's earlier ones.", valueName: "name"))
    var suffix: String?
    @Option(help: "Where the ends' directories go.")
    var directory = "keys"

    func run() async throws {
        guard let made = KeyFiles.algorithm(named: algorithm) else {
            throw ValidationError("--algorithm \(algorithm): \(KeyFiles.hint(forAlgorithm: algorithm))")
        }
        guard near != nil || far != nil || suffix != nil else { return print(KeyFiles.makeKey(for: made)) }
        guard let near, let far, let ends = KeyFiles.Ends(near: near, far: far, suffix: suffix) else {
            throw ValidationError(
                "--near and --far: give two different names of letters, digits, dots, dashes; --suffix one such name")
        }
        try await reportingFailures {
            for path in try KeyFiles.write(for: ends, algorithm: made, below: directory) { print(path) }
        }
    }
}
