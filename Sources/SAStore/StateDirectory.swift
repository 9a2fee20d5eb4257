import Glibc

/// The state directory while this process owns it: nobody else gets it until the last reference goes or the process
/// ends, however it ends.
///
/// The lock is a flock(2) on the file `lock`, which the kernel drops when the process ends. The same file remembers
/// that a store was completed here, so that a store whose file vanished isn't taken for a new one.
public final class StateDirectory: Sendable {
    /// As the operator wrote it.
    let path: String
    private let lock: CInt

    /// Opens or creates the directory (its parent must exist) and takes the lock. Throws `.inUse` and `.inaccessible`.
    public init(path: String) throws(StoreError) {
        let created = unsafe mkdir(path, 0o700) == 0
        guard created || errno == EEXIST else { throw .inaccessible(path: path, code: errno) }
        let lockPath = path + "/lock"
        let lock = unsafe open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else { throw .inaccessible(path: lockPath, code: errno) }
        do throws(StoreError) {
            while flock(lock, LOCK_EX | LOCK_NB) != 0 {
                switch errno {
                case EINTR: continue
                case EWOULDBLOCK: throw .inUse(directory: path)
                default: throw .inaccessible(path: lockPath, code: errno)
                }
            }
            guard StateDirectory.giveToOwner(of: path, lock) else { throw .inaccessible(path: lockPath, code: errno) }
            if !StateDirectory.isCompleted(lock) { try StateDirectory.syncParent(of: path, created: created) }
        } catch {
            StateDirectory.release(lock)
            throw error
        }
        self.path = path
        self.lock = lock
    }

    deinit { StateDirectory.release(lock) }

    /// Unlocks as well as closes: a child that another thread is forking has a duplicate until its exec, and the lock
    /// would stay with that.
    private static func release(_ lock: CInt) {
        _ = flock(lock, LOCK_UN)
        close(lock)
    }

    /// Whether a store was completed in this directory, by this run or an earlier one.
    var isCompleted: Bool { StateDirectory.isCompleted(lock) }

    /// The same for a directory that this process does not own. False when there is no directory or no lock file in it.
    static func isCompleted(_ path: String) throws(StoreError) -> Bool {
        let descriptor = unsafe open(path + "/lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            if errno == ENOENT { return false }
            throw .inaccessible(path: path + "/lock", code: errno)
        }
        defer { close(descriptor) }
        return isCompleted(descriptor)
    }

    /// One octet is a mark: even a torn one was begun when the store was complete.
    private static func isCompleted(_ lock: CInt) -> Bool { lseek(lock, 0, SEEK_END) > 0 }

    /// Remembers on disk that a store is complete here. Called when the store's files and their names are on disk.
    func markCompleted() throws(StoreError) {
        let mark = Array("This directory holds the store of a vpn-gw. Delete nothing in it.\n".utf8)
        guard unsafe pwrite(lock, mark, mark.count, 0) == mark.count, fsync(lock) == 0 else {
            throw .inaccessible(path: path + "/lock", code: errno)
        }
    }

    /// Puts the names of the files in it on disk: syncing a file does not sync its name.
    func sync() throws(StoreError) { try StateDirectory.sync(path) }

    private static func sync(_ directory: String) throws(StoreError) {
        let descriptor = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .inaccessible(path: directory, code: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .inaccessible(path: directory, code: errno) }
    }

    /// Puts the directory's own name on disk. A crash between mkdir and here leaves no mark, so the next run does it.
    private static func syncParent(of path: String, created: Bool) throws(StoreError) {
        let parent = parent(of: path)
        do throws(StoreError) { try sync(parent) } catch {
            // Who made the directory for us may have put it where we can't look; keeping it is up to them then.
            guard !created, error == .inaccessible(path: parent, code: EACCES) else { throw error }
        }
    }

    private static func parent(of path: String) -> String {
        var rest = path[...]
        while rest.count > 1 && rest.hasSuffix("/") { rest.removeLast() }
        guard let slash = rest.lastIndex(of: "/") else { return "." }
        return slash == rest.startIndex ? "/" : String(rest[..<slash])
    }

    /// Whether there is a file at `path`. Throws `.inaccessible` when that can't be told.
    static func fileExists(_ path: String) throws(StoreError) -> Bool {
        var status = stat()
        if unsafe lstat(path, &status) == 0 { return true }
        guard errno == ENOENT else { throw .inaccessible(path: path, code: errno) }
        return false
    }

    /// Creates an empty file in it for its owner alone, where there is none. SQLite gives its -wal and -shm the same
    /// mode and owner.
    func createFile(_ file: String) throws(StoreError) {
        let descriptor = unsafe open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .inaccessible(path: file, code: errno) }
        defer { close(descriptor) }
        guard StateDirectory.giveToOwner(of: path, descriptor) else { throw .inaccessible(path: file, code: errno) }
    }

    /// Root repairs what a gateway that is not root must be able to use: a file of the directory is its owner's.
    private static func giveToOwner(of directory: String, _ descriptor: CInt) -> Bool {
        guard geteuid() == 0 else { return true }
        var status = stat()
        return unsafe stat(directory, &status) == 0 && fchown(descriptor, status.st_uid, status.st_gid) == 0
    }

    /// Gives a file another name, which is on disk when the directory is synced next.
    static func rename(_ path: String, to other: String) throws(StoreError) {
        guard unsafe Glibc.rename(path, other) == 0 else { throw .inaccessible(path: path, code: errno) }
    }

    /// All of a file's octets. Throws `.inaccessible`, with EFBIG when it has more than `limit`.
    static func read(_ path: String, limit: Int = .max) throws(StoreError) -> [UInt8] {
        var octets: [UInt8] = []
        var tooLong = false
        try scan(path) { block in
            guard octets.count + block.count <= limit else {
                tooLong = true
                return
            }
            octets += block
        }
        if tooLong { throw .inaccessible(path: path, code: EFBIG) }
        return octets
    }

    /// Gives `body` the file's octets from its beginning to its end, at most 64 KiB at a time.
    static func scan(_ path: String, _ body: (ArraySlice<UInt8>) -> Void) throws(StoreError) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .inaccessible(path: path, code: errno) }
        defer { close(descriptor) }
        var block = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe Glibc.read(descriptor, &block, block.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .inaccessible(path: path, code: errno) }
            if count == 0 { return }
            body(block[..<count])
        }
    }

    /// Writes all of `octets` at the file's end and waits for the disk.
    static func write(_ octets: [UInt8], to descriptor: CInt, path: String) throws(StoreError) {
        var rest = octets[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .inaccessible(path: path, code: errno) }
            rest = rest.dropFirst(count)
        }
        guard fsync(descriptor) == 0 else { throw .inaccessible(path: path, code: errno) }
    }

    /// Takes a file's permissions from everybody but its owner. By path: closing a descriptor of our own on a file that
    /// SQLite has open would drop SQLite's locks on it (POSIX record locks go with any close).
    static func makePrivate(_ path: String) throws(StoreError) {
        guard unsafe chmod(path, 0o600) == 0 else { throw .inaccessible(path: path, code: errno) }
    }
}
