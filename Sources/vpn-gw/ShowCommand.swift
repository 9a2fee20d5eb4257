import ArgumentParser
import Foundation
import Gateway

struct ShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Look into a running gateway.",
        discussion: """
            report has the counters of all packets, in the words of --report. On a terminal a table has the columns \
            that fit, the others are named below it; elsewhere it has all of them.
            """)

    @Argument(help: "What to look at.")
    var subject: ControlSubject
    @Flag(help: "Print JSON.")
    var json = false
    @Flag(help: "Look again each second, until interrupted.")
    var watch = false
    @OptionGroup var table: TableOption
    @OptionGroup var gateway: GatewayOption

    func run() async throws {
        try await reportingFailures {
            let client = try gateway.client
            guard watch else {
                return print(try client.show(subject, json: json, columns: table.columns), terminator: "")
            }
            let screen = ControlScreen()
            while true {
                let frame = screen.frame(try client.show(subject, json: json, columns: table.columns))
                // Not by print, which keeps text back when nobody sits at a terminal.
                FileHandle.standardOutput.write(Data(frame.utf8))
                try await Task.sleep(for: .seconds(1))
            }
        }
    }
}

extension ControlSubject: ExpressibleByArgument {}
