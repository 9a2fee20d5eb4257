import Glibc

/// The file `keys-seen`: a fingerprint a line, for every key that this directory ever had, on disk before the key's
/// first number is. It only grows. When the database is lost, this is what says which keys must not be used again.
///
/// A last line without its end (torn by a power cut) is no key: nothing was granted to it yet.
struct KeysSeen: ~Copyable, Sendable {
    static func path(in directory: String) -> String { directory + "/keys-seen" }

    private let path: String
    private let descriptor: CInt
    private(set) var keys: Set<KeyName>
    /// Whether the file may end within a line.
    private var isTorn: Bool

    /// Opens or creates the file for its owner alone. Its name is on disk when the directory is synced next.
    init(in directory: borrowing StateDirectory) throws(StoreError) {
        let path = KeysSeen.path(in: directory.path)
        let contents = try KeysSeen.read(in: directory.path)
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
    mutating func add(_ names: some Sequence<KeyName>) throws(StoreError) {
        let added = Set(names).subtracting(keys)
        guard !added.isEmpty else { return }
        var text = isTorn ? "\n" : ""
        for key in added { text += key.text + "\n" }
        // Until all of it is known to be there: whatever a failure leaves is written again on a line of its own.
        isTorn = true
        try StateDirectory.write(Array(text.utf8), to: descriptor, path: path)
        isTorn = false
        keys.formUnion(added)
    }

    /// What the file in `directory` says; nil where there is none.
    static func read(in directory: String) throws(StoreError) -> (keys: Set<KeyName>, isTorn: Bool)? {
        let path = path(in: directory)
        guard try StateDirectory.fileExists(path) else { return nil }
        let octets = try StateDirectory.read(path)
        var keys: Set<KeyName> = []
        for line in octets.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast() {
            if let key = KeyName(String(decoding: line, as: UTF8.self)) { keys.insert(key) }
        }
        return (keys, octets.last.map { $0 != UInt8(ascii: "\n") } ?? false)
    }
}
