import IPsec

/// Decides which SAs a device gets. Nothing here touches one.
///
/// What a device has it keeps as long as it is wanted: nothing is put out to make room. Of the rest those that the site
/// requires come first, and then in the order of their rank.
struct OffloadPlacement {
    /// Room of one port and direction.
    struct Room: Equatable {
        /// SAs, and own addresses of them.
        var slots: Int
        var addresses = Int.max
        /// Whether no two may have the same SPI.
        var uniqueSPIs = true
    }

    /// What is asked for one SA.
    struct Request {
        var id: Int
        var port: Int
        var direction: Direction
        var spi: SPI
        var local: IPAddress
        var isRequired: Bool
        var rank: Int
        /// Whether the device has it.
        var isPresent: Bool
    }

    private struct Place: Hashable {
        var port: Int
        var direction: Direction
    }

    private struct Taken {
        var count = 0
        var spis: Set<SPI> = []
        var addresses: Set<IPAddress> = []
    }

    /// Those that a device gets, by their ids, and for the others why not. `room` is nil where there is none at all.
    static func place(
        _ requests: [Request], room: (Int, Direction) -> Room?
    ) -> (placed: Set<Int>, refused: [Int: FallbackReason]) {
        var taken: [Place: Taken] = [:]
        var placed: Set<Int> = [], refused: [Int: FallbackReason] = [:]
        let order = requests.sorted {
            ($0.isPresent ? 0 : 1, $0.isRequired ? 0 : 1, $0.rank, $0.id)
                < ($1.isPresent ? 0 : 1, $1.isRequired ? 0 : 1, $1.rank, $1.id)
        }
        for request in order {
            let place = Place(port: request.port, direction: request.direction)
            guard let room = room(request.port, request.direction) else {
                refused[request.id] = .noEngine
                continue
            }
            var now = taken[place] ?? Taken()
            let reason: FallbackReason?
            if room.uniqueSPIs && now.spis.contains(request.spi) {
                reason = .duplicateSPI
            } else if now.count >= room.slots {
                reason = .saTableFull
            } else if now.addresses.count >= room.addresses && !now.addresses.contains(request.local) {
                reason = .addressTableFull
            } else {
                reason = nil
            }
            if let reason {
                refused[request.id] = reason
                continue
            }
            now.count += 1
            now.spis.insert(request.spi)
            now.addresses.insert(request.local)
            taken[place] = now
            placed.insert(request.id)
        }
        return (placed, refused)
    }
}
