// Which line each key stands on. The TOML parser tells lines for syntax errors only, so a small scanner of our own
// walks the text beside it: tables, arrays of tables, dotted keys, inline tables, arrays, every kind of string,
// comments. It judges nothing; on text that it does not understand it goes on with the next line, and a key that it
// missed gets the line of the table around it.

import Synchronization

/// Key paths ("tunnel[0].outbound.spi") and their lines.
///
/// A site of 100 000 SAs has a million places, and most sites have no problem behind the first of them: so those at the
/// head are listed, and all others when one of them is asked for.
final class LineIndex: Sendable {
    private let text: [UInt8]
    /// In the order of the text, a path again wherever it stands again.
    private let head: [LineScanner.Place]
    /// Of all places, what `lineFar` made when it was first asked.
    private let byPath = Mutex<[UInt64: UInt32]?>(nil)
    /// Text that must not reach the parser, and its line.
    let refusal: (line: Int, reason: LineIndex.Refusal)?

    /// Why text must not reach the parser.
    enum Refusal {
        /// A key nested or named beyond what any site needs: the parser's recursion has no limit for dotted keys.
        case excessive
        /// More keys, tables and elements than any site has: each takes some hundred octets of memory.
        case tooMany
        /// "[" with no name behind it: the parser takes for granted that one is there.
        case namelessTable
        /// What is no value where one should be: as before.
        case noValue
        /// A date and a time with a blank between, which TOML allows and on which the parser counts wrong.
        case blankInDate
    }

    /// Places that are looked through without an index.
    private static let headLength = 1024

    /// What a site may have of keys, tables and elements.
    private static let most = 4_000_000

    init(_ text: [UInt8], most: Int = LineIndex.most) {
        self.text = text
        var scanner = LineScanner(text: text, most: most, listed: LineIndex.headLength)
        scanner.run()
        head = scanner.places
        refusal = scanner.refusal
    }

    /// The line of `path`, or of the nearest table around it that is known; nil for a path of which nothing is.
    func line(of path: String) -> Int? {
        var path = path[...]
        while !path.isEmpty {
            let hash = PathHash(path.utf8).value
            let near = head.first { $0.path == hash }?.line
            if let line = near ?? (head.count < LineIndex.headLength ? nil : lineFar(hash)) { return Int(line) }
            guard let end = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { return nil }
            path = path[..<end]
        }
        return nil
    }

    private func lineFar(_ path: UInt64) -> UInt32? {
        byPath.withLock { index in
            let made = index ?? all
            index = made
            return made[path]
        }
    }

    private var all: [UInt64: UInt32] {
        var scanner = LineScanner(text: text, most: .max, listed: .max)
        scanner.run()
        return Dictionary(scanner.places.lazy.map { ($0.path, $0.line) }) { first, _ in first }
    }
}

/// A path by its octets' FNV-1a hash: a million paths as text would take as much memory as all else. Two paths of one
/// hash would share a line in messages, and nothing else.
private struct PathHash: Hashable {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
    /// Of the path.
    private(set) var octets = 0

    init(_ path: some Sequence<UInt8> = []) { append(path) }

    private mutating func append(_ octet: UInt8) {
        value = (value ^ UInt64(octet)) &* 0x100_0000_01b3
        octets += 1
    }

    mutating func append(_ text: some Sequence<UInt8>) { for octet in text { append(octet) } }

    /// "path.key", or the key alone, which stands at `name` in the text.
    func key(_ text: [UInt8], _ name: Range<Int>) -> PathHash {
        var path = self
        if octets > 0 { path.append(UInt8(ascii: ".")) }
        for index in name { path.append(text[index]) }
        return path
    }

    /// "path[index]".
    func element(_ index: Int) -> PathHash {
        var path = self
        path.append(UInt8(ascii: "["))
        var power = 1
        while index / power >= 10 { power *= 10 }
        while power > 0 {
            path.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: index / power % 10))
            power /= 10
        }
        path.append(UInt8(ascii: "]"))
        return path
    }

    static func == (left: PathHash, right: PathHash) -> Bool { left.value == right.value }
    func hash(into hasher: inout Hasher) { hasher.combine(value) }
}

private struct LineScanner {
    /// Where a path stands.
    struct Place {
        var path: UInt64
        var line: UInt32
    }

    let text: [UInt8]
    var places: [Place] = []
    var refusal: (line: Int, reason: LineIndex.Refusal)?
    private var position = 0
    private var line = 1
    private var table = PathHash()
    private var elementCounts: [PathHash: Int] = [:]
    private let most: Int
    /// Places that are wanted: behind them nothing is asked but whether the text may reach the parser.
    private let listed: Int
    private var isListing: Bool { places.count < listed }
    private var count = 0

