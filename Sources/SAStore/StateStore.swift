// What a restarted gateway must know: the numbers that it must not use again, IVs of a key (RFC 4106 section 3.1) and
// sequence numbers of an SA whose key stays (RFC 4303 section 3.3.3); where inbound windows start; what SAs have
// carried. Read RFC 4106 section 9 on what a repeated IV gives away, and docs/STATE.md on what is on disk when.
//
// The end of a block is on disk before the block is used. A crash loses the rest of the block, never a number that was
// used.

import GRDB
import IPsec
import Synchronization

/// The state directory of one gateway. Grants blocks of IVs and sequence numbers, each of which it never grants again:
/// not after a crash, not after a power cut.
///
/// One store at a time has the directory. Calls may come from any thread and wait for the disk; they don't belong into
/// a poll loop. When the store goes, the directory is free for the next.
public final class StateStore: Sendable {
    private let directory: StateDirectory
    /// The only connection.
    let queue: DatabaseQueue
    private let path: String
    private let keysSeen: Mutex<KeysSeen>
    private let records: Mutex<StoredRecords>
    private let tally = Mutex(Written())

    /// Opens or creates `<directory>/sa-store.sqlite`. The directory is created with mode 0700 when missing (its parent
    /// must exist), the files have mode 0600.
    ///
    /// Throws when another store has the directory, and when the file is not ours, newer, damaged, or was there and is
    /// gone: then nothing tells which numbers are used, and the error says how to go on. The same when the store is
    /// another machine's, or was written later than now, with a minute's grace: then it may be an old copy.
    ///
    /// - Parameters:
    ///   - path: the state directory.
    ///   - now: seconds since 1970 by the wall clock.
    ///   - machine: who this machine is; nil where it can't be told, which fits any store.
    public convenience init(directory path: String, now: Int64, machine: MachineIdentity?) throws(StoreError) {
        try self.init(in: StateDirectory(path: path), now: now, machine: machine)
    }

