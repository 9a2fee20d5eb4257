import GRDB

/// Whose store it is, and the latest time at which it was written.
struct StoreIdentity: Equatable {
    /// Nil: the machine that made it could not be told.
    var machine: String?
    /// Seconds since 1970.
    var clock: Int64

    init(machine: String?, clock: Int64) {
        self.machine = machine
        self.clock = clock
    }

    /// The one row, which is only believed with its checksum.
    init(_ db: Database, path: String) throws {
        let row = try Row.fetchOne(
            db.cachedStatement(sql: "SELECT machine, clock, checksum FROM store WHERE id = 1"))
        guard let row, let clock = Int64.fromDatabaseValue(row[1]) else {
            throw StoreError.damaged(path: path, detail: "it does not say whose it is")
        }
        self.init(machine: String.fromDatabaseValue(row[0]), clock: clock)
        guard Int64.fromDatabaseValue(row[2]) == checksum else {
            throw StoreError.damaged(path: path, detail: "whose it is is not what was written")
        }
    }

    /// Throws `.foreignMachine` and `.clockWentBack` unless this is the store's machine and its time has come. A
    /// machine that could not be told before is told from now on.
    mutating func admit(_ current: MachineIdentity?, now: Int64, path: String) throws(StoreError) {
        if let machine, let current, machine != current.description { throw .foreignMachine(path: path) }
        // Clocks that are kept right step back by less.
        let (grace, overflow) = now.addingReportingOverflow(60)
        guard overflow || grace >= clock else { throw .clockWentBack(path: path, last: clock, now: now) }
        machine = machine ?? current?.description
        clock = max(clock, now)
    }

    /// Once, when the store is made.
    func insert(_ db: Database) throws {
        try db.execute(
            sql: "INSERT INTO store (id, machine, clock, checksum) VALUES (1, ?, ?, ?)",
            arguments: [machine, clock, checksum])
    }

    func update(_ db: Database) throws {
        try db.cachedStatement(sql: "UPDATE store SET machine = ?, clock = ?, checksum = ? WHERE id = 1")
            .execute(arguments: [machine, clock, checksum])
    }

    private var checksum: Int64 {
        var sum = Checksum(.store)
        sum.add(machine ?? "")
        sum.add(clock)
        return sum.value
    }
}
