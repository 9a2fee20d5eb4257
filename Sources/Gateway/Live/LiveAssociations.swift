import DataPlane
import SAStore

/// The SAs of a site as they begin: what the store knows of them, and which of them each tunnel has.
struct LiveAssociations: Sendable {
    let store: StateStore
    let arena: AssociationArena
    let keeper: AssociationKeeper
    let book: TunnelBook
    /// What happened to them at once.
    let events: [TunnelBook.Event]

    /// Makes them; their numbers are taken when `devices` is open. Throws `StoreError`, `DataPlaneError`, and when
    /// `devices` is closed.
    init(_ site: Site, in directory: StateDirectory, numbersAfter devices: Gate) throws {
        store = try StateStore(in: directory, now: ControlPlane.now, machine: MachineIdentity.current())
        arena = try AssociationArena()
        keeper = AssociationKeeper(store: store, arena: arena, numbersAfter: devices)
        var book = TunnelBook()
        try book.follow(
            site.topology, workers: site.dpdk.workerCores.count, installer: keeper, now: ControlPlane.now)
        events = book.advance(to: ControlPlane.now)
        self.book = book
    }
}
