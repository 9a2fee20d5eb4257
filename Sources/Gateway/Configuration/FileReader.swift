import Glibc

/// Reads small files whole, with the permissions they had when they were opened. The one place that opens what an
/// operator names; a test puts its own in its place.
struct FileReader: Sendable {
    /// A file's octets and who may read it.
    struct Contents: Sendable {
        var octets: [UInt8]
        /// The permission bits, as `chmod` takes them.
        var permissions: UInt32

        /// Whether anybody but the owner may read it.
        var isReadableByOthers: Bool { permissions & 0o044 != 0 }

        /// Overwrites the octets, which may hold keys, in memory.
        mutating func wipe() {
            unsafe octets.withUnsafeMutableBytes { buffer in
                guard let base = buffer.baseAddress else { return }
                unsafe explicit_bzero(base, buffer.count)
            }
        }
    }

    /// Why it could not be read.
    struct Failure: Error {
        var errorNumber: Int32
        /// 77 where the user may not, 66 for everything else.
        var exitCode: ExitCode { errorNumber == EACCES || errorNumber == EPERM ? .noPermission : .noInput }
        var message: String {
            switch errorNumber {
            case ENOENT, ENOTDIR: "there is no such file"
            case EACCES, EPERM: "this user may not read it"
            case EISDIR: "it is a directory"
            case EFBIG: "it is larger than any file of this kind"
            default: unsafe "it can't be read: " + String(cString: strerror(errorNumber))
            }
        }
    }

    /// The octets of the file at `path`; a file of more than `limit` octets is a failure.
    var read: @Sendable (_ path: String, _ limit: Int) -> Result<Contents, Failure>

    /// The file system.
    static let system = FileReader { path, limit in
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { return .failure(Failure(errorNumber: errno)) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { return .failure(Failure(errorNumber: errno)) }
        if status.st_mode & S_IFMT == S_IFDIR { return .failure(Failure(errorNumber: EISDIR)) }

        // One buffer, never grown: growing would leave copies of keys behind. A pipe's size is 0, so it gets the limit.
        let isPlain = status.st_mode & S_IFMT == S_IFREG
        let expected = isPlain ? Int(clamping: status.st_size) : limit
        guard expected <= limit else { return .failure(Failure(errorNumber: EFBIG)) }
        var contents = Contents(
            octets: [UInt8](repeating: 0, count: expected + 1), permissions: UInt32(status.st_mode) & 0o777)
        var count = 0
        while count < contents.octets.count {
            let result = unsafe contents.octets.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress.map { unsafe $0 + count }, buffer.count - count)
            }
            if result < 0 && errno == EINTR { continue }
            guard result >= 0 else {
                let failure = Failure(errorNumber: errno)
                contents.wipe()
                return .failure(failure)
            }
            if result == 0 { break }
            count += result
        }
        guard count <= expected else {
            contents.wipe()
            return .failure(Failure(errorNumber: isPlain ? EAGAIN : EFBIG))  // it grew while being read
        }
        contents.octets.removeLast(contents.octets.count - count)
        return .success(contents)
    }
}
