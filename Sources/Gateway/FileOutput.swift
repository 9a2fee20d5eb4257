import Glibc

/// Writes the small files that operators ask for.
enum FileOutput {
    /// Replaces the file at `path` by `text`. With `isPrivate` only its owner may read it, whatever its mode was;
    /// what is no regular file (/dev/stdout) keeps its mode.
    static func write(_ text: String, to path: String, isPrivate: Bool = false) throws(ReplayError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, isPrivate ? 0o600 : 0o666)
        guard descriptor >= 0 else { throw .reportUnwritable(path: path, reason: reason(errno)) }
        defer { close(descriptor) }
        var status = stat()
        if isPrivate, unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG {
            fchmod(descriptor, 0o600)
        }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { octets in
                unsafe Glibc.write(descriptor, octets.baseAddress, octets.count)
            }
            guard count > 0 || errno == EINTR else { throw .reportUnwritable(path: path, reason: reason(errno)) }
            rest = rest.dropFirst(max(0, count))
        }
    }

    private static func reason(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }
}
