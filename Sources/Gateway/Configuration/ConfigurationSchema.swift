/// One key of a site file: its name, type, and what it is for. The reader's checks of names, types, ranges and missing
/// keys, and the hints it gives, all follow from these.
final class ConfigurationKey: Sendable {
    /// The type of a value, and what can be said about it without looking elsewhere.
    enum Kind: Sendable {
        case string, boolean, strings, integers, dateTime
        case integer(ClosedRange<Int>)
        case choice([String])
        /// Any of these two, looked at by the key's own code.
        case integerOrString, stringOrTable
        case table(ConfigurationSchema)
        case tables(ConfigurationSchema)

        /// "a string".
        var name: String {
            switch self {
            case .string, .choice: "a string"
            case .boolean: "true or false"
            case .strings: "an array of strings"
            case .integers: "an array of integers"
            case .integer: "an integer"
            case .dateTime: "a date and time with its offset from UTC, in whole seconds"
            case .integerOrString: "a string or an integer"
            case .stringOrTable: "a string or a table"
            case .table: "one table"
            case .tables: "an array of tables"
            }
        }

        /// The type of an array's elements.
        var elementName: String {
            if case .strings = self { "a string" } else { "an integer" }
        }

        /// Whether an array of this kind may hold `element`.
        func holds(_ element: ConfigurationValue) -> Bool {
            switch (self, element) {
            case (.strings, .string), (.integers, .integer): true
            default: false
            }
        }

        /// Whether a value that is no array of tables and no table of ours has the right type.
        func accepts(_ value: ConfigurationValue) -> Bool {
            switch (self, value) {
            case (.string, .string), (.choice, .string), (.boolean, .boolean), (.integer, .integer): true
            case (.dateTime, .dateTime): true
            case (.integerOrString, .integer), (.integerOrString, .string): true
            case (.stringOrTable, .string), (.stringOrTable, .table): true
            default: false
            }
        }
    }

    let name: String
    let kind: Kind
    let isRequired: Bool
    /// A line as it might stand in a file.
    let example: String
    /// What it is, in a few words.
    let help: String

    /// Of an array of strings or integers; a tunnel's selectors are all pairs of two such arrays.
    static let mostElements = 256

    init(
        _ name: String, _ kind: Kind, required: Bool = false, _ example: String, _ help: String
    ) {
        self.name = name
        self.kind = kind
        isRequired = required
        self.example = example
        self.help = help
    }

    /// Whether a value of the right type can be what it is; says why not.
    func judge(_ value: ConfigurationValue, at path: @autoclosure () -> String, _ problems: ProblemList) -> Bool {
        switch (kind, value) {
        case (.integer(let range), .integer(let number)) where !range.contains(number):
            problems.error(
                path(), "\(number) is out of range", hint: "\(range.lowerBound) to \(range.upperBound): \(help)")
            return false
        case (.dateTime, .dateTime(let seconds)) where !CalendarTime.range.contains(seconds):
            problems.error(
                path(), "is \(seconds < 0 ? "before 1970" : "after 9999") in UTC", hint: "\(example) (\(help))")
            return false
        case (.choice(let choices), .string(let text)) where !choices.contains(text):
            let near = nearest(to: text, among: choices).map { "did you mean \"\($0)\"?" }
            problems.error(
                path(), "\"\(text)\" is none of \(choices.map { "\"\($0)\"" }.joined(separator: ", "))",
                hint: near ?? "\(example) (\(help))")
            return false
        case (.string, .string(let text)) where text.isEmpty:
            problems.error(path(), "is empty", hint: "\(example) (\(help))")
            return false
        default: return true
        }
    }
}

/// The keys that a table may have.
struct ConfigurationSchema: Sendable {
    let keys: [ConfigurationKey]
    /// Those that every such table has.
    let required: [ConfigurationKey]
    private let keysByName: [String: ConfigurationKey]

    init(_ keys: [ConfigurationKey]) {
        self.keys = keys
        required = keys.filter(\.isRequired)
        keysByName = Dictionary(keys.map { ($0.name, $0) }) { first, _ in first }
    }

    /// The key of that name.
    func key(_ name: String) -> ConfigurationKey? { keysByName[name] }

    /// What somebody may have meant who wrote `name`: a key of this table that is spelled nearly so, or a key of that
    /// name in another table.
    func hint(forUnknown name: String, at path: String) -> String {
        if let near = nearest(to: name, among: keys.map(\.name)) { return "did you mean \(near)?" }
        if let home = ConfigurationSchema.home(of: name, in: ConfigurationSchema.site, at: "") {
            return "it belongs in \(home)"
        }
        let names = keys.map(\.name).joined(separator: ", ")
        return path.isEmpty ? "the tables are \(names)" : "the keys here are \(names)"
    }

    /// The table, as its header is written, that has a key called `name`.
    private static func home(of name: String, in schema: ConfigurationSchema, at path: String) -> String? {
        for key in schema.keys {
            let inner: ConfigurationSchema, brackets: (String, String)
            switch key.kind {
            case .table(let schema): (inner, brackets) = (schema, ("[", "]"))
            case .tables(let schema): (inner, brackets) = (schema, ("[[", "]]"))
            default: continue
            }
            let path = path.isEmpty ? key.name : "\(path).\(key.name)"
            if inner.keys.contains(where: { $0.name == name }) { return brackets.0 + path + brackets.1 }
            if let home = home(of: name, in: inner, at: path) { return home }
        }
        return nil
    }
}

/// The word among `candidates` that is `word` with a typing mistake or two; nil when none is near.
public func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    guard word.utf8.count <= 64 else { return nil }
    var best: (distance: Int, word: String)?
    for candidate in candidates {
        let distance = editDistance(Array(word.lowercased().utf8), Array(candidate.lowercased().utf8))
        guard distance <= max(1, min(3, candidate.utf8.count / 3)), distance < best?.distance ?? .max else { continue }
        best = (distance, candidate)
    }
    return best?.word
}

/// Octets to insert, remove or replace to make one word of the other (Levenshtein).
private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var row = Array(0...right.count)
    for (index, octet) in left.enumerated() {
        var diagonal = row[0]
        row[0] = index + 1
        for column in right.indices {
            let replaced = diagonal + (octet == right[column] ? 0 : 1)
            diagonal = row[column + 1]
            row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
        }
    }
    return row[right.count]
}
