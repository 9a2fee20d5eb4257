import Foundation
import SAStore

/// What the verbs of `vpn-gw state` do and print.
public enum StateReport {
    /// Every SA that the directory knows: as a table, or as JSON in the words of `check`.
    public static func show(directory: String, json: Bool) throws -> String {
        let records = try StateStore.inspect(directory: directory)
        if json { return try encode(records.map(Association.init)) }
        guard !records.isEmpty else { return "\(directory) knows no SA\n" }
        let header = [
            "key", "SPI", "installed", "packets", "octets", "sequence numbers reserved", "restarts left",
            "replay ceiling",
        ]
        return table([header] + records.map { Association($0).cells })
    }

    /// The last `count` entries of the audit table, the oldest first.
    public static func log(directory: String, last count: Int, json: Bool) throws -> String {
        let entries = try StateStore.auditEntries(directory: directory, last: count)
        if json { return try encode(entries) }
        return entries.map { "\(UTC.text($0.at))  \($0.who): \($0.what)\n" }.joined()
    }

    /// Makes the store this machine's, and says what that means.
    public static func adopt(directory: String) throws -> String {
        let adoption = try StateStore.adopt(
            directory: directory, now: now(), machine: .current(), by: Operator.description)
        let origin = adoption.isForeign ? "made on another machine, " : ""
        return """
            adopted \(directory): \(origin)last written \(UTC.text(adoption.lastWritten)).
            Moved on: the sequence numbers of \(adoption.sas) SAs by \(StateStore.adoptedSequenceNumbers), the IVs of \
            \(adoption.keys) keys by \(StateStore.adoptedInitializationVectors). Inbound windows stay where they were.
            A machine that this directory was copied from must never use these keys again: two counters of one key \
            repeat nonces.
            If the copy was not made after that machine's last stop: peers drop what we send until its sequence \
            numbers pass those that were used, and what peers sent since then can be replayed here once. New keys for \
            both ends (`vpn-gw keygen`) end both.

            """
    }

    /// Puts the store aside for a new one that refuses the old keys, and says what to do next.
    public static func reset(directory: String) throws -> String {
        let reset = try StateStore.reset(
            directory: directory, now: now(), machine: .current(), by: Operator.description)
        var lines = [
            "reset \(directory): " + (reset.movedTo.map { "the old store is \($0)" } ?? "there was no old store")
        ]
        if reset.burnedKeys > 0 {
            lines.append(
                "\(reset.burnedKeys) key(s) were used here and are refused from now on: "
                    + "make new ones for both ends with `vpn-gw keygen`")
        } else {
            lines += [
                "NOTHING TELLS WHICH KEYS WERE USED HERE. No key that this gateway ever had may be used again:",
                "a nonce that repeats gives away its packets and lets others forge more. Make new keys for both ends",
                "of every tunnel with `vpn-gw keygen` before the next start",
            ]
        }
        for file in reset.unreadable {
            lines.append(
                "\(file) could not be read to its end: keys that only it names are not refused; use none again")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func now() -> Int64 { Int64(Date().timeIntervalSince1970) }

    private struct Association: Encodable {
        var keyFingerprint: String, spi: String, installedAt: Int64, packets: UInt64, octets: UInt64
        var sequenceNumbersReserved: UInt64, restartsLeft: UInt64, replayCeiling: UInt64

        init(_ record: SARecord) {
            keyFingerprint = record.identity.fingerprint.short
            spi = record.identity.spi.description
            installedAt = record.installedAt
            packets = record.packets
            octets = record.octets
            sequenceNumbersReserved = record.sequenceReserved
            restartsLeft = record.restartsLeft
            replayCeiling = record.replayCeiling
        }

        var cells: [String] {
            [keyFingerprint, spi, UTC.text(installedAt)]
                + [packets, octets, sequenceNumbersReserved, restartsLeft, replayCeiling].map(String.init)
        }
    }

    private static func encode(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }

    private static func table(_ rows: [[String]]) -> String {
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
            return cells.joined(separator: "  ").trimmingCharacters(in: .whitespaces) + "\n"
        }.joined()
    }
}
