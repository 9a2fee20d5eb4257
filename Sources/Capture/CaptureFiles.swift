import Glibc

/// What can be said of capture files by their names, before any is opened.
public enum CaptureFiles {
    /// Throws `.sameFile` when an output is also an input, or named twice: opening it would empty what is to be read.
    ///
    /// Files are compared by device and inode, so links and other spellings count; an output that does not exist yet by
    /// its directory and name. What is no regular file (/dev/null) may be named as often as one likes.
    public static func checkDistinct(inputs: [String], outputs: [String]) throws(CaptureError) {
        var taken: [Identity: String] = [:]
        for path in inputs {
            if let identity = Identity(path), taken[identity] == nil { taken[identity] = path }
        }
        for path in outputs {
            guard let identity = Identity(path) else { continue }
            if let other = taken.updateValue(path, forKey: identity) { throw .sameFile(output: path, other: other) }
        }
    }

    private struct Identity: Hashable {
        var device: dev_t
        var inode: ino_t
        /// Of a file that does not exist yet, whose device and inode are its directory's.
        var name: String?

        /// Nil for what is no regular file, and for what can't be looked at: opening it will say why.
        init?(_ path: String) {
            var status = stat()
            if unsafe stat(path, &status) == 0 {
                guard status.st_mode & S_IFMT == S_IFREG else { return nil }
            } else {
                let slash = path.lastIndex(of: "/")
                let directory = slash.map { String(path[...$0]) } ?? "."
                guard errno == ENOENT, unsafe stat(directory, &status) == 0 else { return nil }
                name = slash.map { String(path[path.index(after: $0)...]) } ?? path
            }
            device = status.st_dev
            inode = status.st_ino
        }
    }
}
