import Foundation

/// The rules, as functions over text that return what breaks them: one line a finding, "path:line: what".
enum Tidy {
    static let lineLimit = 120
    static let fileLimit = 450

    /// Lines and files that are too long to be read in one go.
    static func lengths(_ file: Text) -> [String] {
        let long = file.lines.enumerated().filter { $0.element.count > lineLimit }
            .map { "\(file.path):\($0.offset + 1): \($0.element.count) columns, at most \(lineLimit)" }
        // The newline at the end of the last line makes one that is empty.
        let count = file.lines.last == "" ? file.lines.count - 1 : file.lines.count
        return long + (count > fileLimit ? ["\(file.path): \(count) lines, at most \(fileLimit)"] : [])
    }

    /// Work that was put off.
    static func putOff(_ file: Text) -> [String] {
        let marks: Set<Substring> = [Substring("TO" + "DO"), Substring("FIX" + "ME")]
        return file.lines.enumerated().filter { words($0.element).contains { marks.contains($0) } }
            .map { "\(file.path):\($0.offset + 1): work that was put off" }
    }

    /// Modules a file imports beyond what its target may.
    static func imports(_ file: Text, allowed: Set<String>) -> [String] {
        imported(file).filter { !allowed.contains($0.module) }
            .map { "\(file.path):\($0.number): \(file.target) may not import \($0.module)" }
    }

    static func imported(_ file: Text) -> [(number: Int, module: String)] {
        file.code.compactMap { number, text in
            let words = words(text).map(String.init)
            guard let place = words.firstIndex(of: "import"), place + 1 < words.count,
                words[..<place].allSatisfy({ attributes.contains($0) })
            else { return nil }
            // "import struct Foundation.Data" names a kind before the module.
            let kinds: Set<String> = ["struct", "class", "enum", "protocol", "func", "let", "var", "typealias"]
            let name = kinds.contains(words[place + 1]) && place + 2 < words.count ? words[place + 2] : words[place + 1]
            return (number, name)
        }
    }

    private static let attributes: Set<String> = [
        "testable", "_exported", "preconcurrency", "_implementationOnly", "_spi", "public", "package", "internal",
        "private", "fileprivate",
    ]

    /// Unsafe code in a file that is not listed for it.
    static func unsafety(_ file: Text, isAllowed: Bool) -> [String] {
        let lines = unsafeLines(file)
        if isAllowed {
            return lines.isEmpty ? ["\(file.path): listed as unsafe, and is not: take it off the list"] : []
        }
        return lines.map { "\(file.path):\($0): unsafe code outside of the files that are listed for it" }
    }

    static func unsafeLines(_ file: Text) -> [Int] {
        file.code.filter { _, text in
            words(text).contains {
                $0 == "unchecked" || $0.hasPrefix("unsafe") || $0.hasPrefix("Unsafe") || $0 == "Unmanaged"
            }
        }.map(\.number)
    }

    /// Public declarations without a `///` in front of them or of their attributes.
    static func undocumented(_ file: Text) -> [String] {
        file.code.compactMap { number, text in
            let trimmed = text.trimmingCharacters(in: .whitespaces)
            let head = words(trimmed.split(separator: "(").first.map(String.init) ?? trimmed)
            guard let place = head.firstIndex(of: "public"), !head.contains("extension"), !head.contains("import"),
                head[..<place].allSatisfy({
                    !["let", "var", "func", "struct", "enum", "class", "init", "case"].contains($0)
                })
            else { return nil }
            var line = number - 2
            while line >= 0 {
                let before = file.lines[line].trimmingCharacters(in: .whitespaces)
                if before.hasPrefix("///") { return nil }
                guard before.hasPrefix("@") else { break }
                line -= 1
            }
            return "\(file.path):\(number): a public declaration without ///"
        }
    }

    /// A file that declares nothing of its name: "Worker+ARP.swift" extends Worker, "SystemReason.swift" has
    /// systemReason().
    static func misnamed(_ file: Text) -> [String] {
        let name = file.path.split(separator: "/").last?.split(separator: ".").first?.split(separator: "+").first ?? ""
        let kinds: Set<Substring> = ["struct", "class", "enum", "actor", "protocol", "extension", "typealias"]
        let isThere = file.code.contains { _, text in
            let words = words(text)
            return words.indices.dropLast().contains { place in
                words[place] == "func" && words[place + 1] == name.prefix(1).lowercased() + name.dropFirst()
                    || kinds.contains(words[place]) && words[place + 1] == name
            }
        }
        return isThere ? [] : ["\(file.path): declares or extends no \(name)"]
    }

    /// Tests outside of the one target that may start DPDK's environment, of which there is one in a process.
    static func environments(_ file: Text) -> [String] {
        let starts = ["Environment.start(", "Replay(", "Replay.run(", "LiveDataPlane(", "LiveGateway.run("]
        return file.code.filter { _, text in
            starts.contains { start in
                text.ranges(of: start).contains { range in
                    range.lowerBound == text.startIndex || !text[text.index(before: range.lowerBound)].isLetter
                }
            }
        }.map { "\(file.path):\($0.number): starts DPDK in the process that DataPlaneTests has started it in" }
    }

    /// Dependencies of a target as Package.swift declares them: targets and products by name; nil when it has no such
    /// target.
    static func dependencies(of target: String, in manifest: Text) -> Set<String>? {
        let text = manifest.lines.joined(separator: "\n")
        guard
            let name = text.ranges(of: "arget(").lazy.compactMap({ call -> Substring? in
                let arguments = balanced(text[call.upperBound...])
                return arguments.trimmingPrefix(while: \.isWhitespace).hasPrefix("name: \"\(target)\"")
                    ? arguments : nil
            }).first
        else { return nil }
        guard let list = name.range(of: "dependencies: [") else { return [] }
        let entries = name[list.upperBound...].prefix { $0 != "]" }
        let products = entries.ranges(of: ".product(name: \"").map { entries[$0.upperBound...].prefix { $0 != "\"" } }
        let withoutProducts = entries.replacing(/\.product\([^)]*\)/, with: "")
        let targets = withoutProducts.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map(\.element)
        return Set((products + targets).map(String.init))
    }

    /// Up to the bracket that closes the call that `text` is inside of.
    private static func balanced(_ text: Substring) -> Substring {
        var depth = 1
        return text.prefix { character in
            if character == "(" { depth += 1 } else if character == ")" { depth -= 1 }
            return depth > 0
        }
    }
}
