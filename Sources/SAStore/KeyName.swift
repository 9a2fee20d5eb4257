/// A key's fingerprint as a number: compared and hashed for 100 000 SAs in a moment, and a quarter of the memory.
struct KeyName: Hashable, Comparable {
    private let words: InlineArray<4, UInt64>

    /// Nil unless `text` is 64 lowercase hexadecimal digits: a SHA-256, and no key by mistake.
    init?(_ text: some StringProtocol) {
        var words: InlineArray<4, UInt64> = [0, 0, 0, 0]
        var count = 0
        for octet in text.utf8 {
            let digit: UInt8
            switch octet {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = octet - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = octet - UInt8(ascii: "a") + 10
            default: return nil
            }
            guard count < 64 else { return nil }
            words[count / 16] = words[count / 16] << 4 | UInt64(digit)
            count += 1
        }
        guard count == 64 else { return nil }
        self.words = words
    }

    /// The fingerprint again.
    var text: String {
        var digits: [UInt8] = []
        digits.reserveCapacity(64)
        for index in words.indices {
            for shift in stride(from: UInt64(60), through: 0, by: -4) {
                let digit = UInt8(truncatingIfNeeded: words[index] >> shift & 15)
                digits.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            }
        }
        return String(decoding: digits, as: UTF8.self)
    }

    static func == (left: KeyName, right: KeyName) -> Bool {
        left.words[0] == right.words[0] && left.words[1] == right.words[1] && left.words[2] == right.words[2]
            && left.words[3] == right.words[3]
    }

    /// In the order of the texts.
    static func < (left: KeyName, right: KeyName) -> Bool {
        for index in left.words.indices where left.words[index] != right.words[index] {
            return left.words[index] < right.words[index]
        }
        return false
    }

    /// A SHA-256's words are as random as can be; all of them, since tests have fingerprints of their own.
    func hash(into hasher: inout Hasher) {
        hasher.combine(words[0] ^ words[1] ^ words[2] ^ words[3])
    }
}
