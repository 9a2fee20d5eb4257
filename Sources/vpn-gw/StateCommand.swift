import ArgumentParser
import Gateway

struct StateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "state", abstract: "Look at the state directory, or get a refused one going again.",
        subcommands: [Show.self, Log.self, Adopt.self, Reset.self])

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Every SA that it knows; a gateway may be running.")

        @OptionGroup var state: StateDirectoryOption
        @Flag(help: "Print JSON.")
        var json = false

        func run() async throws {
            try await reportingFailures {
                print(try StateReport.show(directory: state.path(), json: json), terminator: "")
            }
        }
    }

    struct Log: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Who changed what, and when; a gateway may be running.")

        @OptionGroup var state: StateDirectoryOption
        @Flag(help: "Print JSON.")
        var json = false
        @Option(help: ArgumentHelp("Only the last entries.", valueName: "n"))
        var last: Int?

        func validate() throws {
            if let last, last < 1 { throw ValidationError("--last \(last): give 1 or more") }
        }

        func run() async throws {
            try await reportingFailures {
                let text = try StateReport.log(directory: state.path(), last: last ?? .max, json: json)
                print(text, terminator: "")
            }
        }
    }

    struct Adopt: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a store of another machine, or of a wrong clock, this machine's.",
            discussion: """
                Moves every sequence number and IV on, so that a copy made after the other machine's last stop repeats \
                none. The other machine must not go on with the same keys.
                """)

        @OptionGroup var state: StateDirectoryOption

        func run() async throws {
            try await reportingFailures { print(try StateReport.adopt(directory: state.path()), terminator: "") }
        }
    }

    struct Reset: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Put a lost or damaged store aside and start a new one, which refuses every key ever used here.",
            discussion: "Deletes nothing. Both ends of every tunnel need new keys afterwards: vpn-gw keygen.")

        @OptionGroup var state: StateDirectoryOption

        func run() async throws {
            try await reportingFailures { print(try StateReport.reset(directory: state.path()), terminator: "") }
        }
    }
}

/// Where the state is: named, or as a site says.
struct StateDirectoryOption: ParsableArguments {
    @Option(help: ArgumentHelp("The site whose state_directory it is.", valueName: "site.toml"))
    var config: String?
    @Option(help: ArgumentHelp("The state directory itself.", valueName: "path"))
    var directory: String?

    func validate() throws {
        guard (config == nil) != (directory == nil) else {
            throw ValidationError("give either --config SITE.toml or --directory PATH")
        }
    }

    func path() throws -> String {
        if let directory { return directory }
        return try SiteReader.read(path: config ?? "", mode: .check).site.gateway.stateDirectory
    }
}
