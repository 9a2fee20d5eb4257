import Foundation
import IPsec
import SAStore
import Testing

@testable import Gateway

@Suite("vpn-gw state")
final class StateReportTests {
    private let directory = FileManager.default.temporaryDirectory.path + "/vpn-gw-state-" + UUID().uuidString
    private let sa = SAIdentity(
        fingerprint: KeyFingerprint(digest: SIMD4(repeating: 0x0123_4567_89ab_cdef)), spi: SPI(rawValue: 0x1001))

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    private func makeStore() throws {
        let store = try StateStore(directory: directory, now: 1_700_000_000, machine: .current())
        var round = StoreRound()
        round.reservations = [
            .sequenceNumbers(count: 1 << 20, sa: sa),
            .initializationVectors(count: 1 << 20, fingerprint: sa.fingerprint, floor: 0),
        ]
        round.usage = [SAUsage(sa: sa, packets: 12, octets: 3456)]
        _ = try store.commit(round, now: 1_700_000_000)
        try store.audit([AuditEntry(at: 1_700_000_000, who: "gateway", what: "started")])
    }

    @Test("show prints every SA with what is left of it")
    func show() throws {
        #expect(try StateReport.show(directory: directory, json: false) == "\(directory) knows no SA\n")
        #expect(try StateReport.show(directory: directory, json: true) == "[\n\n]\n")
        try makeStore()
        let lines = try StateReport.show(directory: directory, json: false).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(
            lines[1].split(separator: " ") == [
                "0123456789abcdef", "0x00001001", "2023-11-14T22:13:20Z", "12", "3456", "1048576", "16379", "0",
            ])
        let rows = try #require(
            try JSONSerialization.jsonObject(with: Data(StateReport.show(directory: directory, json: true).utf8))
                as? [[String: Any]])
        #expect(rows[0]["sequence_numbers_reserved"] as? Int == 1 << 20 && rows[0]["restarts_left"] as? Int == 16379)
        #expect(rows[0]["key_fingerprint"] as? String == "0123456789abcdef")
    }

    @Test("log prints who did what, and adopt and reset are in it")
    func log() throws {
        try makeStore()
        #expect(
            try StateReport.log(directory: directory, last: .max, json: false)
                == "2023-11-14T22:13:20Z  gateway: started\n")
        let adopted = try StateReport.adopt(directory: directory)
        #expect(adopted.contains("last written 2023-11-14T22:13:20Z") && adopted.contains("never use these keys again"))
        let log = try StateReport.log(directory: directory, last: 1, json: false)
        #expect(log.contains("uid \(geteuid()) (") && log.contains(": adopted a store"))
        let reset = try StateReport.reset(directory: directory)
        #expect(reset.contains("1 key(s) were used here") && reset.contains("vpn-gw keygen"))
        let entries = try JSONDecoder().decode(
            [AuditEntry].self, from: Data(try StateReport.log(directory: directory, last: 9, json: true).utf8))
        #expect(entries.count == 1 && entries[0].what.hasPrefix("reset the store; 1 key(s) are refused"))
    }

    @Test("a reset that knows no key says so in capitals")
    func blindReset() throws {
        try makeStore()
        for file in ["sa-store.sqlite", "keys-seen"] {
            try FileManager.default.removeItem(atPath: directory + "/" + file)
        }
        #expect(try StateReport.reset(directory: directory).contains("NOTHING TELLS WHICH KEYS WERE USED HERE"))
    }

    @Test("what ends with which exit code")
    func exitCodes() {
        for (error, code) in [
            (.noStore(directory: "d"), .noInput), (.inaccessible(path: "p", code: EACCES), .noPermission),
            (.inaccessible(path: "p", code: ENOSPC), .io), (.inUse(directory: "d"), .io),
            (.foreignMachine(path: "p"), .io),
            (.clockWentBack(path: "p", last: 2, now: 1), .io), (.usedKeys(fingerprints: [sa.fingerprint]), .io),
            (.lost(path: "p"), .io), (.damaged(path: "p", detail: "d"), .io),
        ] as [(StoreError, Gateway.ExitCode)] {
            let failure = Failure(error)
            #expect(failure.exitCode == code, "\(error)")
            #expect(!failure.message.contains(sa.fingerprint.description))
        }
    }
}
