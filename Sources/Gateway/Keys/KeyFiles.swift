import Foundation
import IPsec

/// Makes keys: KEYMAT of any algorithm, its key and then its salt (RFC 4106 section 8.1), as key files hold it.
public enum KeyFiles {
    /// Names of the two ends of a tunnel, which become directories, and what tells its further keys from the first.
    public struct Ends: Sendable {
        let near: String
        let far: String
        let suffix: String?

        /// Nil unless all are plain names (ASCII letters, digits, dots, dashes and underscores, 64 at most) and the two
        /// ends' differ.
        public init?(near: String, far: String, suffix: String? = nil) {
            guard near != far, [near, far, suffix ?? "1"].allSatisfy(Ends.isPlain) else { return nil }
            self.near = near
            self.far = far
            self.suffix = suffix
        }

        private static func isPlain(_ name: String) -> Bool {
            !name.isEmpty && !name.hasPrefix(".") && name.utf8.count <= 64
                && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) }
        }
    }

    /// What keys can be for, as site files name it, the preferred one first.
    public static let algorithmNames = Algorithm.all.map(\.name)
    /// What they are for when nothing else is said.
    public static let usualAlgorithm = Algorithm.aes128GCM16.name

    /// The algorithm of this name; nil when there is none.
    public static func algorithm(named name: String) -> Algorithm? { Algorithm(name: name) }

    /// What an operator may have meant by a name that no algorithm has.
    public static func hint(forAlgorithm name: String) -> String {
        let near = nearest(to: name, among: algorithmNames).map { "did you mean \($0)? " } ?? ""
        return near + "there are \(algorithmNames.joined(separator: ", "))"
    }

    /// One key as text: "0x" and two digits for each of its `algorithm.keyMaterialOctets` octets. From the kernel's
    /// random generator.
    public static func makeKey(for algorithm: Algorithm = .aes128GCM16) -> String {
        var generator = SystemRandomNumberGenerator()
        let digits = Array("0123456789abcdef".utf8)
        let octets = (0..<algorithm.keyMaterialOctets).map { _ in UInt8.random(in: 0...255, using: &generator) }
        return "0x" + String(decoding: octets.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// Two keys that differ in the key and in the salt where there is one, so that nonces would differ even if one key
    /// came to serve both directions.
    static func makePair(for algorithm: Algorithm = .aes128GCM16, _ makeKey: () -> String) -> (
        there: String, back: String
    ) {
        let saltDigits = 2 * algorithm.saltOctets
        let there = makeKey(), salt = there.suffix(saltDigits), key = there.dropLast(saltDigits)
        while true {
            let back = makeKey()
            if saltDigits == 0 || back.suffix(saltDigits) != salt, back.dropLast(saltDigits) != key {
                return (there, back)
            }
        }
    }

    /// Writes a tunnel's two keys for both ends below `directory`: `NEAR/FAR-out.key` and `-in.key`, `FAR/NEAR-out.key`
    /// and `-in.key`, with "-SUFFIX" before ".key" when there is one; mode 0600 in directories of mode 0700. Overwrites
    /// nothing. Returns the four paths.
    public static func write(
        for ends: Ends, algorithm: Algorithm = .aes128GCM16, below directory: String
    ) throws(KeyFileError) -> [String] {
        let (there, back) = makePair(for: algorithm) { makeKey(for: algorithm) }
        let suffix = ends.suffix.map { "-\($0)" } ?? ""
        let files = [
            (ends.near, "\(ends.far)-out\(suffix).key", there), (ends.near, "\(ends.far)-in\(suffix).key", back),
            (ends.far, "\(ends.near)-out\(suffix).key", back), (ends.far, "\(ends.near)-in\(suffix).key", there),
        ]
        for name in ["", ends.near, ends.far] { try makeDirectory(directory + (name.isEmpty ? "" : "/" + name)) }
        var written: [String] = []
        for (end, name, key) in files {
            let path = "\(directory)/\(end)/\(name)"
            try writeNew(key + "\n", to: path)
            written.append(path)
        }
        return written
    }

    private static func makeDirectory(_ path: String) throws(KeyFileError) {
        if unsafe mkdir(path, 0o700) != 0 && errno != EEXIST { throw KeyFileError(path: path, code: errno) }
    }

    private static func writeNew(_ text: String, to path: String) throws(KeyFileError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw KeyFileError(path: path, code: errno) }
        let octets = Array(text.utf8)
        let count = unsafe Glibc.write(descriptor, octets, octets.count)
        let code = count == octets.count ? 0 : errno
        guard close(descriptor) == 0, count == octets.count else { throw KeyFileError(path: path, code: code) }
    }
}

/// A key file that could not be written.
public struct KeyFileError: Error, CustomStringConvertible, Sendable {
    let path: String
    let code: Int32

    /// One line; a file that is there already is never overwritten.
    public var description: String {
        let reason = unsafe String(cString: strerror(code))
        return "\(path): \(reason)" + (code == EEXIST ? ": keys are never overwritten; remove the old one first" : "")
    }

    /// The process's exit code.
    public var exitCode: ExitCode { code == EACCES || code == EPERM ? .noPermission : .cannotCreate }
}
