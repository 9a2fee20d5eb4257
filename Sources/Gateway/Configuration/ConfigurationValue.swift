import TOMLKit

/// A value as the file has it, in Swift's own memory.
enum ConfigurationValue: Equatable, Sendable {
    case string(String)
    case integer(Int)
    case boolean(Bool)
    /// A date and time with its offset from UTC, without a fraction of a second; in seconds since 1970.
    case dateTime(Int64)
    case array([ConfigurationValue])
    case table(ByName<ConfigurationValue>)
    /// A floating-point number, a date or a time alone and the like, which no key of ours takes; with its name for the
    /// message.
    case other(String)

    /// Copies a parsed value. Its depth is bounded by the scanner's and the parser's limits.
    init(_ value: TOMLValue) {
        switch value.type {
        case .string: self = .string(value.string ?? "")
        case .int: self = .integer(value.int ?? 0)
        case .bool: self = .boolean(value.bool ?? false)
        case .array: self = .array(value.array.map { array in array.map { ConfigurationValue($0.tomlValue) } } ?? [])
        case .table: self = .table(value.table.map(ConfigurationValue.entries) ?? ByName())
        case .dateTime: self = value.dateTime.map(ConfigurationValue.init) ?? .other("nothing")
        case .double, .date, .time: self = .other("a \(value.type)")
        }
    }

    /// The parser has checked that there are such a day and such a time of day.
    init(_ value: TOMLDateTime) {
        guard let offset = value.offset?.offset else {
            self = .other("one without its offset from UTC")
            return
        }
        guard value.time.nanoSecond == 0 else {
            self = .other("one with a fraction of a second")
            return
        }
        let days = CalendarTime.days(year: value.date.year, month: value.date.month, day: value.date.day)
        let minutes = (days * 24 + value.time.hour) * 60 + value.time.minute - offset
        self = .dateTime(Int64(minutes * 60 + value.time.second))
    }

    /// The entries of a parsed table. A key with a NUL in it does not come back from the parser whole and counts as
    /// unknown.
    static func entries(_ table: TOMLTable) -> ByName<ConfigurationValue> {
        let keys = table.keys
        var entries = ByName<ConfigurationValue>(room: keys.count)
        for key in keys {
            entries.append(key, table[key].map { ConfigurationValue($0.tomlValue) } ?? .other("nothing"))
        }
        return entries
    }

    /// Its type in a sentence: "an integer".
    var typeName: String {
        switch self {
        case .string: "a string"
        case .integer: "an integer"
        case .boolean: "a boolean"
        case .dateTime: "a date and time"
        case .array: "an array"
        case .table: "a table"
        case .other(let name): name
        }
    }
}

/// The few values of one table by their names: a site has 100 000 tables, and for most of them looking through the
/// names takes less than hashing them.
struct ByName<Value> {
    private(set) var entries: [(name: String, value: Value)] = []

    /// None, with room for so many.
    init(room: Int = 0) { entries.reserveCapacity(room) }

    subscript(name: String) -> Value? {
        for index in entries.indices where entries[index].name == name { return entries[index].value }
        return nil
    }

    /// `name` is not there yet.
    mutating func append(_ name: String, _ value: Value) { entries.append((name, value)) }
}

extension ByName: Equatable where Value: Equatable {
    static func == (left: ByName, right: ByName) -> Bool { left.entries.elementsEqual(right.entries, by: ==) }
}

extension ByName: Sendable where Value: Sendable {}

/// A table whose keys are known and whose values have the types that the schema asks for: what does not is absent here
/// and among the problems.
struct ConfigurationTable {
    let path: String
    private(set) var values = ByName<ConfigurationValue>()
    /// Keys that the file has and that can't be used.
    private var refused: Set<String> = []
    private var subtables = ByName<[ConfigurationTable]>()

