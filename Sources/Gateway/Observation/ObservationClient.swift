import Capture
import Foundation

/// `vpn-gw trace` and `vpn-gw capture`: has a gateway show packets until there are enough or somebody says stop. Its
/// calls block.
public struct ObservationClient: Sendable {
    private let client: ControlClient
    private static let pauseMicroseconds: UInt32 = 50_000

    /// Asks by a client.
    public init(_ client: ControlClient) { self.client = client }

    /// What there is to tell in the end.
    public struct Summary: Sendable {
        /// Packets shown.
        public var count = 0
        /// Packets that found no room, and packets that nobody looked at since too many came.
        public var missed = 0, unlooked = 0
        /// Whether the file came to its limit.
        public var isFull = false

        /// Lines for people.
        public var lines: [String] {
            var lines = ["\(count) packet(s)"]
            if missed > 0 {
                lines.append("\(missed) more found no room on their way here: ask for fewer, or for less of each")
            }
            if unlooked > 0 {
                lines.append(
                    "\(unlooked) packet(s) went by without a look: of a worker's only 20000 a second are "
                        + "followed")
            }
            if isFull { lines.append("the file has come to its limit (--file-mib)") }
            return lines
        }
    }

    /// Prints what became of packets, each as soon as it is known. `reason` and `spi` as text; the gateway judges them.
    public func trace(
        spi: String?, address: String?, reason: String?, count: Int, json: Bool, print: (String) -> Void
    ) throws -> Summary {
        var fields: [String: Any] = ["kind": "trace", "count": count]
        fields["spi"] = spi
        fields["address"] = address
        fields["reason"] = reason
        var number = 0
        return try run(fields, notes: { _ in }) { answer in
            for packet in answer["packets"] as? [[String: Any]] ?? [] {
                number += 1
                print(json ? ObservationClient.line(packet) : ObservationClient.text(packet, number))
            }
            return true
        }
    }

    /// Writes packets of a port to a pcapng file of at most about `fileMiB` MiB, mode 0600.
    public func capture(
        port: String, dropped: Bool, path: String, count: Int, snapOctets: Int, fileMiB: Int, note: (String) -> Void
    ) throws -> Summary {
        let fields: [String: Any] = [
            "kind": dropped ? "dropped" : "capture", "port": port, "count": count, "snap_octets": snapOctets,
        ]
        var file: PrivateFile?
        var isFull = false
        var summary = try run(fields, notes: { $0.forEach(note) }) { answer in
            // Made when the gateway has agreed: a refusal leaves what was there before.
            if file == nil { file = try PrivateFile(path: path) }
            guard let text = answer["blocks"] as? String, let blocks = Data(base64Encoded: text) else { return true }
            try file?.write(Array(blocks))
            isFull = (file?.count ?? 0) >= fileMiB << 20
            return !isFull
        }
        summary.isFull = isFull
        return summary
    }

    /// Starts, takes until it is over, and stops. `take` returns whether it wants more.
    private func run(
        _ fields: [String: Any], notes: ([String]) -> Void, take: ([String: Any]) throws -> Bool
    ) throws -> Summary {
        let interruption = Interruption()
        let started = try client.observe("start", fields)
        guard let number = started["observation"] as? Int else {
            throw ControlClientError.notUnderstood(path: client.socketPath, what: "a start without its number")
        }
        notes(started["notes"] as? [String] ?? [])
        var summary = Summary()
        do {
            while true {
                // What came until somebody said stop is still taken.
                let isLast = interruption.isRequested
                let answer = try client.observe("take", ["observation": number])
                let seen = answer["count"] as? Int ?? 0
                summary.count += seen
                summary.missed = answer["missed"] as? Int ?? 0
                summary.unlooked = answer["unlooked"] as? Int ?? 0
                let wantsMore = try take(answer)
                if answer["is_over"] as? Bool == true { return summary }
                if isLast || !wantsMore { break }
                if seen == 0 { usleep(ObservationClient.pauseMicroseconds) }
            }
        } catch {
            _ = try? client.observe("stop", ["observation": number])
            throw error
        }
        _ = try client.observe("stop", ["observation": number])
        return summary
    }

    /// One line of JSON.
    private static func line(_ packet: [String: Any]) -> String {
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
        return String(
            decoding: (try? JSONSerialization.data(withJSONObject: packet, options: options)) ?? Data(), as: UTF8.self)
    }

    /// A packet's title and a line for each step.
    static func text(_ packet: [String: Any], _ number: Int) -> String {
        let time = packet["time"] as? String ?? "", worker = packet["worker"] as? Int ?? 0
        let stages = packet["stages"] as? [[String: String]] ?? []
        let width = stages.map { ($0["stage"] ?? "").count }.max() ?? 0
        let lines = stages.map { stage in
            let name = presentable(stage["stage"] ?? "")
            return
                "   \(name)\(String(repeating: " ", count: width - min(width, name.count)))  "
                + presentable(stage["text"] ?? "")
        }
        return (["\(number)  \(presentable(time))  worker \(worker)"] + lines).joined(separator: "\n")
    }

    private static func presentable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{fffd}" : $0 }))
    }
}
