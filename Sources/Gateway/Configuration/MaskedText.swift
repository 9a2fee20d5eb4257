import ESP
import Glibc
import IPsec

/// A site file's text with its keys taken out.
///
/// The TOML parser copies every string that is read and never frees it, and its error messages quote the text. So it
/// never sees a key: before parsing, each string that may be one ("0x" and as many hexadecimal digits as an algorithm's
/// key has, in quotes) becomes a placeholder of private-use characters, and the key itself waits here, wiped when
/// the site has been read. Lines stay where they were.
final class MaskedText {
    /// The text for the parser.
    let text: [UInt8]
    private var secrets: [UInt8]
    /// Where each secret lies.
    private var ranges: [Range<Int>]

    /// Octets that keys have, of all algorithms.
    static let keySizes = Set(Algorithm.all.map(\.keyMaterialOctets))
    private static let mostOctets = keySizes.max() ?? 0
    private static let mark = "\u{e000}"

    /// Takes the octets of a file, which the caller wipes.
    init(_ octets: [UInt8]) {
        var text: [UInt8] = []
        text.reserveCapacity(octets.count)
        // Room for every key there can be, two digits for an octet, so that growing leaves no copies.
        var secrets: [UInt8] = []
        secrets.reserveCapacity(octets.count / 2)
        var ranges: [Range<Int>] = []
        let source = octets.span
        var position = 0, copied = 0
        while position < source.count {
            let octet = source[position]
            position += 1
            guard octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "'"),
                let end = MaskedText.endOfKey(source, from: position), end < source.count, source[end] == octet
            else { continue }
            MaskedText.appendOctets(source, ofDigits: position + 2..<end, to: &secrets)
            text.append(contentsOf: octets[copied..<position])
            text.append(contentsOf: MaskedText.mark.utf8)
            text.append(contentsOf: String(ranges.count).utf8)
            text.append(contentsOf: MaskedText.mark.utf8)
            ranges.append((ranges.last?.upperBound ?? 0)..<secrets.count)
            (position, copied) = (end + 1, end)
        }
        text.append(contentsOf: octets[copied...])
        self.text = text
        self.secrets = secrets
        self.ranges = ranges
    }

    deinit { wipe() }

    /// Ends it: no key is found in it any more.
    func wipe() {
        unsafe secrets.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            unsafe explicit_bzero(base, buffer.count)
        }
        ranges = []
    }

    /// The key that stood where the parser read `value`; nil when that was no key of this algorithm.
    func key(_ value: String, for algorithm: Algorithm) -> KeyMaterial? {
        guard let range = range(value) else { return nil }
        return unsafe secrets.withUnsafeBytes {
            unsafe KeyMaterial(UnsafeRawBufferPointer(rebasing: $0[range]), for: algorithm)
        }
    }

    /// Octets of what stood where the parser read `value`; nil when no algorithm has keys like that.
    func keyOctets(_ value: String) -> Int? { range(value)?.count }

    private func range(_ value: String) -> Range<Int>? {
        let mark = MaskedText.mark.utf8, octets = value.utf8
        guard octets.count > 2 * mark.count, octets.starts(with: mark), octets.suffix(mark.count).elementsEqual(mark),
            let number = Int(Substring(octets.dropFirst(mark.count).dropLast(mark.count))),
            ranges.indices.contains(number)
        else { return nil }
        return ranges[number]
    }

    /// A key file's contents.
    enum FileKey {
        case key(KeyMaterial)
        /// Digits, and no key of the algorithm: how many octets.
        case otherSize(Int)
        /// Anything else.
        case none
    }

    /// The key in a key file: one line and nothing else. The caller wipes `octets`.
    static func key(inFile octets: [UInt8], for algorithm: Algorithm) -> FileKey {
        unsafe withKey(inFile: octets) { octets in
            let key = unsafe KeyMaterial(octets, for: algorithm)
            return key.map(FileKey.key) ?? .otherSize(octets.count)
        } ?? .none
    }

    /// Whether a key file holds what may be a key, of whatever algorithm. The caller wipes `octets`.
    static func holdsKey(_ octets: [UInt8]) -> Bool {
        unsafe withKey(inFile: octets) { _ in true } ?? false
    }

    private static func withKey<Result>(
        inFile octets: [UInt8], _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result? {
        let source = octets.span
        var end = source.count
        if end > 0 && source[end - 1] == UInt8(ascii: "\n") { end -= 1 }
        if end > 0 && source[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        guard endOfKey(source, from: 0) == end else { return nil }
        var secret: [UInt8] = []
        secret.reserveCapacity(mostOctets)
        defer {
            unsafe secret.withUnsafeMutableBytes { buffer in
                if let base = buffer.baseAddress { unsafe explicit_bzero(base, buffer.count) }
            }
        }
        appendOctets(source, ofDigits: 2..<end, to: &secret)
        return unsafe secret.withUnsafeBytes { unsafe body($0) }
    }

    /// Where the text at `start` ends, if it is "0x" and as many digits as some key has.
    private static func endOfKey(_ source: Span<UInt8>, from start: Int) -> Int? {
        guard start + 2 < source.count, source[start] == UInt8(ascii: "0"), source[start + 1] == UInt8(ascii: "x")
        else { return nil }
        let first = start + 2, longest = min(source.count, first + 2 * mostOctets + 1)
        var end = first
        while end < longest, digit(source[end]) != nil { end += 1 }
        let digits = end - first
        return digits % 2 == 0 && keySizes.contains(digits / 2) ? end : nil
    }

    private static func appendOctets(
        _ source: Span<UInt8>, ofDigits range: Range<Int>, to secrets: inout [UInt8]
    ) {
        for index in stride(from: range.lowerBound, to: range.upperBound, by: 2) {
            guard let high = digit(source[index]), let low = digit(source[index + 1]) else { return }
            secrets.append(high << 4 | low)
        }
    }

    private static func digit(_ octet: UInt8) -> UInt8? {
        switch octet {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): octet - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): octet - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): octet - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
