import Glibc
import IPsec
import SAStore

/// Reserves from the store in the directory of its one argument until it is killed, and writes each block that it was
/// granted to standard output: "<request's place in the round> <first> <last>", a line a block.
@main
struct ReservationHammer {
    static func main() throws {
        let fingerprint = String(repeating: "0123456789abcdef", count: 4)
        var round = StoreRound()
        round.reservations = [
            .sequenceNumbers(count: 64, sa: SAIdentity(fingerprint: fingerprint, spi: SPI(rawValue: 0x1001))),
            .initializationVectors(count: 100, fingerprint: fingerprint, floor: 0),
        ]
        let now: Int64 = 1_800_000_000
        let store = try StateStore(directory: CommandLine.arguments[1], now: now, machine: nil)
        while true {
            var lines = ""
            for (place, block) in try store.commit(round, now: now).enumerated() {
                guard let block else { return }
                lines += "\(place) \(block.lowerBound) \(block.upperBound)\n"
            }
            let octets = Array(lines.utf8)
            guard unsafe write(STDOUT_FILENO, octets, octets.count) == octets.count else { return }
        }
    }
}
