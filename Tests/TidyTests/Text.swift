import Foundation

/// What the rules look at: a file of the repository, or one that a test made up.
struct Text {
    /// From the repository's root: "Sources/Wire/PacketBytes.swift".
    let path: String
    let lines: [String]

    init(path: String, _ content: String) {
        self.path = path
        lines = content.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    /// "Wire" of "Sources/Wire/PacketBytes.swift".
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }

    /// Lines with their numbers and without what comments and one-line strings say.
    var code: [(number: Int, text: String)] {
        var isString = false
        return lines.enumerated().map { index, line in
            let quotes = line.components(separatedBy: "\"\"\"").count - 1
            let wasString = isString
            if quotes % 2 == 1 { isString.toggle() }
            return (index + 1, wasString || quotes > 0 ? "" : Text.withoutCommentsAndStrings(line))
        }
    }

    /// What a string interpolates is code.
    private static func withoutCommentsAndStrings(_ line: String) -> String {
        var text = "", previous: Character = " "
        // Brackets open in each interpolation that is open; within the string after it when `isString`.
        var interpolations: [Int] = [], isString = false
        for character in line {
            switch (isString, character) {
            case (true, "(") where previous == "\\":
                interpolations.append(1)
                isString = false
            case (true, "\"") where previous != "\\": isString = false
            case (true, "\\") where previous == "\\":
                previous = " "  // an escaped backslash escapes nothing
                continue
            case (true, _): break
            case (false, "\""): isString = true
            case (false, "/") where previous == "/": return String(text.dropLast())
            default:
                if character == "(", let last = interpolations.indices.last { interpolations[last] += 1 }
                if character == ")", let last = interpolations.indices.last {
                    interpolations[last] -= 1
                    if interpolations[last] == 0 {
                        interpolations.removeLast()
                        isString = true
                    }
                }
                text.append(character)
            }
            previous = character
        }
        return text
    }
}

/// The words of a line of code: letters, digits and underscores.
func words(_ line: String) -> [Substring] {
    line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
}
