import Foundation
import Testing

/// The repository this test was built from.
private enum Repository {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Every file below a folder with one of these endings, in a fixed order.
    static func files(_ folder: String, _ endings: Set<String>) throws -> [Text] {
        let start = root.appendingPathComponent(folder)
        let paths = try #require(FileManager.default.enumerator(atPath: start.path)).compactMap { $0 as? String }
        return try paths.sorted().filter { endings.contains(URL(fileURLWithPath: $0).pathExtension) }.map {
            Text(path: "\(folder)/\($0)", try String(contentsOf: start.appendingPathComponent($0), encoding: .utf8))
        }
    }

    static func file(_ path: String) throws -> Text {
        Text(path: path, try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8))
    }

    static func sources() throws -> [Text] {
        let files = try files("Sources", ["swift"])
        try #require(files.count > 80, "the sources are where they were")
        return files
    }
}

@Suite("The repository keeps its rules")
struct RepositoryTests {
    private func expectNone(_ findings: [String]) {
        for finding in findings { Issue.record(Comment(rawValue: finding)) }
    }

    @Test("lines and files are short, and nothing is put off")
    func text() throws {
        let code =
            try Repository.files("Sources", ["swift", "c", "h"]) + Repository.files("Tests", ["swift"])
            + [Repository.file("Package.swift")]
        expectNone(code.flatMap(Tidy.lengths))
        let others = try Repository.files("Tests", ["py"]) + Repository.files("scripts", ["sh", "py"])
        expectNone((code + others).flatMap(Tidy.putOff))
    }

    @Test("Package.swift declares the architecture's layers, and files import nothing else")
    func layers() throws {
        let manifest = try Repository.file("Package.swift")
        for (target, expected) in Rules.dependencies {
            #expect(Tidy.dependencies(of: target, in: manifest) == expected, "\(target) in Package.swift")
        }
        for file in try Repository.sources() {
            let dependencies = try #require(Rules.dependencies[file.target], "\(file.target) is no room of the house")
            expectNone(Tidy.imports(file, allowed: dependencies.union(Rules.system[file.target] ?? [])))
        }
    }

    @Test("unsafe code is in the files that are listed for it")
    func unsafety() throws {
        let files = try Repository.sources()
        for file in files {
            let name = String(file.path.dropFirst("Sources/".count))
            expectNone(Tidy.unsafety(file, isAllowed: Rules.unsafeFiles[name] != nil))
        }
        let paths = Set(files.map { String($0.path.dropFirst("Sources/".count)) })
        #expect(Rules.unsafeFiles.keys.filter { !paths.contains($0) } == [])
    }

    @Test("public declarations are documented, and a file is named by its type")
    func declarations() throws {
        let files = try Repository.sources()
        expectNone(files.flatMap(Tidy.undocumented))
        expectNone(files.flatMap(Tidy.misnamed))
    }

    @Test("one test target starts DPDK")
    func environments() throws {
        let tests = try Repository.files("Tests", ["swift"])
        expectNone(tests.filter { !["DataPlaneTests", "TidyTests"].contains($0.target) }.flatMap(Tidy.environments))
    }

    @Test("the architecture's document names every target")
    func architecture() throws {
        let document = try Repository.file("docs/ARCHITECTURE.md").lines.joined(separator: "\n")
        for target in Rules.dependencies.keys {
            #expect(document.contains(target), "docs/ARCHITECTURE.md does not name \(target)")
        }
        let folders = try FileManager.default.contentsOfDirectory(
            atPath: Repository.root.appendingPathComponent("Sources").path)
        #expect(Set(folders) == Set(Rules.dependencies.keys))
    }
}
