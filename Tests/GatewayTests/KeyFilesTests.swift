import ESP
import Foundation
import IPsec
import Testing

@testable import Gateway

@Suite("vpn-gw keygen")
struct KeyFilesTests {
    @Test("a key is KEYMAT of its algorithm, and never the same twice", arguments: Algorithm.all)
    func key(algorithm: Algorithm) {
        let keys = (0..<64).map { _ in KeyFiles.makeKey(for: algorithm) }
        #expect(Set(keys).count == keys.count)
        for key in keys { #expect(KeyMaterial(hexadecimal: key, for: algorithm) != nil) }
    }

    @Test("algorithms go by the names of site files, and a misspelled one by the nearest")
    func algorithms() {
        #expect(KeyFiles.usualAlgorithm == "aes-128-gcm-16")
        #expect(KeyFiles.algorithmNames.count == Algorithm.all.count)
        for name in KeyFiles.algorithmNames { #expect(KeyFiles.algorithm(named: name)?.name == name) }
        #expect(KeyFiles.algorithm(named: "aes-256-gcm") == nil)
        #expect(KeyFiles.hint(forAlgorithm: "aes-256-gcm16").hasPrefix("did you mean aes-256-gcm-16? there are "))
        let hint = KeyFiles.hint(forAlgorithm: "des")
        #expect(hint.hasPrefix("there are aes-128-gcm-16, ") && hint.hasSuffix(", ah-aes-128-gmac"))
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

    @Test("a pair that has anything in common is drawn again")
    func pair() throws {
        let (key, salt) = (String(repeating: "a", count: 32), String(repeating: "b", count: 8))
        let others = (String(repeating: "c", count: 32), String(repeating: "d", count: 8))
        var drawn = [key + salt, key + salt, others.0 + salt, key + others.1, others.0 + others.1, "none"].map {
            "0x" + $0
        }
        let pair = KeyFiles.makePair(for: .aes128GCM16) { drawn.removeFirst() }
        #expect(pair == ("0x" + key + salt, "0x" + others.0 + others.1))
        #expect(drawn.count == 1)
    }

    @Test("keys without salt differ, and nothing more can be asked of them")
    func pairWithoutSalt() throws {
        let algorithm = try #require(Algorithm(.authenticationHMACSHA256))
        let (key, other) = ("0x" + String(repeating: "a", count: 64), "0x" + String(repeating: "b", count: 64))
        var drawn = [key, key, other, "none"]
        #expect(KeyFiles.makePair(for: algorithm) { drawn.removeFirst() } == (key, other))
    }

    @Test("a suffix names further keys beside the first")
    func suffix() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "vpn-gw-keys-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let first = try #require(KeyFiles.Ends(near: "a", far: "b"))
        let second = try #require(KeyFiles.Ends(near: "a", far: "b", suffix: "2"))
        let paths = try KeyFiles.write(for: first, below: directory) + KeyFiles.write(for: second, below: directory)
        #expect(
            paths.suffix(4).map { $0.dropFirst(directory.count + 1) } == [
                "a/b-out-2.key", "a/b-in-2.key", "b/a-out-2.key", "b/a-in-2.key",
            ])
        let keys = try paths.map { try String(contentsOfFile: $0, encoding: .utf8) }
        #expect(Set(keys).count == 4 && keys[4] == keys[7] && keys[5] == keys[6])
    }

    @Test("names that leave the directory are refused", arguments: ["", "..", ".a", "a/b", "a b", "é"])
    func names(name: String) {
        #expect(KeyFiles.Ends(near: name, far: "other") == nil)
        #expect(KeyFiles.Ends(near: "one", far: "other", suffix: name) == nil)
    }
}
