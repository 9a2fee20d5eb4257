import ArgumentParser
import Gateway

/// Judges the verbs of a command line before they are parsed: since `run` is the default verb, the parser takes a
/// misspelled one for an argument of `run`.
enum VerbCheck {
    /// What is wrong with the first word that is no verb; nil when there is none.
    static func problem(_ arguments: some Sequence<String>) -> String? {
        var command: any ParsableCommand.Type = VPNGateway.self
        for word in arguments {
            let verbs = command.configuration.subcommands
            guard !verbs.isEmpty, !word.hasPrefix("-"), word != "help" else { return nil }
            guard let next = verbs.first(where: { $0._commandName == word }) else {
                let names = verbs.map { $0._commandName }
                let hint = nearest(to: word, among: names).map { "did you mean \($0)?" }
                return "no verb \"\(word)\": " + (hint ?? "there are \(names.joined(separator: ", "))")
            }
            command = next
        }
        return nil
    }
}
