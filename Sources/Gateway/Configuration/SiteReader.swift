import TOMLKit

/// Reads a site file: text to `Site`, with every problem of the text at once.
///
/// In the order of the work: the file is read with its permissions, keys are taken out of the text (`MaskedText`), keys
/// get their lines (`LineIndex`), the text is parsed, names and types are judged by the schema (`ConfigurationTable`),
/// and what the tables say is judged together (`SiteBuilder`). Nothing of the machine is looked at but the files
/// themselves.
public struct SiteReader: Sendable {
    /// What the site is read for.
    public enum Mode: Sendable, CaseIterable {
        /// To forward packets: keys in a file that others may read are an error.
        case run
        /// To say what is wrong with it.
        case check
        /// To process capture files: devices and cores are not needed.
        case pcap
        /// To measure: as `pcap`.
        case bench

        /// Whether ports are devices of the machine and not files.
        var usesDevices: Bool { self == .run || self == .check }
    }

    /// A site that can be used.
    public struct Reading: Sendable {
        /// The site.
        public let site: Site
        /// Warnings and notes, in the file's order; no errors.
        public let problems: [ConfigurationProblem]
    }

    private let files: FileReader
    private let credentials: CredentialsDirectory

    /// A reader of the file system, which takes `$CREDENTIALS_DIRECTORY` from the environment.
    public init() { self.init(files: .system, credentials: .system) }

    init(files: FileReader, credentials: CredentialsDirectory) {
        self.files = files
        self.credentials = credentials
    }

    /// Reads the file at `path` with the file system's reader. See the method of the same name.
    public static func read(path: String, mode: Mode) throws(ConfigurationError) -> Reading {
        try SiteReader().read(path: path, mode: mode)
    }

    /// Reads the file at `path`, of 64 MiB at most. Throws every problem there is when one of them is an error; its
    /// `exitCode` is 66 for an absent file, 77 for one that may not be read, 78 for one that is wrong.
    public func read(path: String, mode: Mode) throws(ConfigurationError) -> Reading {
        switch files.read(path, SiteReader.longestFile) {
        case .failure(let failure):
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    .error, file: path, line: nil, path: "", message: failure.message,
                    hint: failure.exitCode == .noPermission
                        ? "run as the file's owner, or chown it to this user" : "name the site file with --config",
                    exitCode: failure.exitCode)
            ])
        case .success(var contents):
            defer { contents.wipe() }
            return try read(contents, path: path, mode: mode)
        }
    }

    static let longestFile = 64 << 20

    private func read(_ contents: FileReader.Contents, path: String, mode: Mode) throws(ConfigurationError) -> Reading {
        let masked = MaskedText(contents.octets)
        let lines = LineIndex(masked.text)
        let entries = try parse(masked.text, lines, path: path)
        let problems = ProblemList(file: path, lines: lines)
        let root = ConfigurationTable(entries, path: "", schema: .site(for: mode), problems)
        let builder = SiteBuilder(
            root, problems: problems, masked: masked, files: files, credentials: credentials,
            directory: path.lastIndex(of: "/").map { String(path[...$0]) } ?? "",
            mode: mode, permissions: contents.permissions)
        let site = builder.build()
        masked.wipe()
        Shares.free(builder)
        guard let site else { throw ConfigurationError(problems: problems.sorted) }
        return Reading(site: site, problems: problems.sorted)
    }

    /// The top-level entries of a text.
    func parse(
        _ text: [UInt8], _ lines: LineIndex, path: String
    ) throws(ConfigurationError) -> ByName<ConfigurationValue> {
        func refuse(_ line: Int?, _ message: String, hint: String) -> ConfigurationError {
            ConfigurationError(problems: [
                ConfigurationProblem(.error, file: path, line: line, path: "", message: message, hint: hint)
            ])
        }
        func line(at offset: Int) -> Int { text[..<offset].count { $0 == UInt8(ascii: "\n") } + 1 }

        if let zero = text.firstIndex(of: 0) {
            throw refuse(line(at: zero), "a NUL character", hint: "a site file is plain UTF-8 text")
        }
        if lines.refusal == nil, let entries = SiteReader.entries(inPiecesOf: text) { return entries }
        guard let string = String(validating: text, as: UTF8.self) else {
            throw refuse(nil, "not UTF-8", hint: "a site file is plain UTF-8 text")
        }
        switch lines.refusal {
        case (let line, .excessive)?:
            throw refuse(
                line, "a key that is nested too deep or has too long a name",
                hint: "no key of a site file is deeper than tunnel.child.outbound.spi")
        case (let line, .tooMany)?:
            throw refuse(line, "more than 4 million keys and tables", hint: "no gateway carries that many tunnels")
        case (let line, .namelessTable)?:
            throw refuse(line, "not TOML: a table without a name", hint: SiteReader.syntaxHint)
        case (let line, .noValue)?:
            throw refuse(line, "not TOML: no value where one should be", hint: SiteReader.syntaxHint)
        case (let line, .blankInDate)?:
            throw refuse(
                line, "a blank between a date and a time", hint: "write a T there: 2027-01-01T00:00:00Z")
        case nil: break
        }
        do {
            return try SiteReader.entries(string)
        } catch {
            guard let error = error as? TOMLParseError else {
                throw refuse(nil, "not TOML", hint: SiteReader.syntaxHint)
            }
            throw refuse(
                error.source.begin.line, "not TOML: " + SiteReader.withoutQuotations(error.description),
                hint: SiteReader.syntaxHint)
        }
    }

    static func entries(_ text: String) throws -> ByName<ConfigurationValue> {
        let table = try TOMLTable(string: text)
        // TOMLKit never frees a table: a gateway that reads its site again and again would grow by all of them.
        defer { table.clear() }
        return ConfigurationValue.entries(table)
    }

    /// The same of a large text, by several threads. Nil for a small one, and where something is wrong: then the whole
    /// tells what.
    static func entries(
        inPiecesOf text: [UInt8], most: Int = .max, least: Int = TextPieces.least
    ) -> ByName<ConfigurationValue>? {
        let pieces = TextPieces(text, most: most, least: least).ranges
        guard pieces.count > 1 else { return nil }
        // The longest first, which is all that stands behind the last tunnel: whoever takes it last is waited for.
        let order = pieces.indices.sorted { pieces[$0].count > pieces[$1].count }
        let entries = Shares.map(order.count, smallest: 1, most: .max) { share in
            order[share].map { piece in
                let text = String(validating: text[pieces[piece]], as: UTF8.self)
                return (piece: piece, entries: text.flatMap { try? SiteReader.entries($0) })
            }
        }.joined()
        let read = entries.sorted { $0.piece < $1.piece }.compactMap(\.entries)
        return read.count == pieces.count ? TextPieces.joined(read) : nil
    }

    private static let syntaxHint = "strings stand in quotes, one key = value on a line, tables as [name] or [[name]]"

    /// The parser's message without the pieces of text that it quotes, single characters excepted: they may be of a
    /// key.
    private static func withoutQuotations(_ message: String) -> String {
        let pieces = message.split(separator: "'", omittingEmptySubsequences: false)
        return pieces.enumerated().map { index, piece in index % 2 == 1 && piece.count > 1 ? "…" : String(piece) }
            .joined(separator: "'")
    }
}
