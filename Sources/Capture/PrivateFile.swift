import Glibc

/// A file that only its owner may read, written from its start to its end: clear text, or what its key could be had
/// from. What is no regular file (/dev/stdout) keeps its mode.
public struct PrivateFile: ~Copyable {
    /// The name it was opened by.
    public let path: String
    /// Octets written so far.
    public private(set) var count = 0
    private let descriptor: CInt

    /// Creates the file with mode 0600 whatever the umask, or makes one that is there so and empties it.
    public init(path: String) throws(CaptureError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw PrivateFile.failure(errno, path) }
        var status = stat()
        var fits = unsafe fstat(descriptor, &status) == 0
        if fits && status.st_mode & S_IFMT == S_IFREG {
            // A file that may not be made private keeps its content.
            fits = fchmod(descriptor, 0o600) == 0 && ftruncate(descriptor, 0) == 0
        }
        guard fits else {
            let code = errno
            close(descriptor)
            throw PrivateFile.failure(code, path)
        }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Appends octets.
    public mutating func write(_ octets: [UInt8]) throws(CaptureError) {
        var start = 0
        while start < octets.count {
            let written = unsafe octets[start...].withUnsafeBytes { memory in
                unsafe Glibc.write(descriptor, memory.baseAddress, memory.count)
            }
            if written < 0 && errno == EINTR { continue }
            guard written > 0 else { throw PrivateFile.failure(written == 0 ? EIO : errno, path) }
            start += written
        }
        count += octets.count
    }

    private static func failure(_ code: Int32, _ path: String) -> CaptureError {
        code == EACCES || code == EPERM
            ? .noPermission(path: path) : .unwritable(path: path, reason: systemReason(code))
    }
}
