/// A large site's text cut into pieces that are TOML by themselves: parsing 10 000 tunnels is half of reading them.
///
/// It is cut before lines that begin a `[[tunnel]]`, one of which stays in the first piece. What the pieces say is then
/// what the whole says, or a piece is no TOML: one that ends within a string or an array is not. What must not be said
/// twice in a file is looked for when they are put together (`joined`).
struct TextPieces {
    private static let header = Array("\n[[tunnel]]".utf8)
    /// Octets that are worth a piece. What the parser makes of one stays in a processor's cache until it is read, and
    /// its memory is the next one's.
    static let least = 1 << 18

    /// In order, all of the text.
    let ranges: [Range<Int>]

    init(_ text: [UInt8], most: Int, least: Int) {
        let count = max(1, min(most, text.count / least))
        var cuts = [0]
        // The piece before a cut has a header of its own: an array that is written out can't be added to.
        var next = TextPieces.headerEnd(text, from: 0)
        for piece in 1..<count {
            guard let from = next, let end = TextPieces.headerEnd(text, from: max(from, text.count / count * piece))
            else { break }
            cuts.append(end - TextPieces.header.count + 1)
            next = end
        }
        ranges = zip(cuts, cuts.dropFirst() + [text.count]).map { $0..<$1 }
    }

    /// Where the next header ends.
    private static func headerEnd(_ text: [UInt8], from start: Int) -> Int? {
        var index = start
        while let bracket = text[index...].firstIndex(of: UInt8(ascii: "[")) {
            let begin = bracket - 1, end = begin + header.count
            if begin >= start, end <= text.count, text[begin..<end].elementsEqual(header) { return end }
            index = bracket + 1
        }
        return nil
    }

    /// The entries of all pieces as one file's: tunnels one behind the other, everything else in one piece only. Nil
    /// where it is not so.
    static func joined(_ pieces: [ByName<ConfigurationValue>]) -> ByName<ConfigurationValue>? {
        var joined = ByName<ConfigurationValue>()
        var tunnels: [ConfigurationValue] = []
        for piece in pieces {
            guard case .array(let more)? = piece["tunnel"] else { return nil }
            tunnels += more
            for (name, value) in piece.entries where name != "tunnel" {
                guard joined[name] == nil else { return nil }
                joined.append(name, value)
            }
        }
        joined.append("tunnel", .array(tunnels))
        return joined
    }
}
