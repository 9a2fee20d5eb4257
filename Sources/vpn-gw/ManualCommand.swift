import ArgumentParser
import Foundation
import Gateway

/// Prints what the package installs beside the program; nobody types it by hand.
struct ManualCommand: AsyncParsableCommand {
    enum Page: String, CaseIterable, ExpressibleByArgument {
        case program = "vpn-gw.1"
        case site = "vpn-gw-site.5"
        case siteReference = "SITE.md"
    }

    static let configuration = CommandConfiguration(
        commandName: "manual", abstract: "Print a manual page as its source.", shouldDisplay: false)

    @Argument(help: "Which.")
    var page: Page

    func run() async throws {
        switch page {
        case .program: print(try ProgramManual.text(), terminator: "")
        case .site: print(SiteReference.manual, terminator: "")
        case .siteReference: print(SiteReference.markdown, terminator: "")
        }
    }
}

/// vpn-gw(1), from what the parser knows of verbs and options.
enum ProgramManual {
    private struct Tool: Decodable { let command: Verb }

    private struct Verb: Decodable {
        let commandName: String
        let abstract: String?, discussion: String?
        let shouldDisplay: Bool?
        let subcommands: [Verb]?
        let arguments: [Option]?
    }

    private struct Option: Decodable {
        struct Name: Decodable { let kind: String, name: String }
        let kind: String
        let shouldDisplay: Bool
        let isRepeating: Bool
        let names: [Name]?
        let valueName: String?, defaultValue: String?, abstract: String?
        let allValues: [String]?

        /// Every verb has these.
        var isEverywhere: Bool { (names ?? []).contains { ["help", "version"].contains($0.name) } }

        var title: String {
            let dashed = (names ?? []).map { ($0.kind == "long" ? "--" : "-") + $0.name }.joined(separator: ", ")
            let value = "<\(valueName ?? "value")>"
            return switch kind {
            case "flag": dashed
            case "option": "\(dashed) \(value)"
            default: value
            }
        }

        var words: String {
            var words = abstract ?? ""
            if let allValues, !allValues.isEmpty { words += " One of: \(allValues.joined(separator: ", "))." }
            if let defaultValue { words += " Default: \(defaultValue)." }
            if isRepeating { words += " May stand several times." }
            return words.trimmingCharacters(in: .whitespaces)
        }
    }

    static func text() throws -> String {
        let tool = try JSONDecoder().decode(Tool.self, from: Data(VPNGateway._dumpHelp().utf8)).command
        var page = Roff(name: "vpn-gw", section: 1, what: "a userspace IPsec gateway over DPDK")
        page.heading("synopsis")
        page.verbatim("vpn-gw --config site.toml\nvpn-gw VERB [OPTION ...]")
        page.heading("description")
        page.paragraph(
            "Runs the gateway that a site file describes, in the foreground, or does what a verb says. "
                + "`run' is the verb when there is none.")
        page.heading("verbs")
        for verb in tool.subcommands ?? [] { add(verb, path: "vpn-gw", to: &page) }
        page.heading("exit status")
        for (code, meaning) in ExitCodeManual.rows { page.term(code, meaning) }
        page.heading("files")
        page.term("/etc/vpn-gw/site.toml", "the site that vpn-gw.service runs")
        page.term("/var/lib/vpn-gw", "what must survive a restart")
        page.term("/run/vpn-gw/control.sock", "where verbs ask the gateway that runs")
        page.heading("see also")
        page.paragraph("vpn-gw-site(5), and the guides in /usr/share/doc/vpn-gw")
        return page.text
    }

    private static func add(_ verb: Verb, path: String, to page: inout Roff) {
        guard verb.shouldDisplay ?? true, verb.commandName != "help" else { return }
        let path = "\(path) \(verb.commandName)"
        page.subheading(path)
        page.paragraph(verb.abstract ?? "")
        page.paragraph(verb.discussion ?? "")
        for option in verb.arguments ?? [] where option.shouldDisplay && !option.isEverywhere {
            page.term(option.title, option.words)
        }
        for inner in verb.subcommands ?? [] { add(inner, path: path, to: &page) }
    }
}
