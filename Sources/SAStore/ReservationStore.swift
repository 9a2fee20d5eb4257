// The numbers that a restarted gateway must not use again: IVs of a key (RFC 4106 section 3.1) and sequence numbers of
// an SA whose key stays (RFC 4303 section 3.3.3). Read RFC 4106 section 9 on what a repeated IV gives away.
//
// The end of a block is on disk before the block is used. A crash loses the rest of the block, never a number that was
// used.

import GRDB
import IPsec

/// Grants blocks of IVs and sequence numbers, each of which it never grants again: not after a crash, not after a power
/// cut.
///
/// One store at a time has the directory. Calls may come from any thread and wait for the disk; they don't belong into
/// a poll loop. When the store goes, the directory is free for the next.
public final class ReservationStore: Sendable {
    private let directory: StateDirectory
    /// The only connection.
    let queue: DatabaseQueue
    private let path: String

    /// Opens or creates `<directory>/sa-store.sqlite`. The directory is created with mode 0700 when missing (its parent
    /// must exist), the files have mode 0600.
    ///
    /// Throws when another store has the directory, and when the file is not ours, newer, damaged, or was there and is
    /// gone: then nothing tells which numbers are used, and the error says how to go on.
    public init(directory path: String) throws(StoreError) {
        let directory = try StateDirectory(path: path)
        let file = ReservationStore.file(in: path)
        let mayCreate = !directory.isCompleted
        do {
            if try !StateDirectory.fileExists(file) {
                guard mayCreate else { throw StoreError.lost(path: file) }
                try StateDirectory.createFile(file)
            }
            queue = try DatabaseQueue(path: file, configuration: ReservationStore.configuration())
            try queue.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous = FULL")
                if try StoreSchema.isEmpty(db) {
                    guard mayCreate else { throw StoreError.lost(path: file) }
                    try StoreSchema.create(db)
                }
                try StoreSchema.verify(db, path: file)
                try ReservationStore.makeDurable(db, path: file)
                for suffix in ["", "-wal", "-shm"] { try StateDirectory.makePrivate(file + suffix) }
            }
            try directory.sync()
            if mayCreate { try directory.markCompleted() }
        } catch {
            throw StoreError(error, path: file)
        }
        self.directory = directory
        self.path = file
    }

    deinit {
        // Before the lock goes. If it fails, the next to open reads the -wal.
        try? queue.close()
    }

    /// Reserves a block for each request, all in one transaction and with one wait for the disk. The result has an
    /// entry for each request, in their order; numbers are used from the first through the last, inclusive.
    ///
    /// A block has `count` numbers, or fewer where the numbers end. Nil: none was left, and that SA or key can't be
    /// used any more. Two requests for one counter get adjacent blocks. Throws when the disk does not take it: then no
    /// request has anything. Traps on a count of 0 and on a fingerprint that is not 64 lowercase hexadecimal digits.
    public func reserve(_ requests: [ReservationRequest]) throws(StoreError) -> [ClosedRange<UInt64>?] {
        for request in requests { precondition(request.isWellFormed, "a count of 0, or no fingerprint") }
        do {
            return try queue.write { db in
                try requests.map { request in
                    let counter = ReservedCounter(request)
                    let block = request.block(after: try counter.reservedEnd(db, path: path))
                    if let block { try counter.setReservedEnd(block.upperBound, db) }
                    return block
                }
            }
        } catch {
            throw StoreError(error, path: path)
        }
    }

    /// The highest sequence number of the SA that was ever reserved, 0 if none. Throws when the disk does not tell.
    public func sequenceNumbersReserved(for sa: SAIdentity) throws(StoreError) -> UInt64 {
        do {
            return try queue.read { db in
                try ReservedCounter(fingerprint: sa.fingerprint, spi: sa.spi).reservedEnd(db, path: path)
            }
        } catch {
            throw StoreError(error, path: path)
        }
    }

    /// The fingerprints of all keys that were ever used from this directory; none where there is no store.
    ///
    /// Looks in from outside: takes no lock, creates no store, and a gateway may be running. Throws what the
    /// initializer throws, `.inUse` excepted.
    public static func knownFingerprints(directory: String) throws(StoreError) -> Set<String> {
        let file = file(in: directory)
        let isCompleted = try StateDirectory.isCompleted(directory)
        guard try StateDirectory.fileExists(file) else {
            if isCompleted { throw .lost(path: file) }
            return []
        }
        do {
            return try DatabaseQueue(path: file, configuration: configuration(readonly: true)).read { db in
                if try StoreSchema.isEmpty(db) {
                    if isCompleted { throw StoreError.lost(path: file) }
                    return []
                }
                try StoreSchema.verify(db, path: file)
                return try String.fetchSet(
                    db,
                    sql: "SELECT fingerprint FROM initialization_vectors UNION SELECT fingerprint FROM sequence_numbers"
                )
            }
        } catch {
            throw StoreError(error, path: file)
        }
    }

    private static func file(in directory: String) -> String { directory + "/sa-store.sqlite" }

    private static func configuration(readonly: Bool = false) -> Configuration {
        var configuration = Configuration()
        configuration.readonly = readonly
        // Who looks in from outside may hold the file for a moment.
        configuration.busyMode = .timeout(5)
        return configuration
    }

    /// Makes a commit return when it is on disk. WAL with synchronous = FULL syncs the -wal at each commit. NORMAL,
    /// GRDB's choice for WAL, loses the last commits in a power cut; with a rollback journal a lost unlink undoes the
    /// last one.
    private static func makeDurable(_ db: Database, path: String) throws {
        _ = try String.fetchOne(db, sql: "PRAGMA journal_mode = WAL")
        try db.execute(sql: "PRAGMA synchronous = FULL")
        try checkDurable(db, path: path)
        // A commit that changes nothing: fails now rather than at the first round where the file takes no writes, and
        // makes the -wal and -shm, so that their names are there to be synced.
        try db.execute(sql: "PRAGMA user_version = \(StoreSchema.version)")
    }

    /// Throws `.notDurable` unless the connection has both settings.
    static func checkDurable(_ db: Database, path: String) throws {
        let mode = try String.fetchOne(db, sql: "PRAGMA journal_mode") ?? "unknown"
        let synchronous = try Int.fetchOne(db, sql: "PRAGMA synchronous") ?? -1
        guard mode == "wal", synchronous == 2 else {
            throw StoreError.notDurable(path: path, detail: "journal_mode is \(mode), synchronous is \(synchronous)")
        }
    }
}