    private static let deepest = 16, longestKey = 128, longestPath = 200

    /// The parts of a dotted key, as they stand in the text.
    private struct KeyParts {
        private var ranges = InlineArray<16, Range<Int>>(repeating: 0..<0)
        private(set) var count = 0

        subscript(index: Int) -> Range<Int> { ranges[index] }

        mutating func append(_ range: Range<Int>) {
            ranges[count] = range
            count += 1
        }
    }

    init(text: [UInt8], most: Int, listed: Int) {
        self.text = text
        self.most = most
        self.listed = listed
    }

    mutating func run() {
        while true {
            skipBlank()
            guard let octet = peek() else { return }
            let understood = octet == UInt8(ascii: "[") ? header() : pair(in: table, depth: 0)
            if !understood { skipLine() }
        }
    }

    // MARK: Tables and keys

    /// "[a.b]" or "[[a.b]]".
    private mutating func header() -> Bool {
        let start = line
        advance()
        let isElement = peek() == UInt8(ascii: "[")
        if isElement { advance() }
        skipSpaces()
        guard let first = peek(), LineScanner.canBeginKey(first) else {
            refuse(.namelessTable)
            return true
        }
        guard let parts = key() else { return false }
        if isListing {
            enter(parts, isElement: isElement, start)
        } else {
            pass(parts.count + (isElement ? 1 : 0))
        }
        skipLine()
        return true
    }

    private mutating func enter(_ parts: KeyParts, isElement: Bool, _ line: Int) {
        var path = PathHash()
        for index in 0..<parts.count {
            path = path.key(text, parts[index])
            if index == parts.count - 1 && isElement {
                record(path, line)
                elementCounts[path, default: 0] += 1
            }
            if let count = elementCounts[path] { path = path.element(count - 1) }
            record(path, line)
        }
        table = path
    }

    /// "a.b = value".
    private mutating func pair(in table: PathHash, depth: Int) -> Bool {
        let start = line
        guard let parts = key(), peek() == UInt8(ascii: "=") else { return false }
        advance()
        var path = table
        if isListing {
            for index in 0..<parts.count {
                path = path.key(text, parts[index])
                record(path, start)
            }
        } else {
            pass(parts.count)
        }
        value(path, depth: depth)
        return true
    }

