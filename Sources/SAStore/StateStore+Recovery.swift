import GRDB
import IPsec

// The two ways out of a store that a gateway refuses. Both take the lock, and so wait for no running gateway: `.inUse`.

extension StateStore {
    /// By how much `adopt` moves counters on: what a copy may be older than the last use, and stay safe.
    public static let adoptedSequenceNumbers: UInt64 = 1 << 20, adoptedInitializationVectors: UInt64 = 1 << 26

    /// What `adopt` found and did.
    public struct Adoption: Sendable {
        /// Whether the store said that another machine made it.
        public let isForeign: Bool
        /// When it was last written, by its machine's clock, in seconds since 1970.
        public let lastWritten: Int64
        /// Outbound SAs and keys whose counters moved.
        public let sas: Int, keys: Int
    }

    /// Makes a store that was made elsewhere, or under a wrong clock, this machine's, in one transaction: every
    /// sequence number and IV moves on, `machine` and `now` are recorded, and who did it.
    ///
    /// Inbound windows stay where the store has them: moved on, they would drop what the peer sends next. Throws
    /// `.noStore` where there never was one, and what opening throws for the file and the lock.
    public static func adopt(
        directory path: String, now: Int64, machine: MachineIdentity?, by who: String
    ) throws(StoreError) -> Adoption {
        let file = file(in: path)
        guard try hasTraces(path) else { throw .noStore(directory: path) }
        let directory = try StateDirectory(path: path)
        guard try StateDirectory.fileExists(file) else { throw .lost(path: file) }
        do {
            let queue = try DatabaseQueue(path: file, configuration: configuration())
            let adoption = try queue.writeWithoutTransaction { db in
                if try StoreSchema.isEmpty(db) { throw StoreError.lost(path: file) }
                let records = try StoreSchema.verify(db, path: file)
                var keys = try KeysSeen(in: directory, try KeysSeen.read(in: path))
                try keys.add(records.keys)
                try makeDurable(db, path: file)
                let before = try StoreIdentity(db, path: file)
                let changes = records.movedAhead(
                    sequenceNumbers: adoptedSequenceNumbers, vectors: adoptedInitializationVectors)
                let adoption = Adoption(
                    isForeign: before.machine != nil && before.machine != machine?.description,
                    lastWritten: before.clock, sas: changes.counts.sas, keys: changes.counts.keys)
                try db.inTransaction {
                    try records.write(changes, db)
                    try StoreIdentity(machine: machine?.description, clock: now).update(db)
                    let what = adoption.isForeign ? "of another machine" : "written \(UTC.text(before.clock))"
                    let act = AuditEntry(at: now, who: who, what: "adopted a store \(what); counters moved on")
                    try AuditEntry.append([act], db)
                    return .commit
                }
                return adoption
            }
            try queue.close()
            for suffix in ["", "-wal", "-shm"] where try StateDirectory.fileExists(file + suffix) {
                try StateDirectory.makePrivate(file + suffix)
            }
            try directory.sync()
            if !directory.isCompleted { try directory.markCompleted() }
            return adoption
        } catch {
            throw StoreError(error, path: file)
        }
    }

    /// What `reset` found and did.
    public struct Reset: Sendable {
        /// Where the old database is now; nil where there was none.
        public let movedTo: String?
        /// How many keys the new store refuses.
        public let burnedKeys: Int
        /// Files that could not be read to their end: their keys may be missing.
        public let unreadable: [String]
    }

    /// Puts a lost or damaged store aside, deletes nothing, and makes a new one that refuses every key that `keys-seen`
    /// names or that can still be read from the old files, whatever their state.
    ///
    /// Done again after it was cut short at any point, it ends the same. Throws `.noStore` where there never was a
    /// store: a gateway's first start makes one.
    public static func reset(
        directory path: String, now: Int64, machine: MachineIdentity?, by who: String
    ) throws(StoreError) -> Reset {
        let file = file(in: path)
        guard try hasTraces(path) else { throw .noStore(directory: path) }
        let directory = try StateDirectory(path: path)
        do {
            var scan = FingerprintScan()
            var unreadable: [String] = []
            for name in ["", "-wal", "-journal"].map({ file + $0 }) where try StateDirectory.fileExists(name) {
                do { try StateDirectory.scan(name) { scan.feed($0) } } catch { unreadable.append(name) }
                scan.end()
            }
            // On disk before anything is moved: from here on it is keys-seen that knows.
            var keys = try KeysSeen(in: directory, try KeysSeen.read(in: path))
            try keys.add(scan.keys)
            try directory.sync()
            if !directory.isCompleted { try directory.markCompleted() }
            let movedTo = try moveAside(file, now: now)
            try directory.sync()
            try directory.createFile(file)
            let queue = try DatabaseQueue(path: file, configuration: configuration())
            try queue.writeWithoutTransaction { [burned = keys.keys] db in
                try db.execute(sql: "PRAGMA synchronous = FULL")
                let identity = StoreIdentity(machine: machine?.description, clock: now)
                try StoreSchema.create(db) { db in
                    try identity.insert(db)
                    try BurnedKey.insert(burned, db)
                    let what = "reset the store; \(burned.count) key(s) are refused; old file: \(movedTo ?? "none")"
                    try AuditEntry.append([AuditEntry(at: now, who: who, what: what)], db)
                }
                try makeDurable(db, path: file)
                try identity.update(db)
            }
            try queue.close()
            try directory.sync()
            return Reset(movedTo: movedTo, burnedKeys: keys.keys.count, unreadable: unreadable)
        } catch {
            throw StoreError(error, path: file)
        }
    }

    /// Whether anything says that there was a store: one of its files, whatever is in it.
    private static func hasTraces(_ path: String) throws(StoreError) -> Bool {
        // A name without a directory above it has no store either.
        guard try StateDirectory.fileExists(path) else { return false }
        for trace in [file(in: path), KeysSeen.path(in: path)] where try StateDirectory.fileExists(trace) {
            return true
        }
        return try StateDirectory.isCompleted(path)
    }

    /// Renames the database and what SQLite would take for a part of the next one: an old -wal would be read into it.
    private static func moveAside(_ file: String, now: Int64) throws(StoreError) -> String? {
        var time = now
        func place(_ suffix: String) -> String { "\(file).damaged-\(time)\(suffix)" }
        let suffixes = ["-wal", "-journal", "-shm", ""]
        var isFree = false
        while !isFree {
            isFree = true
            for suffix in suffixes where try StateDirectory.fileExists(place(suffix)) { isFree = false }
            if !isFree { time += 1 }
        }
        var moved: String?
        // The database last: as long as it is here, its other files are looked for here.
        for suffix in suffixes where try StateDirectory.fileExists(file + suffix) {
            try StateDirectory.rename(file + suffix, to: place(suffix))
            if suffix.isEmpty { moved = place(suffix) }
        }
        return moved
    }
}

/// Finds fingerprints in the octets of a file of any state: SQLite keeps a text as it is, and what stands before and
/// behind it is no hexadecimal digit or does not matter.
struct FingerprintScan {
    private(set) var keys: Set<KeyFingerprint> = []
    private var run: [UInt8] = []

    mutating func feed(_ octets: ArraySlice<UInt8>) {
        for octet in octets {
            switch octet {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"):
                if run.count < 64 { run.append(octet) }
            default: end()
            }
        }
    }

    /// What is found does not go on in the next file.
    mutating func end() {
        if run.count == 64, let key = KeyFingerprint(digits: run.span) { keys.insert(key) }
        run.removeAll(keepingCapacity: true)
    }
}
