import ArgumentParser
import Foundation
import Gateway

struct ShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Look into a running gateway.",
        discussion: "report has the counters of all packets, in the words of --report.")

    @Argument(help: "What to look at.")
    var subject: ControlSubject
    @Flag(help: "Print JSON.")
    var json = false
    @Flag(help: "Look again each second, until interrupted.")
    var watch = false
    @OptionGroup var gateway: GatewayOption

    func run() async throws {
        try await reportingFailures {
            let client = try gateway.client
            guard watch else { return print(try client.show(subject, json: json), terminator: "") }
            let screen = ControlScreen()
            while true {
                let frame = screen.frame(try client.show(subject, json: json))
                // Not by print, which keeps text back when nobody sits at a terminal.
                FileHandle.standardOutput.write(Data(frame.utf8))
                try await Task.sleep(for: .seconds(1))
            }
        }
    }
}

extension ControlSubject: ExpressibleByArgument {}
