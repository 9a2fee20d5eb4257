import ESP
import Foundation
import Testing

@testable import Gateway

@Suite("vpn-gw keygen")
struct KeyFilesTests {
    @Test("a key is KEYMAT that the site reader takes, and never the same twice")
    func key() {
        let keys = (0..<64).map { _ in KeyFiles.makeKey() }
        #expect(Set(keys).count == keys.count)
        for key in keys { #expect(KeyMaterial(hexadecimal: key) != nil) }
    }

    @Test("both ends get each other's keys, the directions differ in key and salt, and nobody else reads them")
    func files() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "vpn-gw-keys-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let ends = try #require(KeyFiles.Ends(near: "a", far: "b"))
        let paths = try KeyFiles.write(for: ends, below: directory)
        let read = { (name: String) in try String(contentsOfFile: directory + "/" + name, encoding: .utf8) }
        #expect(paths.count == 4)
        #expect(try read("a/b-out.key") == read("b/a-in.key"))
        #expect(try read("a/b-in.key") == read("b/a-out.key"))
        let out = try read("a/b-out.key"), back = try read("a/b-in.key")
        #expect(out.prefix(34) != back.prefix(34) && out.suffix(9) != back.suffix(9))
        for path in paths {
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
        #expect(throws: KeyFileError.self) { try KeyFiles.write(for: ends, below: directory) }
        #expect(try read("a/b-out.key") == out)
    }

    @Test("names that leave the directory are refused", arguments: ["", "..", ".a", "a/b", "a b", "é"])
    func names(name: String) { #expect(KeyFiles.Ends(near: name, far: "other") == nil) }
}
