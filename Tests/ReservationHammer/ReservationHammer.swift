import Glibc
import IPsec
import SAStore

/// Reserves from the store in the directory of its one argument until it is killed, and writes each block that it was
/// granted to standard output: "<counter> <first> <last>", a line a block. The counters are the sequence numbers and
/// IVs of one SA, and the IVs of keys that come and go: "sequence", "vector", "key<number>".
@main
struct ReservationHammer {
    static func main() throws {
        let now: Int64 = 1_800_000_000
        let sa = SAIdentity(
            fingerprint: KeyFingerprint(digest: SIMD4(repeating: 0x0123_4567_89ab_cdef)), spi: SPI(rawValue: 0x1001))
        let store = try StateStore(directory: CommandLine.arguments[1], now: now, machine: nil)
        // Other keys in each run, so that new ones are written at any time.
        var key = Int(getpid()) << 20
        for turn in 1... {
            if turn % 16 == 0 { key += 1 }
            let fingerprint = KeyFingerprint(digest: SIMD4(0, 0, 0, UInt64(key)))
            if turn % 16 == 0 {
                _ = try store.open([SAIdentity(fingerprint: fingerprint, spi: SPI(rawValue: 0x1002))], now: now)
            }
            var round = StoreRound()
            round.reservations = [
                .sequenceNumbers(count: 64, sa: sa),
                .initializationVectors(count: 100, fingerprint: sa.fingerprint, floor: 0),
                .initializationVectors(count: 10, fingerprint: fingerprint, floor: 0),
            ]
            var lines = ""
            for (name, block) in zip(["sequence", "vector", "key\(key)"], try store.commit(round, now: now)) {
                guard let block else { return }
                lines += "\(name) \(block.lowerBound) \(block.upperBound)\n"
            }
            let octets = Array(lines.utf8)
            guard unsafe write(STDOUT_FILENO, octets, octets.count) == octets.count else { return }
        }
    }
}