    func path(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
    /// Whether there is a usable value.
    func has(_ key: String) -> Bool { values[key] != nil || subtables[key] != nil }
    /// Whether the file has the key at all; when it has and `has` says no, its problem has been told.
    func isAsked(_ key: String) -> Bool { has(key) || refused.contains(key) }

    func string(_ key: String) -> String? {
        guard case .string(let text)? = values[key] else { return nil }
        return text
    }

    func integer(_ key: String) -> Int? {
        guard case .integer(let number)? = values[key] else { return nil }
        return number
    }

    func boolean(_ key: String) -> Bool? {
        guard case .boolean(let flag)? = values[key] else { return nil }
        return flag
    }

    /// In seconds since 1970.
    func dateTime(_ key: String) -> Int64? {
        guard case .dateTime(let seconds)? = values[key] else { return nil }
        return seconds
    }

    /// An array's strings, each with its path.
    func strings(_ key: String) -> [(path: String, text: String)] {
        guard case .array(let elements)? = values[key] else { return [] }
        return elements.enumerated().compactMap { index, element in
            guard case .string(let text) = element else { return nil }
            return ("\(path(key))[\(index)]", text)
        }
    }

    /// An array's integers, each with its path.
    func integers(_ key: String) -> [(path: String, number: Int)] {
        guard case .array(let elements)? = values[key] else { return [] }
        return elements.enumerated().compactMap { index, element in
            guard case .integer(let number) = element else { return nil }
            return ("\(path(key))[\(index)]", number)
        }
    }

    func table(_ key: String) -> ConfigurationTable? { subtables[key]?.first }
    func tables(_ key: String) -> [ConfigurationTable] { subtables[key] ?? [] }

    /// Checks `entries` against `schema` and keeps what holds.
    init(
        _ table: ByName<ConfigurationValue>, path: String, schema: ConfigurationSchema, _ problems: ProblemList
    ) {
        self.path = path
        values = ByName(room: table.entries.count)
        for (name, value) in table.entries {
            guard let key = schema.key(name) else {
                problems.error(
                    self.path(name), "unknown key", hint: schema.hint(forUnknown: name, at: path))
                continue
            }
            take(value, key, problems)
            if !has(name) { refused.insert(name) }
        }
        for key in schema.required where table[key.name] == nil {
            problems.error(self.path(key.name), "is missing", hint: "\(key.example) (\(key.help))")
        }
    }

    private mutating func take(_ value: ConfigurationValue, _ key: ConfigurationKey, _ problems: ProblemList) {
        // Most values are as they should be, and nobody asks for their paths.
        lazy var path = self.path(key.name)
        switch (key.kind, value) {
        case (.table(let schema), .table(let entries)):
            subtables.append(key.name, [ConfigurationTable(entries, path: path, schema: schema, problems)])
        case (.tables(let schema), .array(let elements)):
            let path = path
            let shares = problems.inShares(of: elements.count) { share, problems in
                share.compactMap { index -> ConfigurationTable? in
                    guard case .table(let entries) = elements[index] else {
                        problems.error(
                            "\(path)[\(index)]", "must be a table, not \(elements[index].typeName)",
                            hint: key.example)
                        return nil
                    }
                    return ConfigurationTable(entries, path: "\(path)[\(index)]", schema: schema, problems)
                }
            }
            let tables = Array(shares.joined())
            subtables.append(key.name, tables)
        case (.strings, .array(let elements)), (.integers, .array(let elements)):
            guard elements.count <= ConfigurationKey.mostElements else {
                problems.error(
                    path, "has \(elements.count) elements", hint: "\(ConfigurationKey.mostElements) at most")
                return
            }
            values.append(key.name, value)
            for (index, element) in elements.enumerated() where !key.kind.holds(element) {
                problems.error(
                    "\(path)[\(index)]", "must be \(key.kind.elementName), not \(element.typeName)", hint: key.example)
            }
        case _ where key.kind.accepts(value):
            if key.judge(value, at: path, problems) { values.append(key.name, value) }
        default:
            problems.error(path, "must be \(key.kind.name), not \(value.typeName)", hint: key.example)
        }
    }
}
