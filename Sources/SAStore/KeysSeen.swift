import Glibc
import IPsec

/// The file `keys-seen`: a fingerprint a line, for every key that this directory ever had, on disk before the key's
/// first number is. It only grows. When the database is lost, this is what says which keys must not be used again.
///
/// A last line without its end (torn by a power cut) is no key: nothing was granted to it yet.
struct KeysSeen: ~Copyable, Sendable {
    static func path(in directory: String) -> String { directory + "/keys-seen" }

    private let path: String
    private let descriptor: CInt
    private(set) var keys: Set<KeyFingerprint>
    /// Whether the file may end within a line.
    private var isTorn: Bool

    /// What a file says.
    struct Contents {
        var keys: Set<KeyFingerprint>
        var isTorn: Bool
    }

    /// Opens the file that has `contents`, as `read` told under the directory's lock, or creates it, for its owner
    /// alone. Its name is on disk when the directory is synced next.
    init(in directory: StateDirectory, _ contents: Contents?) throws(StoreError) {
        let path = KeysSeen.path(in: directory.path)
        if contents == nil { try directory.createFile(path) } else { try StateDirectory.makePrivate(path) }
        let descriptor = unsafe open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw .inaccessible(path: path, code: errno) }
        self.path = path
        self.descriptor = descriptor
        keys = contents?.keys ?? []
        isTorn = contents?.isTorn ?? false
    }

    deinit { close(descriptor) }

    /// Puts these on disk, those that are there already excepted.
    mutating func add(_ names: some Sequence<KeyFingerprint>) throws(StoreError) {
        var added = Set<KeyFingerprint>(minimumCapacity: keys.isEmpty ? names.underestimatedCount : 0)
        var last: KeyFingerprint?
        // Sequence numbers and IVs of an SA are asked for one behind the other.
        for key in names where key != last {
            if !keys.contains(key) { added.insert(key) }
            last = key
        }
        guard !added.isEmpty else { return }
        var text: [UInt8] = []
        text.reserveCapacity(added.count * 65 + 1)
        if isTorn { text.append(UInt8(ascii: "\n")) }
        for key in added {
            key.appendDigits(to: &text)
            text.append(UInt8(ascii: "\n"))
        }
        // Until all of it is known to be there: whatever a failure leaves is written again on a line of its own.
        isTorn = true
        try StateDirectory.write(text, to: descriptor, path: path)
        isTorn = false
        // All that there are, in the first round of a new directory.
        if keys.isEmpty { keys = added } else { keys.formUnion(added) }
    }

    /// What the file in `directory` says; nil where there is none.
    static func read(in directory: String) throws(StoreError) -> Contents? {
        let path = path(in: directory)
        guard try StateDirectory.fileExists(path) else { return nil }
        let octets = try StateDirectory.read(path)
        var keys = Set<KeyFingerprint>(minimumCapacity: octets.count / 65)
        var start = 0
        for end in octets.indices where octets[end] == UInt8(ascii: "\n") {
            if let key = KeyFingerprint(digits: octets.span.extracting(start..<end)) { keys.insert(key) }
            start = end + 1
        }
        return Contents(keys: keys, isTorn: octets.last.map { $0 != UInt8(ascii: "\n") } ?? false)
    }
}