    /// The parts of a dotted key, the position behind it and the blanks after it; nil when there is none.
    private mutating func key() -> KeyParts? {
        var parts = KeyParts()
        while true {
            skipSpaces()
            guard let octet = peek() else { return nil }
            let start: Int, end: Int
            if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "'") {
                start = position + 1
                string()
                end = max(start, position - 1)
            } else {
                start = position
                while let octet = peek(), !LineScanner.endsKey(octet) { advance() }
                end = position
                if start == end { return nil }
            }
            guard end - start <= LineScanner.longestKey, parts.count < LineScanner.deepest else {
                refuse(.excessive)
                return nil
            }
            parts.append(start..<end)
            skipSpaces()
            guard peek() == UInt8(ascii: ".") else { return parts }
            advance()
        }
    }

    // MARK: Values

    private mutating func value(_ path: PathHash, depth: Int) {
        guard depth < LineScanner.deepest else { return refuse(.excessive) }
        skipSpaces()
        switch peek() {
        case UInt8(ascii: "\""), UInt8(ascii: "'"): string()
        case UInt8(ascii: "["): array(path, depth: depth + 1)
        case UInt8(ascii: "{"): inlineTable(path, depth: depth + 1)
        default: scalar()
        }
    }

    /// A number, a boolean, a date or a time.
    private mutating func scalar() {
        let start = position
        var isPlain = true
        while let octet = peek(), !LineScanner.endsScalar(octet) {
            isPlain = isPlain && (LineScanner.canBeginKey(octet) || LineScanner.joinsDigits(octet))
            advance()
        }
        if isPlain && position - start <= LineScanner.longestKey { return }
        var scalar = text[start..<position]
        while let last = scalar.last, LineScanner.isSpace(last) { scalar.removeLast() }
        isPlain = scalar.allSatisfy { LineScanner.canBeginKey($0) || LineScanner.joinsDigits($0) }
        let date = scalar.prefix { $0 != UInt8(ascii: " ") }
        if !isPlain && date.count == 10 && date.allSatisfy({ "0123456789-".utf8.contains($0) }) {
            return refuse(.blankInDate)
        }
        if !isPlain || scalar.count > LineScanner.longestKey { refuse(.noValue) }
    }

    private mutating func array(_ path: PathHash, depth: Int) {
        advance()
        var index = 0
        while true {
            skipBlank()
            guard let octet = peek() else { return }
            let before = position
            switch octet {
            case UInt8(ascii: "]"): return advance()
            case UInt8(ascii: ","):
                index += 1
                advance()
            case UInt8(ascii: "}"), 0x80...: return refuse(.noValue)
            default:
                var element = path
                if isListing {
                    element = path.element(index)
                    record(element, line)
                } else {
                    pass(1)
                }
                value(element, depth: depth)
                if position == before { advance() }
            }
        }
    }

    private mutating func inlineTable(_ path: PathHash, depth: Int) {
        advance()
        while true {
            skipBlank()
            guard let octet = peek() else { return }
            if octet == UInt8(ascii: "}") { return advance() }
            if octet == UInt8(ascii: ",") || !pair(in: path, depth: depth) { advance() }
        }
    }

    /// A string of any of the four kinds; the position behind it. One of the short kinds ends with its line at the
    /// latest.
    private mutating func string() {
        guard let quote = peek() else { return }
        let isLong = peek(1) == quote && peek(2) == quote, isBasic = quote == UInt8(ascii: "\"")
        for _ in 0..<(isLong ? 3 : 1) { advance() }
        while let octet = peek() {
            if isBasic && octet == UInt8(ascii: "\\") {
                advance()
                advance()
            } else if octet == quote && !isLong {
                return advance()
            } else if octet == quote && peek(1) == quote && peek(2) == quote {
                // Up to two quotes may stand directly before the closing three.
                while peek() == quote { advance() }
                return
            } else if octet == UInt8(ascii: "\n") && !isLong {
                return
            } else {
                advance()
            }
        }
    }

    // MARK: Octets

    private func peek(_ ahead: Int = 0) -> UInt8? {
        position + ahead < text.count ? text[position + ahead] : nil
    }

    private mutating func advance() {
        guard position < text.count else { return }
        if text[position] == UInt8(ascii: "\n") { line += 1 }
        position += 1
    }

    private mutating func skipSpaces() {
        while peek() == UInt8(ascii: " ") || peek() == UInt8(ascii: "\t") { advance() }
    }

    private mutating func skipLine() {
        while let octet = peek(), octet != UInt8(ascii: "\n") { advance() }
        advance()
    }

    /// Blanks, line ends and comments.
    private mutating func skipBlank() {
        while let octet = peek() {
            if octet == UInt8(ascii: "#") {
                skipLine()
            } else if LineScanner.isSpace(octet) || octet == UInt8(ascii: "\n") {
                advance()
            } else {
                return
            }
        }
    }

    private mutating func record(_ path: PathHash, _ line: Int) {
        pass(1)
        guard isListing, path.octets <= LineScanner.longestPath else { return }
        places.append(Place(path: path.value, line: UInt32(clamping: line)))
    }

    /// Counts places.
    private mutating func pass(_ places: Int) {
        count += places
        if count > most { refuse(.tooMany) }
    }

    /// Ends the walk.
    private mutating func refuse(_ reason: LineIndex.Refusal) {
        refusal = refusal ?? (line, reason)
        position = text.count
    }

    private static func canBeginKey(_ octet: UInt8) -> Bool {
        switch octet {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "\""), UInt8(ascii: "'"): true
        default: false
        }
    }

    /// Other than a line's end.
    private static func isSpace(_ octet: UInt8) -> Bool {
        octet == UInt8(ascii: " ") || octet == UInt8(ascii: "\t") || octet == UInt8(ascii: "\r")
    }

    private static func endsKey(_ octet: UInt8) -> Bool {
        switch octet {
        case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), UInt8(ascii: "\n"), UInt8(ascii: "."),
            UInt8(ascii: "="), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"), UInt8(ascii: "}"),
            UInt8(ascii: ","), UInt8(ascii: "#"), UInt8(ascii: "\""), UInt8(ascii: "'"):
            true
        default: false
        }
    }

    private static func endsScalar(_ octet: UInt8) -> Bool {
        switch octet {
        case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: "#"), UInt8(ascii: "\n"): true
        default: false
        }
    }

    /// Of numbers, dates and times.
    private static func joinsDigits(_ octet: UInt8) -> Bool {
        octet == UInt8(ascii: "+") || octet == UInt8(ascii: ".") || octet == UInt8(ascii: ":")
    }
}
