import Foundation
import Testing

/// One line of a file in `Vectors`; its README tells where they come from.
struct Vector {
    let name: String
    let key, nonce, aad, plaintext, ciphertext, tag: [UInt8]
    let isValid: Bool

    static func read(_ file: String) throws -> [Vector] {
        try lines(file).map { parts in
            try #require(parts.count == 8 && ["valid", "invalid"].contains(parts[7]))
            let fields = parts[1...6].map { octets(hexadecimal: $0) }
            return Vector(
                name: String(parts[0]), key: fields[0], nonce: fields[1], aad: fields[2], plaintext: fields[3],
                ciphertext: fields[4], tag: fields[5], isValid: parts[7] == "valid")
        }
    }

    /// The words of each line of a file.
    static func lines(_ file: String) throws -> [[Substring]] {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Vectors/\(file).txt")
        return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").map { $0.split(separator: " ") }
    }

    /// Whether it has the shape of an ESP packet with a 32-bit sequence number.
    var isESP: Bool { aad.count == 8 && ciphertext.count >= 4 && ciphertext.count % 4 == 0 }
}
