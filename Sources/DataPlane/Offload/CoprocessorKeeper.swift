import IPsec

/// Gives SAs to coprocessors and takes them back, while packets flow. Part of `OffloadKeeper`.
///
/// Taking back: workers leave a device no more packets, after they have fetched those that it had; then no packet is
/// under way under any of its SAs, which go on by software; then the others are given to it again. An SA of a device
/// that gives nothing back stays with it until the gateway ends: what it may still do must find its session.
struct CoprocessorKeeper {
    private struct Place {
        var wish: OffloadWish
        var device: Int
        var handle: UInt64
    }

    private let group: WorkerGroup
    private var places: [Int: Place] = [:]
    /// Devices that are not used any more.
    private(set) var lost: Set<Int> = []

    init(_ group: WorkerGroup) {
        self.group = group
        for device in group.coprocessors.indices { _ = group.gates.set(.crossing, device, true) }
    }

    /// SAs that a device has.
    func used(device: Int) -> Int { places.values.count { $0.device == device } }

    /// Takes back what is not in `wishes`. `hasPassed` waits until workers have let go of what they began before; false
    /// when some do not.
    mutating func release(_ wishes: [OffloadWish], hasPassed: (UInt64) -> Bool) {
        var wanted: [Int: UInt64] = [:]
        for wish in wishes where wish.choice == .lookaside { wanted[wish.id] = wish.handle }
        // An SA's number may be another's by now, which no device knows yet.
        let gone = places.filter { wanted[$0.key] != $0.value.handle }
        for device in Set(gone.values.map(\.device)).sorted() {
            let these = gone.filter { $0.value.device == device }
            take(these, from: device, hasPassed: hasPassed)
        }
    }

    private mutating func take(_ gone: [Int: Place], from device: Int, hasPassed: (UInt64) -> Bool) {
        let hasLetGo = hasPassed(group.gates.set(.crossing, device, false))
        for (id, place) in gone {
            place.wish.tell(handle: 0, reason: .reprogramming)
            places[id] = nil
            if hasLetGo && !isStuck(device) {
                group.coprocessors[device].destroySession(CoprocessorHandle.session(place.handle))
            }
        }
        guard hasLetGo && !isStuck(device) else { return }
        _ = group.gates.set(.crossing, device, true)
    }

    /// Whether a device stopped answering.
    func isStuck(_ device: Int) -> Bool {
        lost.contains(device) || group.stuckCoprocessors.contains(device)
    }

    /// Gives the SAs of `wishes` to the devices that have fewest, and says where each is.
    mutating func install(_ wishes: [OffloadWish]) -> [Int: OffloadPath] {
        var paths: [Int: OffloadPath] = [:]
        for wish in wishes where wish.choice == .lookaside {
            if let place = places[wish.id] {
                paths[wish.id] = .lookaside(device: place.device)
            } else if let reason = give(wish) {
                wish.tell(handle: 0, reason: reason)
                paths[wish.id] = .software(reason)
            } else if let place = places[wish.id] {
                paths[wish.id] = .lookaside(device: place.device)
            }
        }
        return paths
    }

    /// Why not; nil when a device has it.
    private mutating func give(_ wish: OffloadWish) -> FallbackReason? {
        if let reason = OffloadWish.hindrance(wish.profile, wish.direction) { return reason }
        guard !group.coprocessors.isEmpty else { return .noCryptoDevice }
        let healthy = group.coprocessors.indices.filter { !isStuck($0) }
        guard !healthy.isEmpty else { return .unhealthy }
        func load(_ device: Int) -> Int { group.coprocessors[device].sessions.count }
        let roomy = healthy.filter { load($0) < group.coprocessors[$0].sessionLimit }
        guard let device = roomy.min(by: { (load($0), $0) < (load($1), $1) }) else { return .saTableFull }
        guard let session = group.coprocessors[device].makeSession(wish.direction, wish.key) else {
            return .driverRefused
        }
        let handle = CoprocessorHandle.make(device: device, session: session)
        places[wish.id] = Place(wish: wish, device: device, handle: handle)
        wish.tell(handle: handle, reason: nil)
        return nil
    }

    /// Takes devices away that do nothing any more; returns those that were not known as such.
    mutating func look() -> [Int] {
        let new = group.stuckCoprocessors.subtracting(lost).sorted()
        for device in new {
            lost.insert(device)
            _ = group.gates.set(.crossing, device, false)
            for (id, place) in places where place.device == device {
                place.wish.tell(handle: 0, reason: .unhealthy)
                places[id] = nil
            }
        }
        return new
    }

    /// Takes everything back, when no worker runs any more.
    mutating func stop() {
        for place in places.values { place.wish.tell(handle: 0, reason: .reprogramming) }
        places = [:]
    }
}