    /// The same in a directory that this process has taken already.
    public init(in directory: StateDirectory, now: Int64, machine: MachineIdentity?) throws(StoreError) {
        let file = StateStore.file(in: directory.path)
        let seen = try KeysSeen.read(in: directory.path)
        let mayCreate = !directory.isCompleted && seen?.keys.isEmpty ?? true
        do {
            if try !StateDirectory.fileExists(file) {
                guard mayCreate else { throw StoreError.lost(path: file) }
                try directory.createFile(file)
            }
            queue = try DatabaseQueue(path: file, configuration: StateStore.configuration())
            let stored = try queue.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous = FULL")
                if try StoreSchema.isEmpty(db) {
                    guard mayCreate else { throw StoreError.lost(path: file) }
                    let identity = StoreIdentity(machine: machine?.description, clock: now)
                    try StoreSchema.create(db, identity.insert)
                }
                let stored = try StoreSchema.verify(db, path: file)
                var identity = try StoreIdentity(db, path: file)
                try identity.admit(machine, now: now, path: file)
                try StateStore.makeDurable(db, path: file)
                try identity.update(db)
                for suffix in ["", "-wal", "-shm"] { try StateDirectory.makePrivate(file + suffix) }
                return stored
            }
            var keys = try KeysSeen(in: directory, seen)
            try keys.add(stored.keys)
            keysSeen = Mutex(keys)
            records = Mutex(stored)
            try directory.sync()
            if !directory.isCompleted { try directory.markCompleted() }
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

    /// Ends the store: every later call throws. What was committed is on disk before; this tells whether SQLite could
    /// put it into the one file as well. The directory is free when the store goes.
    public func close() throws(StoreError) {
        do { try queue.close() } catch { throw StoreError(error, path: path) }
    }

    /// The records of these SAs, in their order; an SA that has none gets one (installed now), all in one transaction.
    /// When nothing is new, nothing is written.
    ///
    /// Throws `.usedKeys` when `state reset` burned one of the keys, and when the disk does not take it: then no SA
    /// has a new record.
    public func open(_ sas: [SAIdentity], now: Int64) throws(StoreError) -> [SARecord] {
        try write(sas.map(\.fingerprint), now: now) { records, changes in
            sas.map { records.record(of: $0, now: now, &changes) }
        }
    }

    /// What `open` returns, and nothing is written: an SA that has no record gets it with the first round that names
    /// it.
    ///
    /// Throws `.usedKeys` as `open` does.
    public func records(of sas: [SAIdentity], now: Int64) throws(StoreError) -> [SARecord] {
        do {
            return try records.withLock { records in
                try StateStore.refuseBurned(sas.lazy.map(\.fingerprint), records)
                return sas.map { records[$0] ?? SARecord(identity: $0, installedAt: now) }
            }
        } catch {
            throw StoreError(error, path: path)
        }
    }

    private static func refuseBurned(_ keys: some Sequence<KeyFingerprint>, _ records: StoredRecords) throws(StoreError)
    {
        guard !records.burned.isEmpty else { return }
        let refused = records.burned.intersection(keys)
        guard refused.isEmpty else { throw .usedKeys(fingerprints: refused.sorted()) }
    }

    /// Puts a round on disk, all in one transaction and with one wait. The result has an entry for each of its
    /// reservations, in their order; numbers are used from the first through the last, inclusive.
    ///
    /// A block has `count` numbers, or fewer where the numbers end. Nil: none was left, and that SA or key can't be
    /// used any more. Two requests for one counter get adjacent blocks. An SA that was not opened gets its record. A
    /// round that is empty writes nothing.
    ///
    /// Throws when the disk does not take it, for burned keys, and when `admit` does, which is asked when nothing is
    /// left to do but to commit: then nothing of the round counts. Traps on a count of 0.
    public func commit(
        _ round: StoreRound, now: Int64, admit: () throws -> Void = {}
    ) throws(StoreError) -> [ClosedRange<UInt64>?] {
        let keys = round.keys
        return try write(keys, now: now, admit: admit) { records, changes in
            let blocks = zip(round.reservations, keys).map { records.reserve($0, key: $1, now: now, &changes) }
            for ceiling in round.ceilings {
                records.update(ceiling.sa, now: now, &changes) { record in
                    (record.replayCeiling, record.replayReached) = (ceiling.ceiling, ceiling.reached)
                }
            }
            for usage in round.usage {
                records.update(usage.sa, now: now, &changes) { record in
                    record.packets = max(record.packets, usage.packets)
                    record.octets = max(record.octets, usage.octets)
                }
            }
            return blocks
        }
    }

    /// Appends to the audit table, all in one transaction, and waits for the disk once.
    public func audit(_ entries: [AuditEntry]) throws(StoreError) {
        guard let last = entries.map(\.at).max() else { return }
        do {
            try queue.write { db in
                try AuditEntry.append(entries, db)
                try advanceClock(db, to: last)
            }
            try count()
        } catch {
            throw StoreError(error, path: path)
        }
    }

    /// One transaction with the changes that `body` makes to records of these keys. Keys that are burned are refused;
    /// those that are new are in keys-seen before anything is granted to them.
    private func write<Result: Sendable>(
        _ keys: [KeyFingerprint], now: Int64, admit: () throws -> Void = {},
        _ body: (StoredRecords, inout StoredRecords.Changes) -> Result
    ) throws(StoreError) -> Result {
        do {
            return try records.withLock { records in
                try StateStore.refuseBurned(keys, records)
                try keysSeen.withLock { try $0.add(keys) }
                var changes = StoredRecords.Changes()
                // A round for many SAs names each once or twice; it is many when they are all installed.
                changes.reserve(keys.count)
                let result = body(records, &changes)
                guard !changes.isEmpty else { return result }
                try queue.write { [records] db in
                    try records.write(changes, db)
                    try advanceClock(db, to: now)
                    try admit()
                }
                records.apply(changes)
                try count()
                return result
            }
        } catch {
            throw StoreError(error, path: path)
        }
    }

    /// The latest time counts: a clock that was ahead is noticed when it goes back, at the next start.
    private func advanceClock(_ db: Database, to now: Int64) throws {
        var identity = try StoreIdentity(db, path: path)
        guard identity.clock < now else { return }
        identity.clock = now
        try identity.update(db)
    }

    /// What this store wrote since it was opened: transactions, each a wait for the disk, and octets of whole database
    /// pages into the -wal. SQLite copies each page once more, at most, into the database itself.
    public var written: (commits: UInt64, octets: UInt64) {
        tally.withLock { ($0.commits, $0.octets) }
    }

    private func count() throws {
        let octets = try queue.read(StateStore.octetsWritten)
        tally.withLock { tally in
            tally.commits += 1
            tally.octets = max(tally.octets, octets)
        }
    }

    private struct Written {
        var commits: UInt64 = 0
        var octets: UInt64 = 0
    }
}

extension StateStore {
    static func file(in directory: String) -> String { directory + "/sa-store.sqlite" }

    static func configuration(readonly: Bool = false) -> Configuration {
        var configuration = Configuration()
        configuration.readonly = readonly
        // Who looks in from outside may hold the file for a moment.
        configuration.busyMode = .timeout(5)
        return configuration
    }

    /// Makes a commit return when it is on disk. WAL with synchronous = FULL syncs the -wal at each commit. NORMAL,
    /// GRDB's choice for WAL, loses the last commits in a power cut; with a rollback journal a lost unlink undoes the
    /// last one.
    static func makeDurable(_ db: Database, path: String) throws {
        _ = try String.fetchOne(db, sql: "PRAGMA journal_mode = WAL")
        try db.execute(sql: "PRAGMA synchronous = FULL")
        // A round of 100 000 SAs stays in memory until it is written, and its -wal does not stay for ever.
        try db.execute(sql: "PRAGMA cache_size = -65536; PRAGMA journal_size_limit = 4194304")
        try checkDurable(db, path: path)
        // A commit that changes nothing and yet is written: fails now rather than at the first round where the file
        // takes no writes, and makes the -wal and -shm, so that their names are there to be synced.
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
